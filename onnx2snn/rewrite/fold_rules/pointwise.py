"""Rules of folding for sums, products, pools and resizing."""

from __future__ import annotations

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant, keeps_shape, rank, scaled_values
from onnx2snn.graph.types import Node
from onnx2snn.rewrite.fold_rules.moves import FoldOutcome, Move, Scales, per_position


def mul_back(node: Node, scale: Array) -> FoldOutcome:
    factor = constant(node.inputs[1])
    if factor is None:
        return "the factor is not a constant"
    if not keeps_shape(node.inputs[0], factor):
        return "the factor is broadcast to more channels"
    return Move(constants={1: factor.astype(np.float64) * scale})


def mul_forward(node: Node, scales: Scales) -> FoldOutcome:
    return mul_back(node, scales[0]) if 0 in scales else "the factor is not a constant"


def add_back(node: Node, scale: Array) -> FoldOutcome:
    """s (x + y) = s x + s y, for any number of terms or their mean; a constant term takes s into its values."""
    return _terms_back(node, scale, 0)


def add_forward(node: Node, scales: Scales) -> FoldOutcome:
    """s x + s y = s (x + y), and s x + c = s (x + c / s)."""
    return _terms_forward(node, scales, 0)


def where_back(node: Node, scale: Array) -> FoldOutcome:
    """s where(c, x, y) = where(c, s x, s y)."""
    return _terms_back(node, scale, 1)


def where_forward(node: Node, scales: Scales) -> FoldOutcome:
    """where(c, s x, s y) = s where(c, x, y)."""
    return _terms_forward(node, scales, 1)


def _terms_back(node: Node, scale: Array, first: int) -> FoldOutcome:
    move = Move()
    for index, tensor in list(enumerate(node.inputs))[first:]:
        value = constant(tensor)
        if value is not None:
            move.constants[index] = scaled_values(value, scale)
        elif keeps_shape(tensor, scale):
            move.scales[index] = scale
        else:
            return "a term is broadcast along the scaled axis"
    return move


def _terms_forward(node: Node, scales: Scales, first: int) -> FoldOutcome:
    scale = next(iter(scales.values()))
    move = Move(scales={0: scale})
    for index, tensor in list(enumerate(node.inputs))[first:]:
        value = constant(tensor)
        if value is not None:
            if np.any(scale == 0) or value.ndim > scale.ndim:
                return "the scale holds zeros"
            move.constants[index] = scaled_values(value, 1.0 / scale)
        elif index not in scales or not np.array_equal(scales[index], scale):
            return "its terms have different scales (a shortcut past a neuron layer)"
    return move


# Pools: a scale per channel passes; through a maximum only a positive one.


def pool_back(node: Node, scale: Array) -> FoldOutcome:
    return (
        "the scale varies within the pooled area"
        if per_position(scale)
        else Move(scales={0: scale})
    )


def max_back(node: Node, scale: Array) -> FoldOutcome:
    return (
        "a factor that is not positive cannot pass a maximum"
        if np.any(scale <= 0)
        else pool_back(node, scale)
    )


def anywhere_back(node: Node, scale: Array) -> FoldOutcome:
    return Move(scales={0: scale})


def float_cast(node: Node, scale: Array) -> FoldOutcome:
    """A cast from one floating-point type to another."""
    kinds = [node.inputs[0].dtype, onnx.helper.tensor_dtype_to_np_dtype(node.attrs["to"])]
    if any(kind is None or not np.issubdtype(kind, np.floating) for kind in kinds):
        return "it casts from or to whole numbers"
    return Move(scales={0: scale})


# Sums along axes, and resizing: a scale passes that does not vary along them.

_VARIES = "the scale varies along an axis it works along"


def _reduced(node: Node, ndim: int) -> list[int] | None:
    """The axes a ReduceSum or ReduceMean sums over, or None where they are computed."""
    given = node.inputs[1] if len(node.inputs) > 1 and not node.inputs[1].is_empty() else None
    axes = np.arange(0) if given is None else constant(given)
    if axes is None:
        return None
    everything = axes.size == 0 and not node.attrs.get("noop_with_empty_axes", 0)
    return list(range(ndim)) if everything else sorted(axis % ndim for axis in axes.tolist())


def reduce_back(node: Node, scale: Array) -> FoldOutcome:
    """s sum(x) = sum(s x), s the same along the axes summed over."""
    ndim = rank(node.inputs[0])
    axes = None if ndim is None else _reduced(node, ndim)
    if axes is None:
        return "its axes are not constant"
    return Move(
        scales={0: scale if node.attrs.get("keepdims", 1) else np.expand_dims(scale, tuple(axes))}
    )


def reduce_forward(node: Node, scales: Scales) -> FoldOutcome:
    """sum(s x) = s sum(x), where s is the same along the axes summed over."""
    scale = scales.get(0)
    axes = None if scale is None else _reduced(node, scale.ndim)
    if scale is None or axes is None:
        return "its axes are not constant"
    if any(scale.shape[axis] > 1 for axis in axes):
        return _VARIES
    return Move(scales={0: scale if node.attrs.get("keepdims", 1) else scale.squeeze(tuple(axes))})


def cumulate(node: Node, scale: Array) -> FoldOutcome:
    """cumsum(s x) = s cumsum(x), where s is the same along the axis."""
    axis = constant(node.inputs[1])
    if axis is None or scale.shape[int(axis.item()) % scale.ndim] > 1:
        return _VARIES
    return Move(scales={0: scale})


def resize(node: Node, scale: Array) -> FoldOutcome:
    """Interpolation along some axes: a scale passes that varies along others only."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if before is None or after is None or node.attrs.get("extrapolation_value", 0.0) != 0.0:
        return "its sizes are unknown, or it extrapolates"
    kept = [isinstance(b, int) and b == a for b, a in zip(before, after, strict=True)]
    return (
        Move(scales={0: scale})
        if all(k or n == 1 for k, n in zip(kept, scale.shape, strict=True))
        else _VARIES
    )
