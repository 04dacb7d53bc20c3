"""The spike trains that a site has sent, and their means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array


@dataclass(frozen=True)
class Sent:
    """A site's answers to the samples.

    `activation` [N, ...]: the ANN's, in ANN units; `spikes` [T, N, ...]: the SNN's, in units of
    `theta` (θ, in ANN units); `total` [N, ...]: their sum over time. N counts rows, of which every
    sample has as many.
    """

    activation: Array
    spikes: Array
    total: Array
    theta: Array

    def mean(self, start: int) -> Array:
        """Return the mean output over the steps after `start`, in ANN units."""
        total = self.total
        if start:
            before = self.spikes[:start]
            total = total - before.sum(axis=0, dtype=np.float32)
        # (θ / (T - start)) Σ s(t)
        steps = len(self.spikes) - start
        unit = self.theta / steps
        return total * unit.astype(np.float32)

    def outputs(self, steps: slice, rows: slice) -> Array:
        """Return the outputs θ s(t) of some rows at some steps, in ANN units."""
        spikes = self.spikes[steps, rows]
        theta = self.theta.astype(np.float32)
        return np.multiply(spikes, theta, dtype=np.float32)

    def means_so_far(self, steps: slice, rows: slice) -> Array:
        """Return the mean outputs of some rows up to each of some steps, in ANN units."""
        spikes = self.spikes[steps, rows]
        total = np.cumsum(spikes, axis=0, dtype=np.float32)
        if steps.start:
            before = self.spikes[: steps.start, rows]
            total += before.sum(axis=0, dtype=np.float32)
        # (θ / t) Σ s up to step t
        t = step_numbers(steps, total.ndim)
        unit = self.theta / t
        return total * unit.astype(np.float32)


def step_numbers(steps: slice, ndim: int) -> Array:
    """Return the numbers t of some steps, from 1, along the first of `ndim` axes."""
    first = steps.start + 1
    last = steps.stop
    t = np.arange(first, last + 1, dtype=np.float32)
    others = [1] * (ndim - 1)
    return t.reshape(-1, *others)
