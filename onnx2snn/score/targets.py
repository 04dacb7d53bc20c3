"""Targets beside the data that tell what an output is: labels with fractions are a regression's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.samples import Samples
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.score.natures import Nature, Natures

LOOKED_AT = 100
"""Samples whose labels are looked at."""


def has_fractions(samples: Samples) -> bool:
    """Return whether there are labels, and they hold numbers that are not whole.

    Class numbers are whole, and so are the zeros and ones of one-hot labels.
    """
    if "labels" not in samples.targets:
        return False
    labels = _first_labels(samples)
    if labels.dtype.kind != "f":
        return False
    finite = labels[np.isfinite(labels)]
    return bool((finite != np.round(finite)).any())


def with_targets(natures: Natures, outputs: Sequence[TensorSpec], samples: Samples) -> Natures:
    """Return the natures of outputs, those that labels with fractions are of among them."""
    if not has_fractions(samples):
        return natures
    of_sample = _first_labels(samples).shape[1:]
    found = dict(natures)
    for spec in outputs:
        if spec.shape is not None and spec.shape[1:] == of_sample:
            found.setdefault(spec.name, Nature.NUMBERS)
    return found


def _first_labels(samples: Samples) -> Array:
    few = min(LOOKED_AT, len(samples))
    return samples.target("labels", np.arange(few))
