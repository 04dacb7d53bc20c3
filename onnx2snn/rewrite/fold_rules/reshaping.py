"""Rules of folding for operators that give elements other axes or repeat them."""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import keeps_shape, rank, static_dims
from onnx2snn.graph.types import Node, Tensor
from onnx2snn.rewrite.fold_rules.moves import (
    UNKNOWN_SIZES,
    FoldOutcome,
    Move,
    Scales,
    compress,
    integers,
    to_first,
)

_BROADCASTS = "it broadcasts along the scaled axis"


def reshape_back(node: Node, scale: Array) -> FoldOutcome:
    """s reshape(x) = reshape(s' x), s' being s in x's shape. Refuses axes that are not static."""
    return _reshaped(scale, node.outputs[0], node.inputs[0])


def reshape_forward(node: Node, scales: Scales) -> FoldOutcome:
    """reshape(s x) = s' reshape(x), s' being s in the result's shape, refused as before."""
    if 0 not in scales:
        return UNKNOWN_SIZES
    return _reshaped(scales[0], node.inputs[0], node.outputs[0])


def _reshaped(scale: Array, source: Tensor, target: Tensor) -> FoldOutcome:
    """Move a scale of one tensor to another that holds the same elements in the same order."""
    ndim = rank(target)
    if not ndim:
        return UNKNOWN_SIZES
    if scale.size == 1:
        return to_first(scale.reshape([1] * ndim))
    before = static_dims(source)
    after = static_dims(target)
    if before is None or after is None:
        return UNKNOWN_SIZES
    # the batch axis has to stay as it is
    keeps_batch = scale.shape[0] == 1 and np.prod(before) == np.prod(after)
    if not keeps_batch:
        return UNKNOWN_SIZES
    # written out for every element, then regrouped as the elements are
    full = np.broadcast_to(scale[0], before)
    return to_first(compress(full.reshape(1, *after)))


def transpose_back(node: Node, scale: Array) -> FoldOutcome:
    """s transpose(x) = transpose(s' x), s' being s transposed back."""
    order = _order(node, scale.ndim)
    inverse = np.argsort(order)
    return to_first(scale.transpose(inverse))


def transpose_forward(node: Node, scales: Scales) -> FoldOutcome:
    """transpose(s x) = transpose(s) transpose(x)."""
    scale = scales[0]
    return to_first(scale.transpose(_order(node, scale.ndim)))


def _order(node: Node, ndim: int) -> list[int]:
    """Return which axis of the input each axis of a Transpose's output is."""
    reverse = range(ndim)[::-1]
    return list(node.attrs.get("perm", reverse))


def expand_back(node: Node, scale: Array) -> FoldOutcome:
    """s expand(x) = expand(s x). Refuses an x that is broadcast along an axis s varies along."""
    ndim = rank(node.inputs[0])
    if ndim is None:
        return _BROADCASTS
    # x is aligned with the last axes of the result
    new_axes = scale.ndim - ndim
    if any(size > 1 for size in scale.shape[:new_axes]):
        return _BROADCASTS
    inner = scale.reshape(scale.shape[new_axes:])
    if not keeps_shape(node.inputs[0], inner):
        return _BROADCASTS
    return to_first(inner)


def expand_forward(node: Node, scales: Scales) -> FoldOutcome:
    """expand(s x) = s expand(x). Refuses a result of unknown rank."""
    ndim = rank(node.outputs[0])
    scale = scales.get(0)
    if ndim is None or scale is None:
        return UNKNOWN_SIZES
    new_axes = [1] * (ndim - scale.ndim)
    return to_first(scale.reshape([*new_axes, *scale.shape]))


def tile_back(node: Node, scale: Array) -> FoldOutcome:
    """s tile(x) = tile(s x), where s is the same along the axes repeated. Refuses others."""
    repeats = integers(node.inputs[1])
    if repeats is None:
        return "it repeats the scaled axis"
    for count, size in zip(repeats, scale.shape, strict=True):
        if count > 1 and size > 1:
            return "it repeats the scaled axis"
    return to_first(scale)


def tile_forward(node: Node, scales: Scales) -> FoldOutcome:
    """tile(s x) = tile(s) tile(x). Refuses repeats that are computed."""
    scale = scales.get(0)
    repeats = integers(node.inputs[1])
    if repeats is None or scale is None:
        return "its repeats are not constant"
    # along an axis it does not vary over, a scale stays of size 1
    for axis, size in enumerate(scale.shape):
        if size == 1:
            repeats[axis] = 1
    return to_first(np.tile(scale, repeats))


def shape_forward(_node: Node, _scales: Scales) -> FoldOutcome:
    """shape(s x) = shape(x): the scale vanishes."""
    return Move()
