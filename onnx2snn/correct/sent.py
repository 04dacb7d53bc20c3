"""The spike trains that a site has sent, and their means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk, Gathered


@dataclass(frozen=True)
class Sent:
    """A site's answers to the samples.

    `activation` [N, ...]: the ANN's, in ANN units; `spikes` [N, T, ...]: the SNN's, in units of
    `theta` (θ, in ANN units); `total` [N, ...]: their sum over time; `steps`: T. N counts rows, of
    which every sample has as many.
    """

    activation: Gathered
    spikes: Gathered
    total: Gathered
    theta: Array
    steps: int

    def mean(self, start: int, chunk: Chunk) -> Array:
        """Return a chunk's mean output over the steps after `start`, in ANN units."""
        total = self.total.read(chunk)
        if start:
            before = self.spikes.read(chunk)[:, :start]
            total = total - before.sum(axis=1, dtype=np.float32)
        # (θ / (T - start)) Σ s(t)
        unit = self.theta / (self.steps - start)
        return np.multiply(total, unit.astype(np.float32), dtype=np.float32)

    def trains(self, chunk: Chunk) -> Array:
        """Return a chunk's spikes [T, n, ...]."""
        return self.spikes.read(chunk).swapaxes(0, 1)

    def outputs(self, trains: Array) -> Array:
        """Return the outputs θ s(t) of spikes at some steps, in ANN units."""
        theta = self.theta.astype(np.float32)
        return np.multiply(trains, theta, dtype=np.float32, order="C")

    def means_so_far(self, trains: Array, steps: slice) -> Array:
        """Return the mean outputs up to each of some steps, in ANN units.

        Args:
            trains: Spikes [T, n, ...].
            steps: The steps.
        """
        total = trains[steps].astype(np.float32, order="C")
        if steps.start:
            before = trains[: steps.start]
            total[0] += before.sum(axis=0, dtype=np.float32)
        # sums of whole numbers: exact
        for index in range(1, len(total)):
            total[index] += total[index - 1]
        # (θ / t) Σ s up to step t
        t = step_numbers(steps, total.ndim)
        unit = self.theta / t
        total *= unit.astype(np.float32)
        return total

    def discard(self) -> None:
        """Give its room back: nobody reads it any more."""
        self.activation.discard()
        self.spikes.discard()
        self.total.discard()


def step_numbers(steps: slice, ndim: int) -> Array:
    """Return the numbers t of some steps, from 1, along the first of `ndim` axes."""
    first = steps.start + 1
    last = steps.stop
    t = np.arange(first, last + 1, dtype=np.float32)
    others = [1] * (ndim - 1)
    return t.reshape(-1, *others)
