"""Which samples thresholds are fitted on, and which are held back to score on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.random import random_samples
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.protos.specs import TensorSpec, fixed_batch

RANDOM_SAMPLES = 64
HELD_BACK_SHARE, HELD_BACK_MOST = 10, 256


@dataclass
class Split:
    """Samples to fit on and samples held back from fitting to score on (the same ones where there are too few)."""

    samples: Samples
    fit: Samples
    held: Samples
    random: bool
    held_back: bool
    notes: list[str] = field(default_factory=list)

    def check_feed(self, specs: Sequence[TensorSpec]) -> dict[str, Array]:
        """A few samples for comparing stages."""
        size = fixed_batch(specs) or min(4, len(self.held))
        return self.held.batch(np.resize(np.arange(len(self.held)), size))


def gather(
    calibration: object, specs: Sequence[TensorSpec], seed: int, bounds: Mapping[str, int] | None = None
) -> Split:
    """Open the calibration data, or make random inputs up where there is none (DataError); `bounds`: of indices."""
    if calibration is None:
        return _random(specs, seed, bounds)
    samples = open_samples(calibration, specs)
    count = len(samples)
    order = np.random.default_rng(seed).permutation(count)
    back = min(HELD_BACK_MOST, count // HELD_BACK_SHARE)
    if back == 0:
        return Split(samples, samples, samples, random=False, held_back=False)
    held, fit = (samples.subset(np.sort(part)) for part in (order[:back], order[back:]))
    return Split(samples, fit, held, random=False, held_back=True)


def _random(specs: Sequence[TensorSpec], seed: int, bounds: Mapping[str, int] | None) -> Split:
    """At most 64 random inputs, fewer where one input is large: without data a conversion takes seconds."""
    one, notes = random_samples(specs, 1, seed, bounds)
    size = sum(value.size for value in one.batch([0]).values())
    count = int(np.clip(2**22 // size, 8, RANDOM_SAMPLES))
    scored = int(np.clip(2**18 // size, 1, count // 4))
    samples, _ = random_samples(specs, count + scored, seed, bounds)
    fit, held = samples.subset(np.arange(count)), samples.subset(np.arange(count, count + scored))
    return Split(samples, fit, held, random=True, held_back=True, notes=notes)
