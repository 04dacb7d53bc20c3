"""The bounds of activations: a and b of Clip(z, a, b), read from constants.

An absent bound is infinite, and so is one at the largest float32, which exporters write for "none".
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.protos.nodes import standard

INFINITY = float("inf")


def upper_bound(node: Node) -> float | None:
    """Return u of an activation clip(z, 0, u) with u > 0, in ANN units and infinity for Relu.

    None where a node is no such activation.
    """
    if not standard(node):
        return None
    if node.op == "Relu":
        return INFINITY
    if node.op != "Clip":
        return None
    bounds = scalar_bounds(node)
    if bounds is None:
        return None
    low, high = bounds
    if low == 0 and high < INFINITY:
        return high
    return None


def scalar_bounds(node: Node) -> tuple[float, float] | None:
    """Return a and b of a Clip with constant scalar bounds a < b, or None."""
    low, high = clip_bounds(node)
    if low is None or high is None:
        return None
    # ONNX wants scalars, but exporters write tensors of one element, too
    if low.size != 1 or high.size != 1:
        return None
    a, b = float(low.item()), float(high.item())
    return (a, b) if a < b else None


def clip_bounds(node: Node) -> tuple[Array | None, Array | None]:
    """Return the bounds of a Clip node, one computed at run time as None."""
    return _bound(node, 1, -INFINITY), _bound(node, 2, INFINITY)


def _bound(node: Node, index: int, absent: float) -> Array | None:
    if len(node.inputs) <= index or node.inputs[index].is_empty():
        return np.asarray(absent)
    value = constant(node.inputs[index])
    if value is None or not np.issubdtype(value.dtype, np.floating):
        return value
    unbounded = np.abs(value) >= np.finfo(np.float32).max
    return np.where(unbounded, np.copysign(np.inf, value), value)
