"""Rules of folding for operators that move elements: the scale moves with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant, keeps_shape, rank, scaled_values, static_dims
from onnx2snn.graph.types import Node, Tensor
from onnx2snn.rewrite.fold_rules.moves import (
    NOT_PER_CHANNEL,
    FoldOutcome,
    Move,
    Scales,
    as_vector,
    compress,
)


def _reshaped(scale: Array, source: Tensor, target: Tensor) -> Array | None:
    if scale.size == 1:
        return scale.reshape([1] * len(target.shape or ()))
    before, after = static_dims(source), static_dims(target)
    if before is None or after is None or scale.shape[0] != 1 or np.prod(before) != np.prod(after):
        return None
    return compress(np.broadcast_to(scale[0], before).reshape(1, *after))


_UNKNOWN_SIZES = "it regroups axes whose sizes are not static"


def reshape_back(node: Node, scale: Array) -> FoldOutcome:
    moved = _reshaped(scale, node.outputs[0], node.inputs[0]) if rank(node.inputs[0]) else None
    return _UNKNOWN_SIZES if moved is None else Move(scales={0: moved})


def reshape_forward(node: Node, scales: Scales) -> FoldOutcome:
    moved = (
        _reshaped(scales[0], node.inputs[0], node.outputs[0])
        if 0 in scales and rank(node.outputs[0])
        else None
    )
    return _UNKNOWN_SIZES if moved is None else Move(scales={0: moved})


def transpose_back(node: Node, scale: Array) -> FoldOutcome:
    perm = node.attrs.get("perm", range(scale.ndim)[::-1])
    return Move(scales={0: scale.transpose(np.argsort(list(perm)))})


def transpose_forward(node: Node, scales: Scales) -> FoldOutcome:
    perm = node.attrs.get("perm", range(scales[0].ndim)[::-1])
    return Move(scales={0: scales[0].transpose(list(perm))})


def _sizes(tensors: Sequence[Tensor], axis: int) -> list[int] | None:
    sizes = [t.shape[axis] if t.shape is not None else None for t in tensors]
    known = [s for s in sizes if isinstance(s, int) and s > 0]
    return known if len(known) == len(sizes) else None


def concat_back(node: Node, scale: Array) -> FoldOutcome:
    axis = node.attrs["axis"] % scale.ndim
    parts = [scale] * len(node.inputs)
    if scale.shape[axis] > 1:
        sizes = _sizes(node.inputs, axis)
        if sizes is None:
            return _UNKNOWN_SIZES
        parts = np.split(scale, np.cumsum(sizes)[:-1], axis)
    move = Move()
    for index, (tensor, part) in enumerate(zip(node.inputs, parts, strict=True)):
        value = constant(tensor)
        if value is None:
            move.scales[index] = compress(part)
        else:
            move.constants[index] = scaled_values(value, part)
    return move


def concat_forward(node: Node, scales: Scales) -> FoldOutcome:
    ndim = next(iter(scales.values())).ndim
    axis = node.attrs["axis"] % ndim
    sizes = _sizes(node.inputs, axis)
    if sizes is None:
        return _UNKNOWN_SIZES
    one = np.ones([1] * ndim)
    parts = [scales.get(index, one) for index in range(len(sizes))]
    common = [max(part.shape[a] for part in parts) for a in range(ndim)]
    full = [
        np.broadcast_to(p, [*common[:axis], size, *common[axis + 1 :]])
        for p, size in zip(parts, sizes, strict=True)
    ]
    return Move(scales={0: compress(np.concatenate(full, axis))})


def _pads(node: Node, ndim: int) -> list[tuple[int, int]] | None:
    """Per axis, what a zero padding adds before and behind; None for any other padding."""
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    value = (
        constant(node.inputs[2])
        if len(node.inputs) > 2 and not node.inputs[2].is_empty()
        else np.zeros(1)
    )
    axes = (
        constant(node.inputs[3])
        if len(node.inputs) > 3 and not node.inputs[3].is_empty()
        else np.arange(ndim)
    )
    if pads is None or value is None or axes is None or np.any(value != 0) or np.any(pads < 0):
        return None
    found = [(0, 0)] * ndim
    for position, axis in enumerate(axes.tolist()):
        found[axis % ndim] = (int(pads[position]), int(pads[position + len(axes)]))
    return found if node.attrs.get("mode", "constant") == "constant" else None


_OTHER_PADDING = "it pads with other values than zero along the scaled axis"


def pad_back(node: Node, scale: Array) -> FoldOutcome:
    pads = _pads(node, scale.ndim)
    if pads is None:
        return _OTHER_PADDING
    cut = tuple(
        slice(before, size - after) if size > 1 else slice(None)
        for size, (before, after) in zip(scale.shape, pads, strict=True)
    )
    return Move(scales={0: compress(scale[cut])})


def pad_forward(node: Node, scales: Scales) -> FoldOutcome:
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
    return {
        axis % ndim: slice(b, e, s) for axis, b, e, s in zip(axes, starts, ends, steps, strict=True)
    }


_SLICED = "it selects along the scaled axis"


def slice_back(node: Node, scale: Array) -> FoldOutcome:
    cuts = _slices(node, scale.ndim)
    if cuts is None or any(scale.shape[axis] > 1 for axis in cuts):
        return _SLICED
    return Move(scales={0: scale})


def slice_forward(node: Node, scales: Scales) -> FoldOutcome:
    scale = scales.get(0)
    cuts = None if scale is None else _slices(node, scale.ndim)
    if scale is None or cuts is None:
        return _SLICED
    return Move(
        scales={
            0: scale[
                tuple(
                    cuts.get(a, slice(None)) if scale.shape[a] > 1 else slice(None)
                    for a in range(scale.ndim)
                )
            ]
        }
    )


def gather_back(node: Node, scale: Array) -> FoldOutcome:
    indices = constant(node.inputs[1])
    axis = node.attrs.get("axis", 0) % scale.ndim
    return (
        Move(scales={0: scale})
        if indices is not None and indices.ndim == 1 and scale.shape[axis] == 1
        else _SLICED
    )


def gather_forward(node: Node, scales: Scales) -> FoldOutcome:
    indices, scale = constant(node.inputs[1]), scales.get(0)
    if indices is None or scale is None:
        return _SLICED
    axis = node.attrs.get("axis", 0) % scale.ndim
    taken = scale.take(indices if scale.shape[axis] > 1 else np.zeros_like(indices), axis)
    return Move(scales={0: compress(np.asarray(taken))})


def split_forward(node: Node, scales: Scales) -> FoldOutcome:
    """Each output gets its part of the scale."""
    scale = scales.get(0)
    axis = None if scale is None else node.attrs.get("axis", 0) % scale.ndim
    if scale is None or axis is None:
        return _SLICED
    if scale.shape[axis] == 1:
        return Move(scales=dict.fromkeys(range(len(node.outputs)), scale))
    sizes = _sizes(node.outputs, axis)
    if sizes is None:
        return _UNKNOWN_SIZES
    parts = np.split(scale, np.cumsum(sizes)[:-1], axis)
    return Move(scales={index: compress(part) for index, part in enumerate(parts)})


def expand_back(node: Node, scale: Array) -> FoldOutcome:
    """s expand(x) = expand(s x), where x is not broadcast along an axis s varies along."""
    ndim = rank(node.inputs[0])
    if ndim is None or any(size > 1 for size in scale.shape[: scale.ndim - ndim]):
        return "it broadcasts along the scaled axis"
    inner = scale.reshape(scale.shape[scale.ndim - ndim :])
    kept = keeps_shape(node.inputs[0], inner)
    return Move(scales={0: inner}) if kept else "it broadcasts along the scaled axis"


def expand_forward(node: Node, scales: Scales) -> FoldOutcome:
    """expand(s x) = s expand(x)."""
    ndim, scale = rank(node.outputs[0]), scales.get(0)
    if ndim is None or scale is None:
        return _UNKNOWN_SIZES
    return Move(scales={0: scale.reshape([1] * (ndim - scale.ndim) + list(scale.shape))})


def tile_back(node: Node, scale: Array) -> FoldOutcome:
    """s tile(x) = tile(s x), where s is the same along the axes repeated."""
    repeats = constant(node.inputs[1])
    if repeats is None or any(
        r > 1 and size > 1 for r, size in zip(repeats, scale.shape, strict=True)
    ):
        return "it repeats the scaled axis"
    return Move(scales={0: scale})


def tile_forward(node: Node, scales: Scales) -> FoldOutcome:
    """tile(s x) = tile(s) tile(x)."""
    repeats, scale = constant(node.inputs[1]), scales.get(0)
    if repeats is None or scale is None:
        return "its repeats are not constant"
    tiled = np.tile(
        scale, [r if size > 1 else 1 for r, size in zip(repeats.tolist(), scale.shape, strict=True)]
    )
    return Move(scales={0: tiled})


def _blocks(node: Node, vector: Array, size: int) -> Array:
    """A scale of `size` channels for the channels a block of pixels is made of, in the order the node stores them."""
    area = node.attrs["blocksize"] ** 2
    full = np.broadcast_to(vector, (size,))
    inner_first = node.op == "DepthToSpace" and node.attrs.get("mode", "DCR") == "CRD"
    return (np.repeat(full, area) if inner_first else np.tile(full, area)).reshape(1, -1, 1, 1)


def _to_many(node: Node, scale: Array, few: Tensor) -> FoldOutcome:
    """The scale of the tensor of few channels, for the tensor of many."""
    vector, channels = as_vector(scale, 1), few.shape[1] if few.shape is not None else None
    if vector is None or not isinstance(channels, int):
        return NOT_PER_CHANNEL
    return Move(scales={0: compress(_blocks(node, vector, channels))})


def _to_few(_node: Node, scale: Array) -> FoldOutcome:
    return Move(scales={0: scale}) if scale.size == 1 else "the scale varies within a block"


def depth_to_space_back(node: Node, scale: Array) -> FoldOutcome:
    """A channel's scale goes to every channel its pixels come from."""
    return _to_many(node, scale, node.outputs[0])


def depth_to_space_forward(node: Node, scales: Scales) -> FoldOutcome:
    """The channels that make a block have to have one scale."""
    return _to_few(node, scales[0])


def space_to_depth_back(node: Node, scale: Array) -> FoldOutcome:
    """The channels that a block makes have to have one scale."""
    return _to_few(node, scale)


def space_to_depth_forward(node: Node, scales: Scales) -> FoldOutcome:
    """A channel's scale goes to every channel its pixels go to."""
    return _to_many(node, scales[0], node.inputs[0])


def shape_forward(_node: Node, _scales: Scales) -> FoldOutcome:
    return Move()
