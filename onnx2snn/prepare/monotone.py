"""Activations that change places with a max-pool: non-decreasing, and alike at all positions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx2snn.graph.bounds import scalar_bounds
from onnx2snn.graph.dims import rank
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.protos.nodes import standard


def is_monotone(node: Node) -> bool:
    """Return whether a node is an activation that may change places with a max-pool.

    It has to be non-decreasing, and the same along all axes but that of the channels (axis 1).
    """
    if not standard(node):
        return False
    rises = _MONOTONE.get(node.op)
    return rises is not None and rises(node)


def keeps_zero(node: Node) -> bool:
    """Return whether a monotone activation maps 0 to 0."""
    if node.op != "Clip":
        return True
    bounds = scalar_bounds(node)
    if bounds is None:
        return True
    low, high = bounds
    return low <= 0 <= high


def is_uniform(node: Node) -> bool:
    """Return whether a monotone activation treats all channels alike."""
    if node.op != "PRelu":
        return True
    slope = constant(node.inputs[1])
    return slope is None or slope.size == 1


def _always(node: Node) -> bool:
    return True


def _has_bounds(node: Node) -> bool:
    return scalar_bounds(node) is not None


def _rising_slope(node: Node) -> bool:
    return bool(node.attrs.get("alpha", 0.01) >= 0)


def _rising_slopes(node: Node) -> bool:
    slope = constant(node.inputs[1])
    ndim = rank(node.inputs[0])
    if slope is None or ndim is None or np.any(slope < 0):
        return False
    # aligned to the right, as ONNX broadcasts; slopes may differ along the channels alone
    per_axis = (1,) * (ndim - slope.ndim) + slope.shape
    return all(size == 1 for axis, size in enumerate(per_axis) if axis != 1)


_MONOTONE: dict[str, Callable[[Node], bool]] = {
    "Relu": _always,
    "Clip": _has_bounds,
    "LeakyRelu": _rising_slope,
    "PRelu": _rising_slopes,
}
