"""Rules that turn statistics into thresholds: NumPy only.

All thresholds are in ANN units and of the site's threshold shape: [1, C, 1, 1] channel-wise after a Conv, [1, 1, 1, 1]
layer-wise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SILENT_BELOW = 1e-4
"""A channel is silent when its threshold is below this share of the site's median positive threshold."""


@dataclass(frozen=True)
class Thresholds:
    """One site's thresholds, none of them zero; `silent` lists the channels that were never active."""

    values: Array
    silent: tuple[int, ...] = ()
    all_silent: bool = False


def local_update(theta: Array, overshoot: Array, rate: float, upper: float) -> Array:
    """One step of local threshold balancing (paper, eq. 14-15): min(θ + 2 η g, u).

    `overshoot` is g, the mean of (min(z, u) - θ)·[z > θ] over batch and positions; u bounds Clip(0, u) activations.
    """
    return np.minimum(theta + 2.0 * rate * overshoot, upper)


def percentile(histogram: Array, tops: Array, percent: float) -> Array:
    """Robust norm: a percentile of the activations, zeros included, for each row of a histogram (flat [rows]).

    `histogram` [rows, bins] counts a channel's (or a whole site's) activations in equal bins from 0 to its `tops`. As
    numpy.percentile, between the two nearest activations; each is known to within its bin. Those in the lowest bin are
    taken as 0, so that a channel active more rarely than the percentile is silent, not one with a tiny threshold.
    """
    cumulated = np.cumsum(histogram, axis=1)
    last = cumulated[:, -1] - 1.0
    place = last * (percent / 100.0)
    lower = np.floor(place)
    below, above = (
        _ordered(histogram, cumulated, n) for n in (lower, np.minimum(lower + 1.0, last))
    )
    estimate: Array = (below + (place - lower) * (above - below)) * tops / histogram.shape[1]
    return estimate


def _ordered(histogram: Array, cumulated: Array, n: Array) -> Array:
    """Where each row's n-th smallest activation (from 0) lies, in bins."""
    index = (cumulated <= n[:, None]).sum(axis=1)[:, None]
    inside = np.take_along_axis(histogram, index, 1)[:, 0]
    through = np.take_along_axis(cumulated, index, 1)[:, 0]
    place: Array = index[:, 0] + (n + 1.0 - (through - inside)) / inside
    return np.where(index[:, 0] == 0, 0.0, place)


MMSE_CANDIDATES = np.arange(1, 41) / 40.0
"""Shares of a channel's maximum among which its MMSE threshold is sought."""


def mmse(histogram: npt.NDArray[np.float64], tops: Array, timesteps: int) -> Array:
    """The thresholds (flat [rows]) that minimise the squared error of T steps, from histograms as in `percentile`.

    Per row the θ among `MMSE_CANDIDATES` of its maximum that minimises the mean of (a - r(T))^2 with
    r(T) = (θ/T) clip(floor(a T / θ + 1/2), 0, T), what a neuron answers to a constant input (Li et al. 2021).
    """
    bins = histogram.shape[1]
    centres = (
        np.arange(bins) + 0.5
    ) / bins  # in units of the row's maximum, so one table serves all rows
    centres[0] = 0.0  # the zeros of a ReLU are exact
    theta = MMSE_CANDIDATES[:, None]
    answers = theta / timesteps * np.clip(np.floor(centres * timesteps / theta + 0.5), 0, timesteps)
    errors = histogram @ np.square(centres - answers).T
    best: Array = MMSE_CANDIDATES[errors.argmin(axis=1)] * tops
    return best


def settle(theta: Array) -> Thresholds:
    """Give silent channels a threshold: the site's median positive one, or 1 where the whole site is silent."""
    flat = theta.ravel()
    positive = flat[flat > 0]
    if positive.size == 0:
        return Thresholds(np.ones_like(theta), tuple(range(flat.size)), all_silent=True)
    median = float(np.median(positive))
    silent = flat < SILENT_BELOW * median
    values = np.where(silent, median, flat).reshape(theta.shape)
    return Thresholds(values, tuple(np.flatnonzero(silent).tolist()))
