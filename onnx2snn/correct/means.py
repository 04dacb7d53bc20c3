"""Means over axes, computed in float64 and kept in the shape that thresholds have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array


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
