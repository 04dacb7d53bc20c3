"""Rules of folding for operators that join, split or select: a part has its part of the scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import scaled_values
from onnx2snn.graph.editing import constant
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

_SELECTS = "it selects along the scaled axis"


def concat_back(node: Node, scale: Array) -> FoldOutcome:
    """s concat(x, y) = concat(s_x x, s_y y), s cut where the inputs meet. Refuses unknown sizes."""
    axis = node.attrs["axis"] % scale.ndim
    parts = [scale] * len(node.inputs)
    if scale.shape[axis] > 1:
        sizes = _sizes(node.inputs, axis)
        if sizes is None:
            return UNKNOWN_SIZES
        parts = _cut(scale, sizes, axis)
    move = Move()
    for index, part in enumerate(parts):
        # a constant input takes its part into its values
        value = constant(node.inputs[index])
        if value is None:
            move.scales[index] = compress(part)
        else:
            move.constants[index] = scaled_values(value, part)
    return move


def concat_forward(node: Node, scales: Scales) -> FoldOutcome:
    """concat(s x, t y) = concat(s, t) concat(x, y), 1 for inputs without. Refuses unknown sizes."""
    ndim = next(iter(scales.values())).ndim
    axis = node.attrs["axis"] % ndim
    sizes = _sizes(node.inputs, axis)
    if sizes is None:
        return UNKNOWN_SIZES
    # an input without a factor has the scale 1
    one = np.ones([1] * ndim)
    parts = [scales.get(index, one) for index in range(len(sizes))]
    shapes = [part.shape for part in parts]
    common = np.max(shapes, axis=0)
    # parts that vary along different axes are written out to the same ones
    full = []
    for part, size in zip(parts, sizes, strict=True):
        shape = list(common)
        shape[axis] = size
        full.append(np.broadcast_to(part, shape))
    return to_first(compress(np.concatenate(full, axis)))


def split_forward(node: Node, scales: Scales) -> FoldOutcome:
    """split(s x) = s_1 x_1, s_2 x_2, ...: each output gets its part of s. Refuses unknown sizes."""
    scale = scales.get(0)
    if scale is None:
        return _SELECTS
    axis = node.attrs.get("axis", 0) % scale.ndim
    if scale.shape[axis] == 1:
        outputs = range(len(node.outputs))
        return Move(scales=dict.fromkeys(outputs, scale))
    sizes = _sizes(node.outputs, axis)
    if sizes is None:
        return UNKNOWN_SIZES
    move = Move()
    for index, part in enumerate(_cut(scale, sizes, axis)):
        move.scales[index] = compress(part)
    return move


def _sizes(tensors: Sequence[Tensor], axis: int) -> list[int] | None:
    """Return the sizes of tensors along an axis, or None where one is not static."""
    sizes = []
    for tensor in tensors:
        size = None if tensor.shape is None else tensor.shape[axis]
        if not isinstance(size, int) or size <= 0:
            return None
        sizes.append(size)
    return sizes


def _cut(scale: Array, sizes: list[int], axis: int) -> list[Array]:
    """Return the parts of a scale, of these sizes along an axis."""
    ends = np.cumsum(sizes)
    return np.split(scale, ends[:-1], axis)


def slice_back(node: Node, scale: Array) -> FoldOutcome:
    """s x[a:b] = (s x)[a:b]. Refuses a scale that varies along a sliced axis."""
    slices = _slices(node, scale.ndim)
    if slices is None or any(scale.shape[axis] > 1 for axis in slices):
        return _SELECTS
    return to_first(scale)


def slice_forward(node: Node, scales: Scales) -> FoldOutcome:
    """(s x)[a:b] = s[a:b] x[a:b]. Refuses bounds that are computed, and steps backwards."""
    scale = scales.get(0)
    if scale is None:
        return _SELECTS
    slices = _slices(node, scale.ndim)
    if slices is None:
        return _SELECTS
    # along an axis it does not vary over, a scale stays of size 1
    taken = [slice(None)] * scale.ndim
    for axis, selection in slices.items():
        if scale.shape[axis] > 1:
            taken[axis] = selection
    return to_first(scale[tuple(taken)])


def _slices(node: Node, ndim: int) -> dict[int, slice] | None:
    """Return a Slice's slices by axis, or None where they are computed or go backwards."""
    given = [integers(tensor) for tensor in node.inputs[1:]]
    known = [values for values in given if values is not None]
    if len(known) < 2 or len(known) < len(given):
        return None
    starts, ends = known[:2]
    count = len(starts)
    axes = known[2] if len(known) > 2 else list(range(count))
    steps = known[3] if len(known) > 3 else [1] * count
    if any(step <= 0 for step in steps):
        return None
    found = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        found[axis % ndim] = slice(start, end, step)
    return found


def gather_back(node: Node, scale: Array) -> FoldOutcome:
    """s x[indices] = (s x)[indices]. Refuses a scale that varies along the axis indexed."""
    indices = constant(node.inputs[1])
    axis = node.attrs.get("axis", 0) % scale.ndim
    if indices is None or indices.ndim != 1 or scale.shape[axis] > 1:
        return _SELECTS
    return to_first(scale)


def gather_forward(node: Node, scales: Scales) -> FoldOutcome:
    """(s x)[indices] = s[indices] x[indices]. Refuses indices that are computed."""
    indices = constant(node.inputs[1])
    scale = scales.get(0)
    if indices is None or scale is None:
        return _SELECTS
    axis = node.attrs.get("axis", 0) % scale.ndim
    # of a scale that does not vary along the axis, its one value is taken each time
    if scale.shape[axis] == 1:
        indices = np.zeros_like(indices)
    taken = scale.take(indices, axis)
    return to_first(compress(np.asarray(taken)))
