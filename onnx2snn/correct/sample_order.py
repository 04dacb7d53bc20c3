"""Whether tensors hold their samples one after another along axis 0, as correcting needs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.layer_simulation import LayerSimulation
from onnx2snn.correct.segments import Segment
from onnx2snn.data.batches import filled
from onnx2snn.errors import UsageError

ORDERED = 3
"""Samples on which it is seen, where the batch is not fixed."""

NEAR = 1e-3
"""Of the largest value: how far answers to the same samples in another order may lie apart."""


def require_order(simulation: LayerSimulation, segments: Sequence[Segment]) -> None:
    """Raise UsageError where a tensor does not hold the samples one after another along axis 0.

    A few samples are computed by the ANN, and once more in reverse order: then every tensor that
    corrections compare has to come in reverse order, too.
    """
    found: dict[str, None] = {}
    for segment in segments:
        found.update(dict.fromkeys(segment.takes))
        found.update(dict.fromkeys(segment.tensors))
    names = list(found)
    size = simulation.fixed or min(ORDERED, simulation.count)
    session = simulation.open(simulation.original, Segment(None, (), None, ()), names)
    batch = filled(simulation.job.samples, simulation.chosen[:size], simulation.fixed)
    ahead = {}
    back = {}
    for value in session.get_inputs():
        given = batch.feed[value.name]
        ahead[value.name] = given
        back[value.name] = np.ascontiguousarray(given[::-1])
    forwards = session.run(None, ahead)
    backwards = session.run(None, back)
    for name, one, other in zip(names, forwards, backwards, strict=True):
        if not _is_reversed(one, other, size):
            raise UsageError(
                f"tensor '{name}' does not hold its samples one after another along axis 0, which "
                "correcting layer by layer needs; give --correct none, or --correct bias "
                "--rounds 8 for all layers at once"
            )


def _is_reversed(one: Array, other: Array, size: int) -> bool:
    """Return whether a tensor of `size` samples holds them in the reverse order of another."""
    if one.ndim == 0 or len(one) % size != 0:
        return False
    by_sample = one.reshape(size, -1, *one.shape[1:])
    turned = by_sample[::-1].reshape(one.shape)
    magnitudes = np.zeros_like(one)
    np.abs(one, where=np.isfinite(one), out=magnitudes)
    near = NEAR * float(magnitudes.max(initial=0.0))
    return np.allclose(turned, other, rtol=0.0, atol=near, equal_nan=True)
