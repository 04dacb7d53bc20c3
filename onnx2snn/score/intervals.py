"""Confidence of a drop: 95 % intervals, paired over the samples that both models were scored on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.score.metrics import Arrays, Metric, Rows

Interval = tuple[float, float]

Z95 = 1.959964
"""The standard normal distribution's 97.5 % point."""
PERCENTILES = (2.5, 97.5)
RESAMPLES = 1000
WEIGHTS_AT_ONCE = 1 << 22
"""Numbers in the matrix of weights that resamplings are drawn in."""


def drop_intervals(
    metric: Metric,
    samples: int,
    ann: Sequence[Rows],
    snns: Sequence[Sequence[Rows]],
    seed: int = 0,
) -> list[Interval | None]:
    """Return the 95 % interval of each SNN's drop below the ANN, a fraction.

    Outcomes that are right or wrong: Wald's interval of a difference of paired proportions with
    half a sample added to each cell (Agresti and Min 2005, "Simple improved confidence intervals
    for comparing matched proportions"). Other sums over samples: the bootstrap's percentiles over
    1,000 resamplings of samples, the same for all.

    Args:
        metric: The metric.
        samples: How many samples were scored.
        ann: The ANN's batches of rows.
        snns: Each SNN's batches of rows.
        seed: Of the resamplings.

    Returns:
        Low and high, or None where the figure is no sum over samples (map), or where outputs have
        no batch axis.
    """
    found: list[Interval | None] = [None] * len(snns)
    if not metric.additive:
        return found
    before = np.concatenate(ann)
    if not _one_row_a_sample(before, samples):
        return found
    to_resample: dict[int, Array] = {}
    for index, batches in enumerate(snns):
        after = np.concatenate(batches)
        if not _one_row_a_sample(after, samples):
            continue
        ann_outcomes = metric.outcomes(before)
        snn_outcomes = metric.outcomes(after)
        matched = _right_or_wrong(ann_outcomes) and _right_or_wrong(snn_outcomes)
        if metric.proportion and matched:
            ann_right, snn_right = before[:, 0], after[:, 0]
            found[index] = _matched(ann_right, snn_right)
        else:
            to_resample[index] = after
    afters = list(to_resample.values())
    resampled = _bootstrap(metric, before, afters, seed)
    for index, interval in zip(to_resample, resampled, strict=True):
        found[index] = interval
    return found


def _one_row_a_sample(rows: Array, samples: int) -> bool:
    """Return whether rows are finite, one a sample."""
    finite = np.isfinite(rows).all()
    return len(rows) == samples and bool(finite)


def _right_or_wrong(rows: Array) -> bool:
    """Return whether each row is 0 or 1 out of 1."""
    outcomes = rows[:, 0]
    out_of = rows[:, 1]
    others = rows[:, 2:]
    if others.any() or (out_of != 1).any():
        return False
    binary = np.isin(outcomes, (0, 1))
    return bool(binary.all())


def _matched(ann: Array, snn: Array) -> Interval:
    """Return the interval of mean(ann) - mean(snn) for outcomes 0 or 1, paired."""
    # half a sample more in each of the four cells of right and wrong
    lost = np.sum(ann > snn) + 0.5
    won = np.sum(snn > ann) + 0.5
    count = len(ann) + 2
    net = lost - won
    middle = net / count
    # Wald: n^2 times the variance of the difference is lost + won - (lost - won)^2 / n
    spread = np.sqrt(lost + won - net**2 / count)
    half = Z95 * spread / count
    return float(middle - half), float(middle + half)


def _bootstrap(metric: Metric, ann: Array, snns: Arrays, seed: int) -> list[Interval | None]:
    """Return the interval of each SNN's drop over resamplings of the samples; None: not finite."""
    if not snns:
        return []
    rng = np.random.default_rng(seed)
    count = len(ann)
    step = max(1, WEIGHTS_AT_ONCE // count)
    uniform = np.full(count, 1 / count)
    drops: list[Array] = []
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        # A resampling draws `count` samples with replacement: weights [size, count] of whole
        # numbers, whose product with the rows is the sum of the rows drawn.
        weights = rng.multinomial(count, uniform, size=size)
        weights = weights.astype(np.float64)
        before = metric.figure(weights @ ann)
        afters = [metric.figure(weights @ snn) for snn in snns]
        of_each = [metric.drop(before, after) for after in afters]
        drops.append(np.stack(of_each))
    # the middle 95 % of all resamplings
    by_snn = np.concatenate(drops, axis=1)
    intervals: list[Interval | None] = []
    for resampled in by_snn:
        if not np.isfinite(resampled).all():
            # an infinite rise, above an error of 0
            intervals.append(None)
            continue
        low, high = np.percentile(resampled, PERCENTILES).tolist()
        intervals.append((low, high))
    return intervals
