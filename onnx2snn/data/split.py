"""The split of the calibration data: samples to fit on, and samples held back to score on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.batches import filled
from onnx2snn.data.random import random_samples
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.protos.specs import TensorSpec, fixed_batch

HELD_BACK_SHARE = 10
"""One of so many samples is held back."""

MOST_HELD_BACK = 256
"""Samples that are held back at most."""

MOST_COMPARED = 4
"""Samples on which stages of the pipeline are compared."""

RANDOM_SAMPLES = 64
"""Random samples to fit on, where there are no data; fewer where one is large."""

LEAST_RANDOM_SAMPLES = 8
"""Random samples to fit on, however large one is."""

FITTED_VALUES = 2**22
"""Values of all random samples to fit on: without data a conversion takes seconds."""

SCORED_VALUES = 2**18
"""Values of all random samples to score on."""


@dataclass
class CalibrationData:
    """Samples to fit on, and samples held back from fitting to score on.

    Where there are too few, both are the same samples. `samples` are all of them, which the others
    read from: close these when all is done. `random`: they were made up, since there were no data;
    `notes` name the sizes and ranges that were guessed for it.
    """

    samples: Samples
    fitting: Samples
    held_back: Samples
    random: bool
    notes: list[str] = field(default_factory=list)

    @property
    def guesses(self) -> str:
        """The notes in brackets, to stand behind "random inputs" (empty without a guess)."""
        if not self.notes:
            return ""
        return f" ({'; '.join(self.notes)})"

    @property
    def scored_is_fitted(self) -> bool:
        """Whether scores are of the very samples that were fitted on."""
        return self.held_back is self.fitting

    def check_feed(self, specs: Sequence[TensorSpec]) -> dict[str, Array]:
        """Return the inputs of a few held-back samples, to compare stages of the pipeline on."""
        available = len(self.held_back)
        size = fixed_batch(specs) or min(MOST_COMPARED, available)
        return filled(self.held_back, np.arange(available), size).feed

    def trial_feeds(self, specs: Sequence[TensorSpec]) -> list[dict[str, Array]]:
        """Return inputs of two runs that tell shapes: other samples, and as many as the model lets.

        The batch sizes are 1 and 2 where the batch is free, so that a size that is the batch's
        differs between the runs.
        """
        fixed = fixed_batch(specs)
        last = len(self.samples) - 1
        one = filled(self.samples, [0], fixed or 1)
        two = filled(self.samples, [last, last // 2], fixed or 2)
        return [one.feed, two.feed]


def open_calibration(
    calibration: object,
    specs: Sequence[TensorSpec],
    seed: int,
    bounds: Mapping[str, int] | None = None,
    unbatched: Collection[str] = (),
) -> CalibrationData:
    """Open the calibration data and hold some of it back, or make random inputs up.

    Args:
        calibration: The source of the data (see `open_samples`), or None for random inputs.
        specs: The inputs of the model.
        seed: Decides which samples are held back, and what is random.
        bounds: For random inputs, the number of valid indices of an input (see `index_bounds`).
        unbatched: Inputs whose first axis the network itself lacks, as for `open_samples`.

    Returns:
        The data, split.

    Raises:
        DataError: Where the data do not fit the model, or an input cannot be made up.
    """
    if calibration is None:
        return _random_calibration(specs, seed, bounds)
    samples = open_samples(calibration, specs, unbatched=unbatched)
    count = len(samples)
    order = np.random.default_rng(seed).permutation(count)
    back = min(MOST_HELD_BACK, count // HELD_BACK_SHARE)
    if back == 0:
        return CalibrationData(samples, samples, samples, random=False)
    held_back = samples.subset(np.sort(order[:back]))
    fitting = samples.subset(np.sort(order[back:]))
    return CalibrationData(samples, fitting, held_back, random=False)


def _random_calibration(
    specs: Sequence[TensorSpec], seed: int, bounds: Mapping[str, int] | None
) -> CalibrationData:
    """Make calibration data up: at most 64 samples to fit on, fewer where one input is large."""
    one, notes = random_samples(specs, 1, seed, bounds)
    values = sum(array.size for array in one.batch([0]).values())
    fitted = int(np.clip(FITTED_VALUES // values, LEAST_RANDOM_SAMPLES, RANDOM_SAMPLES))
    scored = int(np.clip(SCORED_VALUES // values, 1, fitted // 4))
    total = fitted + scored
    samples, _ = random_samples(specs, total, seed, bounds)
    fitting = samples.subset(np.arange(fitted))
    held_back = samples.subset(np.arange(fitted, total))
    return CalibrationData(samples, fitting, held_back, random=True, notes=notes)
