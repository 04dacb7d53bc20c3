"""Means over axes, computed in float64 and kept in the shape that thresholds have."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array


class RunningMean:
    """The mean over some axes, of which axis 0 is one, of an array that comes in parts."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        """Start with nothing; the axes stay with size 1."""
        self._axes = axes
        self._total: Array | None = None
        self._count = 0

    def add(self, part: Array) -> None:
        """Add a part along axis 0."""
        total = part.sum(axis=self._axes, keepdims=True, dtype=np.float64)
        self._total = total if self._total is None else self._total + total
        self._count += math.prod(part.shape[axis] for axis in self._axes)

    def value(self) -> Array:
        """Return the mean of all parts."""
        assert self._total is not None
        return self._total / self._count


def mean_over(values: Array, axes: tuple[int, ...]) -> Array:
    """Return the mean over some axes, which stay with size 1."""
    mean: Array = values.mean(axis=axes, keepdims=True, dtype=np.float64)
    return mean


def broadcast_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the axes of size 1: those along which thresholds of that shape do not vary."""
    found = []
    for axis, size in enumerate(shape):
        if size == 1:
            found.append(axis)
    return tuple(found)


def lacking(wanted: Array, found: Array) -> Array:
    """Return how much the SNN's answer lacks of the ANN's, 0 where either is no number."""
    difference: Array = wanted - found
    total = difference.sum()
    if not np.isfinite(total):
        missing = ~np.isfinite(difference)
        difference[missing] = 0.0
    return difference
