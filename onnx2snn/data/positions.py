"""Which positions of a map stand for all of them.

A grid of every n-th row and column meets one phase only of a map that was upsampled with stride n.
Positions of a lattice that runs through the flattened map meet every phase alike.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from onnx2snn.aliases import Array

STRIDES = (2, 3, 4)
"""Strides of upsampling whose phases have to be met alike."""

CANDIDATES = 128
"""Lattices that are compared, at most."""


@lru_cache(maxsize=256)
def spread_positions(sizes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return positions of a map that meet every phase, and every part of it, about alike.

    They are k · step mod P for k = 0 ... count - 1, with P positions in the map and the step, which
    has no divisor in common with P, that spreads them best. The same sizes give the same ones.

    Args:
        sizes: Of the map's axes.
        count: The number of positions; all are returned where the map has no more.

    Returns:
        Numbers in the flattened map, in order.
    """
    total = prod(sizes)
    if count >= total:
        return tuple(range(total))
    numbers = np.arange(1, total)
    steps = numbers[np.gcd(numbers, total) == 1]
    if len(steps) > CANDIDATES:
        steps = np.random.default_rng(0).choice(steps, CANDIDATES, replace=False)
    lattices = [np.arange(count) * step % total for step in steps]
    best = min(lattices, key=lambda lattice: _unevenness(lattice, sizes))
    return tuple(int(position) for position in np.sort(best))


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
