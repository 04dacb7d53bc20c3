"""Rules of folding for operators that work along axes: pools, sums, resizing.

A scale passes, either way, that does not vary along those axes. Only a positive one passes a
maximum.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import rank
from onnx2snn.graph.types import Node
from onnx2snn.rewrite.fold_rules.moves import (
    FoldOutcome,
    Scales,
    integers,
    operand,
    per_position,
    to_first,
)

_VARIES = "the scale varies along an axis it works along"
_NO_AXES = "its axes are not constant"


def pool(_node: Node, scale: Array) -> FoldOutcome:
    """s mean(x) = mean(s x), over an area of each channel. Refuses an s that varies within it."""
    if per_position(scale):
        return "the scale varies within the pooled area"
    return to_first(scale)


def max_pool(node: Node, scale: Array) -> FoldOutcome:
    """s max(x) = max(s x), s > 0, over an area of each channel. Refuses others."""
    if np.any(scale <= 0):
        return "a factor that is not positive cannot pass a maximum"
    return pool(node, scale)


def reduce_back(node: Node, scale: Array) -> FoldOutcome:
    """s sum(x) = sum(s x); s has size 1 along the axes summed over. Refuses computed axes."""
    ndim = rank(node.inputs[0])
    axes = None if ndim is None else _summed_axes(node, ndim)
    if axes is None:
        return _NO_AXES
    # the result's axes are x's without those summed over
    if not _keeps_axes(node):
        scale = np.expand_dims(scale, tuple(axes))
    return to_first(scale)


def reduce_forward(node: Node, scales: Scales) -> FoldOutcome:
    """sum(s x) = s sum(x), where s is the same along the axes summed over. Refuses others."""
    scale = scales.get(0)
    if scale is None:
        return _NO_AXES
    axes = _summed_axes(node, scale.ndim)
    if axes is None:
        return _NO_AXES
    if any(scale.shape[axis] > 1 for axis in axes):
        return _VARIES
    if not _keeps_axes(node):
        scale = scale.squeeze(tuple(axes))
    return to_first(scale)


def _keeps_axes(node: Node) -> bool:
    return bool(node.attrs.get("keepdims", 1))


def _summed_axes(node: Node, ndim: int) -> list[int] | None:
    """Return the axes a ReduceSum or ReduceMean sums over, or None where they are computed."""
    given = operand(node, 1)
    axes = [] if given is None else integers(given)
    if axes is None:
        return None
    # no axes at all are all of them, unless the node says otherwise
    if not axes and not node.attrs.get("noop_with_empty_axes", 0):
        return list(range(ndim))
    return sorted(axis % ndim for axis in axes)


def cumulate(node: Node, scale: Array) -> FoldOutcome:
    """s cumsum(x) = cumsum(s x), where s is the same along the axis. Refuses others."""
    axes = integers(node.inputs[1])
    if axes is None:
        return _VARIES
    axis = axes[0] % scale.ndim
    if scale.shape[axis] > 1:
        return _VARIES
    return to_first(scale)


def resize(node: Node, scale: Array) -> FoldOutcome:
    """s resize(x) = resize(s x), where s is the same along the axes interpolated along.

    Refuses sizes that are not known, and values put outside the tensor, which s would scale.
    """
    before = node.inputs[0].shape
    after = node.outputs[0].shape
    extrapolates = node.attrs.get("extrapolation_value", 0.0) != 0.0
    if before is None or after is None or extrapolates:
        return "its sizes are unknown, or it extrapolates"
    for old, new, size in zip(before, after, scale.shape, strict=True):
        # an axis that keeps its size is not interpolated along
        kept = isinstance(old, int) and old == new
        if not kept and size > 1:
            return _VARIES
    return to_first(scale)
