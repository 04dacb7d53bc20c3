"""Errors of each site: the mean output of its neurons against the ANN's activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.prepare.partition import Site
from onnx2snn.runtime.simulation import Simulation


@dataclass(frozen=True)
class SiteError:
    """A site's mean output r against the ANN's activation a after T steps, relative to ||a||.

    With x the mean input the SNN really got, and clip(x) the ANN's own activation of x:
    `own` is ||r - clip(x)||, from clipping and rounding in this layer;
    `inherited` is ||clip(x) - a||, from the layers before (the two terms of the paper's theorem 1);
    `total` is ||r - a||. `rate`: spikes a neuron and step.
    """

    site: str
    total: float
    own: float
    inherited: float
    rate: float


class SiteErrors:
    """Sums of squared errors per site: total, own and inherited, and the squared norm of a."""

    def __init__(self, sites: Sequence[Site], thresholds: Sequence[Array], timesteps: int) -> None:
        """Start with no sample; thresholds are in ANN units, `timesteps` is T."""
        self.sites, self.thresholds, self.timesteps = sites, thresholds, timesteps
        self.squares = np.zeros((len(sites), 4))
        self.spikes = np.zeros(len(sites))

    def add(self, session: Simulation, activations: Sequence[Array], count: int) -> None:
        """Add what a batch's run left in the session; `count` samples of it are its own."""
        counts, potentials = session.spike_counts(), session.potentials()
        activity = session.activity()
        for index, site in enumerate(self.sites):
            theta, a = self.thresholds[index], activations[index]
            sent = counts[site.name]
            rate = theta * sent / self.timesteps
            # all that came in was sent or is still held: x = θ (spikes + potential) / T
            current = theta * (sent + potentials[site.name]) / self.timesteps
            expected = np.clip(current, 0, site.upper)
            differences = (rate - a, rate - expected, expected - a, a)
            self.squares[index] += [_squared_norm(values) for values in differences]
            self.spikes[index] += activity[site.name].mean() / self.timesteps * count

    def relative(self, samples: int) -> tuple[SiteError, ...]:
        """Return the errors relative to ||a||; absolute where that is 0."""
        norms = np.sqrt(self.squares)
        whole = np.where(norms[:, 3:] > 0, norms[:, 3:], 1.0)
        shares = norms[:, :3] / whole
        rates = self.spikes / samples
        return tuple(
            SiteError(site.name, float(total), float(own), float(inherited), float(rate))
            for site, (total, own, inherited), rate in zip(self.sites, shares, rates, strict=True)
        )


class EstimateErrors(SiteErrors):
    """The same with neurons in front of weighted operators, r being the estimate of the tensor a.

    `own` is the estimate less the tensor that the SNN really computed, `inherited` that tensor less
    the ANN's.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        scales: Sequence[Array],
        timesteps: int,
        starts: Sequence[Array],
        told_in: int,
    ) -> None:
        """Start with no sample.

        Args:
            sites: The neuron sites.
            scales: λ per site, in ANN units.
            timesteps: T.
            starts: Where estimates start per site, in ANN units.
            told_in: Steps over which a mean is told: in rate coding all of them, else 1.
        """
        super().__init__(sites, scales, timesteps)
        self.starts, self.told_in = starts, told_in

    def add(self, session: Simulation, activations: Sequence[Array], count: int) -> None:
        """Add what a batch's run left in the session; `count` samples of it are its own."""
        sent, given, activity = session.sent(), session.given(), session.activity()
        for index, site in enumerate(self.sites):
            scale, start, a = self.thresholds[index], self.starts[index], activations[index]
            told = scale / self.told_in
            estimate = told * sent[site.name] + start
            computed = told * given[site.name] + start
            differences = (estimate - a, estimate - computed, computed - a, a)
            self.squares[index] += [_squared_norm(values) for values in differences]
            self.spikes[index] += activity[site.name].mean() / self.timesteps * count


def _squared_norm(values: Array) -> float:
    return float(np.sum(np.square(values, dtype=np.float64)))
