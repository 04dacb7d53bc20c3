"""Which samples thresholds are fitted on, and which are held back to score on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.batches import filled
from onnx2snn.data.random import random_samples
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.protos.specs import TensorSpec, fixed_batch

RANDOM_SAMPLES = 64
HELD_BACK_SHARE, HELD_BACK_MOST = 10, 256


@dataclass
class CalibrationData:
    """Samples to fit on, and samples held back from fitting to score on (the same ones where there are too few).

    `samples` are all of them, which the others read from: close these when all is done. `random`: they were made up,
    since there were no data, and `notes` say what had to be guessed for it.
    """

    samples: Samples
    fitting: Samples
    held_back: Samples
    random: bool
    notes: list[str] = field(default_factory=list)

    @property
    def guesses(self) -> str:
        """The notes in brackets, to stand behind "random inputs" (empty where nothing was guessed)."""
        return f" ({'; '.join(self.notes)})" if self.notes else ""

    @property
    def scored_is_fitted(self) -> bool:
        """Whether scores are of the very samples that were fitted on."""
        return self.held_back is self.fitting

    def check_feed(self, specs: Sequence[TensorSpec]) -> dict[str, Array]:
        """A few samples for comparing stages."""
        size = fixed_batch(specs) or min(4, len(self.held_back))
        return filled(self.held_back, np.arange(len(self.held_back)), size).feed


def open_calibration(
    calibration: object,
    specs: Sequence[TensorSpec],
    seed: int,
    bounds: Mapping[str, int] | None = None,
) -> CalibrationData:
    """Open the calibration data, or make random inputs up where there is none (DataError); `bounds`: of indices."""
    if calibration is None:
        return _random(specs, seed, bounds)
    samples = open_samples(calibration, specs)
    count = len(samples)
    order = np.random.default_rng(seed).permutation(count)
    back = min(HELD_BACK_MOST, count // HELD_BACK_SHARE)
    if back == 0:
        return CalibrationData(samples, samples, samples, random=False)
    held_back, fitting = (samples.subset(np.sort(part)) for part in (order[:back], order[back:]))
    return CalibrationData(samples, fitting, held_back, random=False)


def _random(
    specs: Sequence[TensorSpec], seed: int, bounds: Mapping[str, int] | None
) -> CalibrationData:
    """At most 64 random inputs, fewer where one input is large: without data a conversion takes seconds."""
    one, notes = random_samples(specs, 1, seed, bounds)
    size = sum(value.size for value in one.batch([0]).values())
    count = int(np.clip(2**22 // size, 8, RANDOM_SAMPLES))
    scored = int(np.clip(2**18 // size, 1, count // 4))
    samples, _ = random_samples(specs, count + scored, seed, bounds)
    fitting, held_back = (
        samples.subset(np.arange(count)),
        samples.subset(np.arange(count, count + scored)),
    )
    return CalibrationData(samples, fitting, held_back, random=True, notes=notes)
