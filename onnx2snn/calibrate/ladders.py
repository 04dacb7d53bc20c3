"""λ of the neurons of differential coding: the height of their smallest spike, in ANN units.

The sizes |y - m| of what a neuron has to tell are counted in histograms, m the estimate that it
starts at. With p a high percentile of them, the largest spike is near p: λ = c p / 2^(n-1). The
factor c is the one with the least squared error after the first step, among some from 1/4 to 2: the
neuron is simulated on the bins of the histogram, no network is needed. Later steps divide what is
left by three, whatever c; a λ chosen for its error after T steps is too fine for the first ones.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from onnx2snn.aliases import Array, Progress
from onnx2snn.calibrate import rules
from onnx2snn.calibrate.calibrator import Calibrator
from onnx2snn.calibrate.histograms import Histogram

FINEST = 4
"""Candidates for λ are a quarter of an octave apart."""

SHARES = (0.25, 2.0)
"""The least and the largest c."""

TOLERANCE = 0.005
"""The part of a site's norm that may stay untold at the end."""

RARE = 0.25
"""The least p of a channel that says anything at all, of the median of its site's channels.

The calibration data may hardly show it, and what is far beyond the largest spike arrives late.
"""

UNTOLD = 0.1
"""Mean square of what is left untold of a size above 3/4 λ, in λ²."""

WIDE = 16
"""Octaves of a site where there are no data."""

HEADROOM = 4.0
"""How much larger sizes may be on data than on random inputs, before they arrive late."""

WIDENED = 4
"""Octaves that a site may have more than the least."""


def quantised(error: Array, octaves: int) -> Array:
    """Return Q: the power of two next to each error, with its sign; 0 below 3/4.

    Args:
        error: In threshold units.
        octaves: How many powers of two a spike can have.
    """
    size = np.abs(error)
    # size = m 2^k with 1/2 <= m < 1: 2^k from 3/4 on, else 2^(k-1)
    mantissa, exponent = np.frexp(size)
    exponent = np.where(mantissa >= 0.75, exponent, exponent - 1)
    exponent = np.minimum(exponent, octaves - 1)
    heights = np.where(size >= 0.75, np.ldexp(1.0, np.maximum(exponent, 0)), 0.0)
    found: Array = np.copysign(heights, error)
    return found


def estimates(values: Array, octaves: int, spikes: int) -> Array:
    """Return the estimates of constant values after some spikes, both in threshold units."""
    told = np.zeros_like(values)
    for _ in range(spikes):
        told += quantised(values - told, octaves)
    return told


def rounded(values: Array, octaves: int, digits: int) -> Array:
    """Return what is told of constant values in one step that has more digits than the later ones.

    Args:
        values: At least 0, in threshold units.
        octaves: How many powers of two a spike can have.
        digits: K: values are rounded to 2K - 1 bits.
    """
    bits = 2 * digits - 1
    mantissa, exponent = np.frexp(np.minimum(values, 2.0 ** (octaves - 1)))
    # ties upwards, as the neuron has them
    heights = np.ldexp(np.floor(mantissa * 2.0**bits + 0.5), exponent - bits)
    found: Array = np.rint(heights)
    return found


def spikes_at_once(octaves: int) -> int:
    """Return K, the spikes that tell any number below the largest in one step: 2K - 1 >= n bits.

    `octaves`: n, at most 16.
    """
    return octaves // 2 + 1


def best_scale(
    histogram: Array,
    maxima: Array,
    robust: Array,
    *,
    octaves: int,
    spikes: int,
    changing: bool = False,
) -> Array:
    """Return λ for each row of a histogram.

    Args:
        histogram: [rows, bins]: counts of sizes, in equal bins from 0 to the row's maximum.
        maxima: [rows], in ANN units.
        robust: [rows]: the percentile p of the sizes, in ANN units.
        octaves: n, the powers of two that a spike can have.
        spikes: How many a neuron sends in its first step.
        changing: Whether later steps have fewer.

    Returns:
        [rows], in ANN units; 0 where all is silent.
    """
    bins = histogram.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(maxima > 0, robust / maxima, 0.0)
    candidates = _candidates(bins)
    near = (candidates >= SHARES[0] * share[:, None]) & (candidates <= SHARES[1] * share[:, None])
    some = near.any(axis=0)
    errors = np.full(near.shape, np.inf)
    errors[:, some] = rules.weighed(histogram, _squares(bins, octaves, spikes, changing)[some])
    errors[~near] = np.inf
    best = candidates[errors.argmin(axis=1)]
    found: Array = np.where(robust > 0, best * maxima / 2.0 ** (octaves - 1), 0.0)
    return found


def _candidates(bins: int) -> Array:
    """Return values for λ 2^(n-1), of a row's maximum: 2^(1/4), 1, 2^(-1/4) ..."""
    finest = int(np.ceil(FINEST * np.log2(bins))) + 4 * FINEST
    found: Array = 2.0 ** (1.0 - np.arange(finest) / FINEST)
    return found


@lru_cache(maxsize=8)
def _squares(bins: int, octaves: int, spikes: int, changing: bool) -> Array:
    """Return [candidates, bins]: the squared error of a size in each bin, the same at all sites."""
    # of a row's maximum
    sizes = (np.arange(bins) + 0.5) / bins
    sizes[0] = 0.0
    candidates = _candidates(bins)
    first_told = rounded if changing else estimates
    squares = np.empty((len(candidates), bins))
    for index, candidate in enumerate(candidates):
        scale = candidate / 2.0 ** (octaves - 1)
        told = scale * first_told(sizes / scale, octaves, spikes)
        squares[index] = np.square(sizes - told)
    return squares


def wide_enough(
    histogram: Histogram, robust: Array, octaves: int, *, tolerance: float = TOLERANCE
) -> int:
    """Return how many powers of two a site needs, `octaves` or up to `WIDENED` more.

    What a neuron leaves untold, once its input has settled, is the size itself below 3/4 λ, and
    some 0.3 λ above. Where a site's sizes are spread wide (the outputs of a softmax, gates), that
    would be much of most of them.

    Args:
        histogram: Of the sizes.
        robust: [rows]: the largest spike λ 2^(n-1), in ANN units.
        octaves: The least number.
        tolerance: The largest part left untold that will do, of the norm of all sizes.
    """
    untold = np.zeros(WIDENED)
    whole = 0.0
    for rows, counts in histogram.parts():
        left, energy = _untold(counts, histogram.maxima[rows], robust[rows], octaves)
        untold += left
        whole += energy
    enough = np.flatnonzero(untold <= np.square(tolerance) * whole)
    return octaves + int(enough[0]) if enough.size else octaves + WIDENED


def _untold(histogram: Array, maxima: Array, robust: Array, octaves: int) -> tuple[Array, float]:
    """Return the squares left untold with `octaves` powers of two and with more, and all squares.

    Args:
        histogram: [rows, bins], as `best_scale` takes it.
        maxima: [rows], in ANN units.
        robust: [rows]: the largest spike.
        octaves: The least number of powers of two.
    """
    bins = histogram.shape[1]
    sizes = (np.arange(bins) + 0.5) / bins * maxima[:, None]
    energy = np.cumsum(histogram * np.square(sizes), axis=1)
    count = np.cumsum(histogram, axis=1)
    found = np.empty(WIDENED)
    for more in range(WIDENED):
        scale = robust / 2.0 ** (octaves + more - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.where(maxima > 0, 0.75 * scale / maxima * bins, 0.0)
        # the bins below 3/4 λ; of the first one half, as its sizes lie anywhere in it
        below = np.clip(place.astype(int) - 1, 0, bins - 1)[:, None]
        silent = np.take_along_axis(energy, below, axis=1)[:, 0] * np.minimum(place, 1.0)
        above = count[:, -1] - np.take_along_axis(count, below, axis=1)[:, 0]
        found[more] = silent.sum() + UNTOLD * (np.square(scale) * above).sum()
    return found, float(energy[:, -1].sum())


@dataclass(frozen=True)
class SiteLadder:
    """What the neurons of a site can say: λ of its threshold shape, and its powers of two."""

    scale: Array
    octaves: int


def wide_ladders(run: Calibrator, octaves: int, progress: Progress) -> list[SiteLadder]:
    """Return ladders so wide that the scale of random inputs is near enough to that of data.

    Each site has one λ, since single channels tell little on random inputs: the largest spike is
    `HEADROOM` times the largest size that they give.
    """
    found = []
    for largest in run.maxima(progress):
        scale = np.full_like(largest, HEADROOM * largest.max() / 2.0 ** (octaves - 1))
        found.append(SiteLadder(scale, octaves))
    return found


@dataclass(frozen=True)
class LadderRule:
    """How ladders are found.

    `method`: "mmse": the least squared error; "percentile": c = 1; "max": the same with the largest
    size in place of the percentile. `octaves`: n, or the least n where sites are widened (`widen`);
    `spikes`: how many a neuron sends in its first step; `changing`: whether later steps have fewer;
    `percent`: the percentile p; `at_once`: the sites that tell all they have in the first step.
    """

    method: str
    octaves: int
    widen: bool
    spikes: int
    changing: bool
    percent: float
    at_once: Set[str] = frozenset()


def find_ladders(run: Calibrator, rule: LadderRule, progress: Progress) -> list[SiteLadder]:
    """Return the ladder of each site; silent channels have a λ of 0.

    Args:
        run: What streams the samples; its centres are where neurons start.
        rule: How.
        progress: Called with (stage, done, total).
    """
    octaves, percent = rule.octaves, rule.percent
    if rule.method == "max":
        return [SiteLadder(top / 2 ** (octaves - 1), octaves) for top in run.maxima(progress)]
    found = []
    percentile = partial(rules.percentile, percent=percent)
    for site, histogram in zip(run.sites, run.histograms(progress), strict=True):
        robust = _not_rare(histogram.by_row(percentile))
        wide = octaves
        if rule.widen:
            wide = wide_enough(histogram, robust, octaves)
        scale = robust / 2 ** (wide - 1)
        if rule.method == "mmse":
            spikes = spikes_at_once(wide) if site.name in rule.at_once else rule.spikes
            scale = _best_scales(histogram, robust, wide, replace(rule, spikes=spikes))
        shape = site.threshold_shape(run.job.settings.granularity)
        found.append(SiteLadder(scale.reshape(shape), wide))
    return found


def _best_scales(histogram: Histogram, robust: Array, octaves: int, rule: LadderRule) -> Array:
    """Return `best_scale` of all rows."""
    scales = []
    for rows, counts in histogram.parts():
        scale = best_scale(
            counts,
            histogram.maxima[rows],
            robust[rows],
            octaves=octaves,
            spikes=rule.spikes,
            changing=rule.changing,
        )
        scales.append(scale)
    return np.concatenate(scales)


def _not_rare(robust: Array) -> Array:
    """Return percentiles, none of them far below those of a site's other channels."""
    speaking = robust > 0
    if not speaking.any():
        return robust
    least = RARE * np.median(robust[speaking])
    return np.where(speaking, np.maximum(robust, least), robust)
