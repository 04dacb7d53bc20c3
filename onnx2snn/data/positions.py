"""Which positions of a map stand for all of them.

A grid of every n-th row and column meets one phase only of a map that was upsampled with stride n.
Every n-th position of the flattened map meets every phase alike, where n has no divisor in common
with the strides: rows are entered at one phase after another.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd, prod

import numpy as np

from onnx2snn.aliases import Array

STRIDES = (2, 3, 4)
"""Strides of upsampling whose phases have to be met alike."""

DIVISORS = 6
"""What has the divisors of the strides."""

FEWER, MORE = 0.8, 1.75
"""The least and the largest share of the number of positions that is asked for."""


@lru_cache(maxsize=256)
def spread_step(sizes: tuple[int, ...], count: int) -> int:
    """Return n, so that every n-th position meets every phase and every part of a map about alike.

    Args:
        sizes: Of the map's axes.
        count: About the number of positions; all are taken (1) where no n gives about so many.

    Returns:
        The one of all that do which spreads positions best.
    """
    total = prod(sizes)
    steps = range(ceil(total / (count * MORE)), int(total / (count * FEWER)) + 1)
    prime = [step for step in steps if gcd(step, DIVISORS) == 1]
    return min(prime, key=lambda step: _unevenness(np.arange(0, total, step), sizes), default=1)


def _unevenness(positions: Array, sizes: tuple[int, ...]) -> float:
    """Return Σ (met - expected)² / expected over the phases of strides and the blocks of the map.

    A phase is the remainder of each coordinate by the stride, a block its quotient by a share of
    the size.
    """
    coordinates = np.unravel_index(positions, sizes)
    whole = 0.0
    for stride in STRIDES:
        splits = tuple(min(stride, size) for size in sizes)
        phases = []
        blocks = []
        for coordinate, split, size in zip(coordinates, splits, sizes, strict=True):
            phases.append(coordinate % split)
            blocks.append(coordinate * split // size)
        for bins in (phases, blocks):
            numbers = np.ravel_multi_index(tuple(bins), splits)
            met = np.bincount(numbers, minlength=prod(splits))
            expected = len(positions) / prod(splits)
            whole += float(np.sum((met - expected) ** 2) / expected)
    return whole
