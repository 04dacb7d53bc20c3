"""When thresholds of local balancing have settled, and how long it will take.

Thresholds grow as the logarithm of the mini-batches: each one says less than the one before. They
are compared with those of some mini-batches ago, so many that these are the same share of all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.protos.notes import NOTES

MOST = 1000
"""Mini-batches at most, where no number is given: those of the paper."""

LEAST = 100
"""Mini-batches before thresholds can have settled."""

SHARE = 0.2
"""The share of the mini-batches, the last ones, by which growth is judged."""

SETTLED = 0.05
"""Thresholds have settled when those mini-batches raised no site by more than this share."""

WORTH_A_NOTE = 10.0
"""Seconds of work from which on an estimate is told."""


class Settling:
    """Whether thresholds have settled."""

    def __init__(self) -> None:
        """Start before the first mini-batch."""
        self.compared = LEAST
        self.before: list[Array] | None = None

    def settled(self, done: int, thetas: Sequence[Array]) -> bool:
        """Return whether thresholds have settled after `done` mini-batches.

        It is asked after every one. θ is compared at a row of numbers, each 1 / (1 - `SHARE`) times
        the one before.
        """
        if done < self.compared:
            return False
        largest = np.inf
        if self.before is not None:
            largest = max(map(_growth, self.before, thetas), default=0.0)
        self.before = [theta.copy() for theta in thetas]
        self.compared = round(done / (1.0 - SHARE))
        return largest <= SETTLED


def _growth(before: Array, after: Array) -> float:
    """Return by which share the thresholds of a site grew on average; silent channels do not."""
    active = after > 0
    if not active.any():
        return 0.0
    return float(np.mean(1.0 - before[active] / after[active]))


class Estimate:
    """Tells how long mini-batches will take, once the first ones have."""

    def __init__(self, iterations: int, samples: int, at_most: bool) -> None:
        """Start the clock behind the first mini-batch, which allocates.

        Args:
            iterations: Mini-batches.
            samples: Samples in each.
            at_most: Whether there may be fewer.
        """
        self.iterations, self.samples, self.at_most = iterations, samples, at_most
        self.began = 0.0

    def tell(self, done: int) -> None:
        """Note the time after some mini-batches; after the second one tell the estimate."""
        if done == 1:
            self.began = time.perf_counter()
        if done != 2:
            return
        seconds = (time.perf_counter() - self.began) * (self.iterations - done)
        if seconds < WORTH_A_NOTE:
            return
        most = "at most " if self.at_most else ""
        NOTES.info(
            "local threshold balancing takes %sabout %d s, for %s%d mini-batches of %d samples; "
            "fewer with --iterations",
            most,
            round(seconds),
            most,
            self.iterations,
            self.samples,
        )
