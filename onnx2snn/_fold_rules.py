"""The algebra of moving a constant factor through a node: one small rule per operator, in two tables.

A scale is a float64 array of its tensor's rank, of size 1 along every axis it does not vary over. `BACKWARD` rules take
the scale s of a node's output, s * f(x), and say which scales to put on its inputs instead and which constants change;
`FORWARD` rules take the scales of a node's inputs, f(s * x), and say the same of its output. Each rule is pure; it
returns a Move, or a sentence saying why the scale has to stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ._graph import SNN_DOMAIN, Array, Node, Tensor, constant, rank, static_dims

Scales = dict[int, Array]


@dataclass(frozen=True)
class Move:
    """`scales`: what the node's inputs (backward; by index) or its output (forward; key 0) are multiplied with now;
    `constants`: new values of constant inputs, by index."""

    scales: Scales = field(default_factory=dict)
    constants: dict[int, Array] = field(default_factory=dict)


Verdict = Move | str
BackwardRule = Callable[[Node, Array], Verdict]
ForwardRule = Callable[[Node, Scales], Verdict]


def compress(scale: Array) -> Array:
    """The same scale with size 1 along every axis it does not vary over."""
    for axis in range(scale.ndim):
        first = scale.take([0], axis)
        if scale.shape[axis] > 1 and np.array_equal(np.broadcast_to(first, scale.shape), scale):
            scale = first
    return scale


def _vector(scale: Array, axis: int) -> Array | None:
    """The scale as a vector along one axis, or None where it varies along another."""
    axis %= scale.ndim
    if any(size > 1 for other, size in enumerate(scale.shape) if other != axis):
        return None
    return scale.reshape(-1)


def _per_position(scale: Array) -> bool:
    return any(size > 1 for size in scale.shape[2:])


_NOT_PER_CHANNEL = "the scale varies within a channel"


# Weighted operators absorb the scale into their initializers.


def _times(values: Array, factor: Array) -> Array:
    return (values.astype(np.float64) * factor).astype(values.dtype)


def _with_bias(node: Node, weights: Array, factor: Array) -> Verdict:
    constants = {1: weights}
    if len(node.inputs) > 2 and not node.inputs[2].is_empty():
        bias = constant(node.inputs[2])
        if bias is None:
            return "its bias is not a constant"
        constants[2] = _times(bias, factor)
    return Move(constants=constants)


def _absorbing(node: Node, scale: Array) -> tuple[Array, Array] | str:
    """A node's constant weights and the scale as a vector along axis 1; or why the one cannot take the other."""
    weights, vector = constant(node.inputs[1]), _vector(scale, 1)
    if weights is None:
        return "its weights are not a constant"
    return _NOT_PER_CHANNEL if vector is None else (weights, vector)


def _grouped(weights: Array, vector: Array, group: int) -> Array:
    """Scale weights whose axis 1 holds channels of one group: channel g·n+j of the vector meets block g, index j."""
    blocks = weights.reshape(group, weights.shape[0] // group, *weights.shape[1:])
    vector = np.broadcast_to(vector, (group * weights.shape[1],)).reshape(group, 1, -1, *[1] * (weights.ndim - 2))
    return _times(blocks, vector).reshape(weights.shape)


def _leading(weights: Array, vector: Array) -> Array:
    return _times(weights, vector.reshape(-1, *[1] * (weights.ndim - 1)))


def _conv_back(node: Node, scale: Array) -> Verdict:
    found = _absorbing(node, scale)
    return found if isinstance(found, str) else _with_bias(node, _leading(*found), found[1])


def _conv_forward(node: Node, scale: Array) -> Verdict:
    found = _absorbing(node, scale)
    return found if isinstance(found, str) else Move(constants={1: _grouped(*found, node.attrs.get("group", 1))})


def _deconv_back(node: Node, scale: Array) -> Verdict:
    found = _absorbing(node, scale)
    return found if isinstance(found, str) else _with_bias(node, _grouped(*found, node.attrs.get("group", 1)), found[1])


def _deconv_forward(node: Node, scale: Array) -> Verdict:
    found = _absorbing(node, scale)
    return found if isinstance(found, str) else Move(constants={1: _leading(*found)})


def _gemm_back(node: Node, scale: Array) -> Verdict:
    found = _absorbing(node, scale)
    if isinstance(found, str):
        return found
    weights, vector = found
    return _with_bias(node, _times(weights, vector[:, None] if node.attrs.get("transB", 0) else vector), vector)


def _gemm_forward(node: Node, scale: Array) -> Verdict:
    found = _absorbing(node, scale) if not node.attrs.get("transA", 0) else _NOT_PER_CHANNEL
    if isinstance(found, str):
        return found
    weights, vector = found
    return Move(constants={1: _times(weights, vector if node.attrs.get("transB", 0) else vector[:, None])})


def _matmul(node: Node, scale: Array, backward: bool) -> Verdict:
    index = 1 if constant(node.inputs[1]) is not None else 0
    weights = constant(node.inputs[index])
    if weights is None or weights.ndim < 2 or scale.ndim < 2:
        return "neither factor is a constant matrix"
    vector = _vector(scale, -1 if index == 1 else -2)
    if vector is None:
        return _NOT_PER_CHANNEL
    # x @ W: outputs are W's columns, inputs its rows; W @ x the other way round
    columns = backward if index == 1 else not backward
    return Move(constants={index: _times(weights, vector if columns else vector[:, None])})


def _matmul_back(node: Node, scale: Array) -> Verdict:
    return _matmul(node, scale, backward=True)


def _matmul_forward(node: Node, scales: Scales) -> Verdict:
    varying, scale = next(iter(scales.items()))
    return (
        "neither factor is a constant matrix"
        if constant(node.inputs[varying]) is not None
        else _matmul(node, scale, backward=False)
    )


# Sums and products.


def keeps_shape(tensor: Tensor, factor: Array) -> bool:
    """Whether multiplying a tensor with a factor keeps its shape, so that neither is broadcast along a scaled axis."""
    ndim = rank(tensor)
    if ndim is None or factor.ndim > ndim:
        return False
    dims = tensor.shape[ndim - factor.ndim :]
    return all(size == 1 or size == dim for size, dim in zip(factor.shape, dims, strict=True))


def _mul_back(node: Node, scale: Array) -> Verdict:
    factor = constant(node.inputs[1])
    if factor is None:
        return "the factor is not a constant"
    if not keeps_shape(node.inputs[0], factor):
        return "the factor is broadcast to more channels"
    return Move(constants={1: factor.astype(np.float64) * scale})


def _mul_forward(node: Node, scales: Scales) -> Verdict:
    return _mul_back(node, scales[0]) if 0 in scales else "the factor is not a constant"


def _add_back(node: Node, scale: Array) -> Verdict:
    """s (x + y) = s x + s y, for any number of terms; a constant term takes s into its values."""
    move = Move()
    for index, tensor in enumerate(node.inputs):
        value = constant(tensor)
        if value is not None:
            move.constants[index] = _times(value, scale)
        elif keeps_shape(tensor, scale):
            move.scales[index] = scale
        else:
            return "a term is broadcast along the scaled axis"
    return move


def _add_forward(node: Node, scales: Scales) -> Verdict:
    """s x + s y = s (x + y), and s x + c = s (x + c / s)."""
    scale = next(iter(scales.values()))
    move = Move(scales={0: scale})
    for index, tensor in enumerate(node.inputs):
        value = constant(tensor)
        if value is not None:
            if np.any(scale == 0) or value.ndim > scale.ndim:
                return "the scale holds zeros"
            move.constants[index] = _times(value, 1.0 / scale)
        elif index not in scales or not np.array_equal(scales[index], scale):
            return "its terms have different scales (a shortcut past a neuron layer)"
    return move


# Pools: a scale per channel passes; through a maximum only a positive one.


def _pool_back(node: Node, scale: Array) -> Verdict:
    return "the scale varies within the pooled area" if _per_position(scale) else Move(scales={0: scale})


def _max_back(node: Node, scale: Array) -> Verdict:
    return "a factor that is not positive cannot pass a maximum" if np.any(scale <= 0) else _pool_back(node, scale)


def _anywhere_back(node: Node, scale: Array) -> Verdict:
    return Move(scales={0: scale})


# Operators that move elements: the scale moves with them.


def _reshaped(scale: Array, source: Tensor, target: Tensor) -> Array | None:
    if scale.size == 1:
        return scale.reshape([1] * len(target.shape))
    before, after = static_dims(source), static_dims(target)
    if before is None or after is None or scale.shape[0] != 1 or np.prod(before) != np.prod(after):
        return None
    return compress(np.broadcast_to(scale[0], before).reshape(1, *after))


_UNKNOWN_SIZES = "it regroups axes whose sizes are not static"


def _reshape_back(node: Node, scale: Array) -> Verdict:
    moved = _reshaped(scale, node.outputs[0], node.inputs[0]) if rank(node.inputs[0]) else None
    return _UNKNOWN_SIZES if moved is None else Move(scales={0: moved})


def _reshape_forward(node: Node, scales: Scales) -> Verdict:
    moved = _reshaped(scales[0], node.inputs[0], node.outputs[0]) if 0 in scales and rank(node.outputs[0]) else None
    return _UNKNOWN_SIZES if moved is None else Move(scales={0: moved})


def _transpose_back(node: Node, scale: Array) -> Verdict:
    perm = node.attrs.get("perm", range(scale.ndim)[::-1])
    return Move(scales={0: scale.transpose(np.argsort(list(perm)))})


def _transpose_forward(node: Node, scales: Scales) -> Verdict:
    perm = node.attrs.get("perm", range(scales[0].ndim)[::-1])
    return Move(scales={0: scales[0].transpose(list(perm))})


def _sizes(node: Node, axis: int) -> list[int] | None:
    sizes = [t.shape[axis] if t.shape is not None else None for t in node.inputs]
    known = [s for s in sizes if isinstance(s, int) and s > 0]
    return known if len(known) == len(sizes) else None


def _concat_back(node: Node, scale: Array) -> Verdict:
    axis = node.attrs["axis"] % scale.ndim
    parts = [scale] * len(node.inputs)
    if scale.shape[axis] > 1:
        sizes = _sizes(node, axis)
        if sizes is None:
            return _UNKNOWN_SIZES
        parts = np.split(scale, np.cumsum(sizes)[:-1], axis)
    move = Move()
    for index, (tensor, part) in enumerate(zip(node.inputs, parts, strict=True)):
        value = constant(tensor)
        if value is None:
            move.scales[index] = compress(part)
        else:
            move.constants[index] = _times(value, part)
    return move


def _concat_forward(node: Node, scales: Scales) -> Verdict:
    ndim = next(iter(scales.values())).ndim
    axis = node.attrs["axis"] % ndim
    sizes = _sizes(node, axis)
    if sizes is None:
        return _UNKNOWN_SIZES
    one = np.ones([1] * ndim)
    parts = [scales.get(index, one) for index in range(len(sizes))]
    common = [max(part.shape[a] for part in parts) for a in range(ndim)]
    full = [
        np.broadcast_to(p, [*common[:axis], size, *common[axis + 1 :]]) for p, size in zip(parts, sizes, strict=True)
    ]
    return Move(scales={0: compress(np.concatenate(full, axis))})


def _pads(node: Node, ndim: int) -> list[tuple[int, int]] | None:
    """Per axis, what a zero padding adds before and behind; None for any other padding."""
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    value = constant(node.inputs[2]) if len(node.inputs) > 2 and not node.inputs[2].is_empty() else np.zeros(1)
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 and not node.inputs[3].is_empty() else np.arange(ndim)
    if pads is None or value is None or axes is None or np.any(value != 0) or np.any(pads < 0):
        return None
    found = [(0, 0)] * ndim
    for position, axis in enumerate(axes.tolist()):
        found[axis % ndim] = (int(pads[position]), int(pads[position + len(axes)]))
    return found if node.attrs.get("mode", "constant") == "constant" else None


_OTHER_PADDING = "it pads with other values than zero along the scaled axis"


def _pad_back(node: Node, scale: Array) -> Verdict:
    pads = _pads(node, scale.ndim)
    if pads is None:
        return _OTHER_PADDING
    cut = tuple(
        slice(before, size - after) if size > 1 else slice(None)
        for size, (before, after) in zip(scale.shape, pads, strict=True)
    )
    return Move(scales={0: compress(scale[cut])})


def _pad_forward(node: Node, scales: Scales) -> Verdict:
    scale = scales.get(0)
    pads = None if scale is None else _pads(node, scale.ndim)
    if scale is None or pads is None:
        return _OTHER_PADDING
    widths = [pad if size > 1 else (0, 0) for size, pad in zip(scale.shape, pads, strict=True)]
    return Move(scales={0: np.pad(scale, widths, constant_values=1.0)})


def _slices(node: Node, ndim: int) -> dict[int, slice] | None:
    given = [constant(t) for t in node.inputs[1:]]
    if len(given) < 2 or any(g is None for g in given):
        return None
    starts, ends = (np.asarray(g).tolist() for g in given[:2])
    axes = np.asarray(given[2]).tolist() if len(given) > 2 else list(range(len(starts)))
    steps = np.asarray(given[3]).tolist() if len(given) > 3 else [1] * len(starts)
    if any(step <= 0 for step in steps):
        return None
    return {axis % ndim: slice(b, e, s) for axis, b, e, s in zip(axes, starts, ends, steps, strict=True)}


_SLICED = "it selects along the scaled axis"


def _slice_back(node: Node, scale: Array) -> Verdict:
    cuts = _slices(node, scale.ndim)
    if cuts is None or any(scale.shape[axis] > 1 for axis in cuts):
        return _SLICED
    return Move(scales={0: scale})


def _slice_forward(node: Node, scales: Scales) -> Verdict:
    scale = scales.get(0)
    cuts = None if scale is None else _slices(node, scale.ndim)
    if scale is None or cuts is None:
        return _SLICED
    return Move(
        scales={
            0: scale[tuple(cuts.get(a, slice(None)) if scale.shape[a] > 1 else slice(None) for a in range(scale.ndim))]
        }
    )


def _gather_back(node: Node, scale: Array) -> Verdict:
    indices = constant(node.inputs[1])
    axis = node.attrs.get("axis", 0) % scale.ndim
    return Move(scales={0: scale}) if indices is not None and indices.ndim == 1 and scale.shape[axis] == 1 else _SLICED


def _gather_forward(node: Node, scales: Scales) -> Verdict:
    indices, scale = constant(node.inputs[1]), scales.get(0)
    if indices is None or scale is None:
        return _SLICED
    axis = node.attrs.get("axis", 0) % scale.ndim
    taken = scale.take(indices if scale.shape[axis] > 1 else np.zeros_like(indices), axis)
    return Move(scales={0: compress(np.asarray(taken))})


def _shape_forward(_node: Node, _scales: Scales) -> Verdict:
    return Move()


def _of_first(rule: BackwardRule) -> ForwardRule:
    """For an operator that takes the scale of its first input alone."""
    return lambda node, scales: rule(node, scales[0]) if set(scales) == {0} else "its parameters are not constants"


ACCUMULATED_MAX_POOL = "AccumulatedMaxPool"
RUNNING_MEAN = "RunningMean"

_PASSES: dict[str, BackwardRule] = {
    "AveragePool": _pool_back,
    "GlobalAveragePool": _pool_back,
    "MaxPool": _max_back,
    "GlobalMaxPool": _max_back,
    ACCUMULATED_MAX_POOL: _max_back,
    RUNNING_MEAN: _anywhere_back,
}

BACKWARD: dict[str, BackwardRule] = _PASSES | {
    "Conv": _conv_back,
    "ConvTranspose": _deconv_back,
    "Gemm": _gemm_back,
    "MatMul": _matmul_back,
    "Mul": _mul_back,
    "Add": _add_back,
    "Sub": _add_back,
    "Reshape": _reshape_back,
    "Flatten": _reshape_back,
    "Squeeze": _reshape_back,
    "Unsqueeze": _reshape_back,
    "Transpose": _transpose_back,
    "Concat": _concat_back,
    "Pad": _pad_back,
    "Slice": _slice_back,
    "Gather": _gather_back,
}

FORWARD: dict[str, ForwardRule] = {op: _of_first(rule) for op, rule in _PASSES.items()} | {
    "Conv": _of_first(_conv_forward),
    "ConvTranspose": _of_first(_deconv_forward),
    "Gemm": _of_first(_gemm_forward),
    "MatMul": _matmul_forward,
    "Mul": _mul_forward,
    "Add": _add_forward,
    "Sub": _add_forward,
    "Reshape": _reshape_forward,
    "Flatten": _reshape_forward,
    "Squeeze": _reshape_forward,
    "Unsqueeze": _reshape_forward,
    "Transpose": _transpose_forward,
    "Concat": _concat_forward,
    "Pad": _pad_forward,
    "Slice": _slice_forward,
    "Gather": _gather_forward,
    "Shape": _shape_forward,
    "Size": _shape_forward,
}

KNOWN_DOMAINS = ("", "ai.onnx", None, SNN_DOMAIN)
