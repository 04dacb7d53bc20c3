"""Rules that turn statistics into thresholds: NumPy only.

- `local_update`: a step of local threshold balancing, from the mean overshoot.
- `percentile`: robust norm, from a histogram of the activations.
- `mmse`: the least squared error at T time-steps, from a histogram of the activations.
- `settle`: the last word on any of them: channels that were silent get a threshold.

Thresholds θ are in ANN units. Those of a site have its threshold shape: [1, C, 1, 1] channel-wise
after a Conv, [1, 1, 1, 1] layer-wise. Those from a histogram are flat, one a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array

SILENT_BELOW = 1e-4
"""A channel is silent when its threshold is below this share of its site's median positive one."""

MMSE_CANDIDATES = np.arange(1, 41) / 40.0
"""Shares of a channel's maximum among which its MMSE threshold is sought."""


@dataclass(frozen=True)
class Thresholds:
    """One site's thresholds, none of them zero; `silent` lists channels that were never active."""

    values: Array
    silent: tuple[int, ...] = ()
    all_silent: bool = False


def local_update(theta: Array, overshoot: Array, rate: float, upper: float) -> Array:
    """Return thresholds after one step of local threshold balancing (paper, eq. 14-15).

    Args:
        theta: The thresholds θ before it.
        overshoot: g, the mean of (min(z, u) - θ)·[z > θ] over batch and positions; as `theta`.
        rate: The step size η.
        upper: u of an activation clip(z, 0, u), infinity for Relu.

    Returns:
        min(θ + 2 η g, u).
    """
    return np.minimum(theta + 2.0 * rate * overshoot, upper)


def percentile(histogram: Array, maxima: Array, percent: float) -> Array:
    """Return a percentile of the activations, zeros included, for each row of a histogram.

    As numpy.percentile it lies between the two nearest activations, each known to within its bin.
    Activations in the lowest bin are taken as 0, so that a channel active more rarely than the
    percentile is silent, not one with a tiny threshold.

    Args:
        histogram: [rows, bins]: counts of a channel's (or a whole site's) activations, in equal
            bins from 0 to the row's maximum.
        maxima: [rows], in ANN units.
        percent: The percentile, above 0 and at most 100.

    Returns:
        [rows], in ANN units.
    """
    bins = histogram.shape[1]
    cumulated = np.cumsum(histogram, axis=1)
    last = cumulated[:, -1] - 1.0
    place = last * (percent / 100.0)
    lower = np.floor(place)
    upper = np.minimum(lower + 1.0, last)
    below = _ordered(histogram, cumulated, lower)
    above = _ordered(histogram, cumulated, upper)
    # linear between the two activations around the place; from bins to ANN units
    between = below + (place - lower) * (above - below)
    estimate: Array = between * maxima / bins
    return estimate


def _ordered(histogram: Array, cumulated: Array, n: Array) -> Array:
    """Return where each row's n-th smallest activation (from 0) lies, in bins; 0 in the lowest."""
    # its bin is the first one up to which more than n are counted
    passed = cumulated <= n[:, None]
    index = passed.sum(axis=1)
    inside = _in_bin(histogram, index)
    through = _in_bin(cumulated, index)
    # activations are spread evenly over their bin: this one is the k-th of those inside
    before = through - inside
    k = n + 1.0 - before
    place: Array = index + k / inside
    return np.where(index == 0, 0.0, place)


def _in_bin(histogram: Array, index: Array) -> Array:
    """Return of each row the number at the row's index."""
    column = index[:, None]
    found = np.take_along_axis(histogram, column, axis=1)
    return found[:, 0]


def mmse(histogram: Array, maxima: Array, timesteps: int) -> Array:
    """Return the thresholds that minimise the squared error of T time-steps (Li et al. 2021).

    Per row it is the θ among `MMSE_CANDIDATES` of its maximum with the least mean of (a - r(T))²,
    where r(T) = (θ/T) clip(floor(a T/θ + 1/2), 0, T) is a neuron's answer to a constant input a.

    Args:
        histogram: [rows, bins], as `percentile` takes it.
        maxima: [rows], in ANN units.
        timesteps: T, times the most thresholds one spike is high.

    Returns:
        [rows], in ANN units.
    """
    bins = histogram.shape[1]
    # activations a in units of their row's maximum: one table serves all rows
    a = (np.arange(bins) + 0.5) / bins
    # the zeros of a ReLU are exact
    a[0] = 0.0
    theta = MMSE_CANDIDATES[:, None]
    # r(T) of every candidate (rows) to every activation (columns)
    whole = np.floor(a * timesteps / theta + 0.5)
    spikes = np.clip(whole, 0, timesteps)
    answers = theta / timesteps * spikes
    # errors[row, candidate] = sum over bins of count · (a - r(T))²
    squares = np.square(a - answers)
    errors = weighed(histogram, squares)
    least = errors.argmin(axis=1)
    share = MMSE_CANDIDATES[least]
    best: Array = share * maxima
    return best


def weighed(histogram: Array, squares: Array) -> Array:
    """Return [rows, candidates]: of each row and candidate the squares, weighed by the counts.

    BLAS would wake its threads for each of many small products, which can take longer than they do.

    Args:
        histogram: [rows, bins].
        squares: [candidates, bins].
    """
    found: Array = np.einsum("rb,cb->rc", histogram, squares)
    return found


def settle(theta: Array) -> Thresholds:
    """Give silent channels their site's median positive threshold, or 1 where all are silent."""
    flat = theta.ravel()
    positive = flat[flat > 0]
    if positive.size == 0:
        ones = np.ones_like(theta)
        every = tuple(range(flat.size))
        return Thresholds(ones, every, all_silent=True)
    median = float(np.median(positive))
    silent = flat < SILENT_BELOW * median
    channels = np.flatnonzero(silent).tolist()
    values = np.where(silent, median, flat)
    values = values.reshape(theta.shape)
    return Thresholds(values, tuple(channels))
