"""How sure a drop is: 95 % intervals, paired over the samples that ANN and SNN were both scored on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.score.metrics import Metric

Z95 = 1.959964
"""The standard normal distribution's 97.5 % point."""
RESAMPLES = 1000
_AT_ONCE = 1 << 22


def drop_intervals(
    metric: Metric, samples: int, ann: Sequence[Any], snns: Sequence[Sequence[Any]], seed: int = 0
) -> list[tuple[float, float] | None]:
    """For each SNN the 95 % interval of its drop below the ANN, a fraction; all are given as batches of rows.

    Outcomes that are right or wrong: Wald's interval of a difference of paired proportions with half a sample added to
    each cell (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions").
    Other sums over samples: the bootstrap's percentiles over 1,000 resamplings of samples, the same for all. None where
    the figure is no sum over samples (map), or where outputs have no batch axis.
    """
    if not metric.additive:
        return [None] * len(snns)
    rows = np.concatenate(ann)
    others = [np.concatenate(batches) for batches in snns]
    usable = [
        len(r) == len(rows) == samples and np.isfinite(r).all() and np.isfinite(rows).all()
        for r in others
    ]
    binary = [
        metric.proportion and ok and _binary(rows) and _binary(other)
        for ok, other in zip(usable, others, strict=True)
    ]
    found: list[tuple[float, float] | None] = [
        _matched(rows[:, 0], other[:, 0]) if yes else None
        for yes, other in zip(binary, others, strict=True)
    ]
    left = [i for i, ok in enumerate(usable) if ok and not binary[i]]
    for i, interval in zip(
        left, _bootstrap(metric, rows, [others[i] for i in left], seed), strict=True
    ):
        found[i] = interval
    return found


def _binary(rows: Array) -> bool:
    """Whether each row is right or wrong: 0 or 1 out of 1."""
    return bool(
        np.isin(rows[:, 0], (0, 1)).all() and (rows[:, 1] == 1).all() and not rows[:, 2:].any()
    )


def _matched(ann: Array, snn: Array) -> tuple[float, float]:
    """The interval of mean(ann) - mean(snn) for outcomes 0 or 1, paired."""
    lost, won, count = np.sum(ann > snn) + 0.5, np.sum(snn > ann) + 0.5, len(ann) + 2
    middle = (lost - won) / count
    half = Z95 * np.sqrt(lost + won - (lost - won) ** 2 / count) / count
    return float(middle - half), float(middle + half)


def _bootstrap(
    metric: Metric, ann: Array, snns: Sequence[Array], seed: int
) -> list[tuple[float, float]]:
    if not snns:
        return []
    rng, count = np.random.default_rng(seed), len(ann)
    drops: list[Array] = []
    step = max(1, _AT_ONCE // count)
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        before = metric.figure(weights @ ann)
        drops.append(np.stack([metric.drop(before, metric.figure(weights @ snn)) for snn in snns]))
    low, high = np.percentile(np.concatenate(drops, axis=1), [2.5, 97.5], axis=1)
    return list(zip(low.tolist(), high.tolist(), strict=True))
