"""Shapes of a graph's tensors: what is known of them, and products that keep them."""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array, Dim
from onnx2snn.graph.types import Tensor


def rank(tensor: Tensor) -> int | None:
    """Return a tensor's rank, or None where shape inference could not tell."""
    return None if tensor.shape is None else len(tensor.shape)


def static_dims(tensor: Tensor, start: int = 1) -> tuple[int, ...] | None:
    """Return a tensor's sizes from axis `start` on, or None where one of them is not static."""
    if tensor.shape is None:
        return None
    dims = []
    for dim in tensor.shape[start:]:
        if not isinstance(dim, int) or dim <= 0:
            return None
        dims.append(dim)
    return tuple(dims)


def dims_of(tensor: Tensor) -> tuple[Dim, ...]:
    """Return a tensor's dimensions; unknown ones are None (empty where the rank is unknown)."""
    return tuple(_dim(size) for size in tensor.shape or ())


def _dim(size: Dim) -> Dim:
    if isinstance(size, int):
        return size if size > 0 else None
    return str(size) if size else None


def keeps_shape(tensor: Tensor, factor: Array) -> bool:
    """Return whether a tensor times a factor has the tensor's shape: nothing is broadcast by it."""
    if tensor.shape is None or factor.ndim > len(tensor.shape):
        return False
    # ONNX aligns shapes at their last axis
    dims = tensor.shape[len(tensor.shape) - factor.ndim :]
    pairs = zip(factor.shape, dims, strict=True)
    return all(size in (1, dim) for size, dim in pairs)


def scaled_values(values: Array, factor: Array) -> Array:
    """Return values times a factor in the values' type, computed in float64 and rounded once."""
    shape = np.broadcast_shapes(values.shape, factor.shape)
    scaled = np.empty(shape, values.dtype)
    # NumPy rounds as it goes: no array of float64 is made
    np.multiply(values, factor, out=scaled, dtype=np.float64, casting="unsafe")
    return scaled
