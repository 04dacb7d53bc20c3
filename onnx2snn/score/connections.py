"""Which elements of a node's output an element of its input reaches, for operators linear in that input.

A `Pattern` holds the connections of one input with every weight taken as 1: `pull` carries counts from the output back
to the input, `push` carries marks from the input to the output. Shapes are those of one run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from onnx2snn.aliases import Array
from onnx2snn.protos.sessions import open_session

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Wire:
    """One data input and one output of a node in one run of a model, whose tensors' values are at hand."""

    node: onnx.NodeProto
    opset: int
    values: Mapping[str, Array]
    index: int = 0
    output: int = 0

    @property
    def shape(self) -> Shape:
        """Of the input."""
        return self.values[self.node.input[self.index]].shape

    @property
    def out(self) -> Shape:
        """Of the output."""
        return self.values[self.node.output[self.output]].shape

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        found = next((a for a in self.node.attribute if a.name == name), None)
        return default if found is None else helper.get_attribute_value(found)

    def input(self, index: int) -> Array | None:
        """The value of another input, None where it is left out."""
        name = self.node.input[index] if len(self.node.input) > index else ""
        return self.values[name] if name else None


@dataclass(frozen=True)
class Pattern:
    """The connections of one input: `pull` counts [out] -> [in], `push` marks [in] -> [out]."""

    pull: Callable[[Array], Array]
    push: Callable[[Array], Array]


def moved(wire: Wire) -> Pattern:
    """Operators that only move elements: run once on the elements' numbers, which says where each came from."""
    return _placed(wire.shape, _sources(wire))


def broadcast(wire: Wire) -> Pattern:
    """Elementwise operators."""
    if wire.shape == wire.out:
        return Pattern(lambda counts: counts, lambda marks: marks)
    ids = np.arange(math.prod(wire.shape)).reshape(wire.shape)
    return _placed(wire.shape, np.broadcast_to(ids, wire.out))


def reduced(wire: Wire) -> Pattern:
    """Means and sums over whole axes."""
    axes = _reduced_axes(wire)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(wire.shape))
    return Pattern(
        lambda counts: np.broadcast_to(counts.reshape(kept), wire.shape),
        lambda marks: marks.any(axis=axes).reshape(wire.out),
    )


def pooled(wire: Wire) -> Pattern:
    """Average pools: each axis has its own matrix of connections."""
    return _separable(2, windows(wire, wire.attr("kernel_shape")))


def resized(wire: Wire) -> Pattern:
    """Resize and Upsample; where they interpolate, the connections along each axis are found by one-hot probes."""
    mode = wire.attr("mode", b"nearest")
    if mode == b"nearest":
        return moved(wire)
    return _separable(0, [_probed(wire, axis) for axis in range(len(wire.shape))])


def cumulated(wire: Wire) -> Pattern:
    """Cumulative sums: an element reaches those after it (or before), itself among them or not."""
    given = wire.input(1)
    assert given is not None
    axis, reverse, exclusive = int(given.item()), wire.attr("reverse", 0), wire.attr("exclusive", 0)

    def through(values: Array, backwards: bool) -> Array:
        turned = np.flip(values, axis) if backwards else values
        sums = np.cumsum(turned, axis) - (turned if exclusive else 0)
        return np.flip(sums, axis) if backwards else sums

    return Pattern(
        lambda counts: through(counts, not reverse),
        lambda marks: through(marks.astype(np.int64), bool(reverse)) > 0,
    )


_MOVING = (
    "Reshape Flatten Squeeze Unsqueeze Transpose Slice Gather GatherElements GatherND Concat Compress Pad "
    "CenterCropPad Split Expand Tile DepthToSpace SpaceToDepth Trilu ReverseSequence ScatterElements ScatterND "
    "Where Identity Cast CastLike Dropout"
)

PATTERNS: dict[str, Callable[[Wire], Pattern]] = {
    **dict.fromkeys(_MOVING.split(" "), moved),
    **dict.fromkeys(
        ["Add", "Sub", "Sum", "Mean", "Mul", "Div", "Neg", "BatchNormalization"], broadcast
    ),
    **dict.fromkeys(["GlobalAveragePool", "ReduceMean", "ReduceSum"], reduced),
    "AveragePool": pooled,
    "CumSum": cumulated,
    "Resize": resized,
    "Upsample": resized,
}
"""Operators that are linear in their data and have no synapses of their own."""

_DATA = {"Where": (1, 2), "ScatterElements": (0, 2), "ScatterND": (0, 2), "Mul": (0, 1)}


def data_inputs(node: onnx.NodeProto) -> tuple[int, ...]:
    """The inputs in which a node of `PATTERNS` is linear; the others say where elements go, or scale them."""
    if node.op_type in ("Add", "Sub", "Sum", "Mean", "Concat"):
        return tuple(range(len(node.input)))
    return _DATA.get(node.op_type, (0,))


def _placed(shape: Shape, ids: Array) -> Pattern:
    """`ids` [out]: the number of the input element each output element is, -1 for none."""
    flat, there = ids.ravel(), ids.ravel() >= 0
    size = math.prod(shape)
    return Pattern(
        lambda counts: np.bincount(flat[there], counts.ravel()[there], size).reshape(shape),
        lambda marks: (marks.ravel()[flat] & there).reshape(ids.shape),
    )


def _separable(first: int, matrices: Sequence[Array]) -> Pattern:
    """Connections [in, out] of each axis from `first` on; two elements connect if they do along every axis."""

    def through(values: Array, transposed: bool) -> Array:
        for axis, matrix in enumerate(matrices, first):
            values = np.moveaxis(
                np.tensordot(matrix.T if transposed else matrix, values, (1, axis)), 0, axis
            )
        return values

    return Pattern(
        lambda counts: through(counts, transposed=False),
        lambda marks: through(marks.astype(np.float64), True) > 0,
    )


def windows(wire: Wire, kernel: Sequence[int]) -> list[Array]:
    """Of each spatial axis, how many kernel taps connect input and output places: [in, out]."""
    axes = range(len(kernel))
    strides, dilations = (wire.attr(name) or [1] * len(kernel) for name in ("strides", "dilations"))
    transposed = wire.node.op_type == "ConvTranspose"
    small, large = (
        (wire.shape, wire.out) if transposed else (wire.out, wire.shape)
    )  # the strided, the dense side
    found = []
    for axis in axes:
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        begin = _pad_begin(
            wire, axis, len(kernel), (small[axis + 2] - 1) * strides[axis] + reach - large[axis + 2]
        )
        start = np.arange(small[axis + 2])[:, None] * strides[axis] - begin
        place = start + np.arange(kernel[axis]) * dilations[axis]
        rows = np.broadcast_to(np.arange(small[axis + 2])[:, None], place.shape)
        inside = (place >= 0) & (place < large[axis + 2])
        flat = rows[inside] * large[axis + 2] + place[inside]
        taps = np.bincount(flat, minlength=small[axis + 2] * large[axis + 2]).reshape(
            small[axis + 2], large[axis + 2]
        )
        found.append((taps if transposed else taps.T).astype(np.float64))
    return found


def _pad_begin(wire: Wire, axis: int, rank: int, needed: int) -> int:
    """Padding before an axis's first place; `needed`: padding in all, where it is automatic."""
    automatic = wire.attr("auto_pad", b"NOTSET")
    if automatic == b"NOTSET" and not wire.attr("output_shape"):
        return int((wire.attr("pads") or [0] * 2 * rank)[axis])
    if automatic == b"VALID":
        return 0
    total = max(needed + (wire.attr("output_padding") or [0] * rank)[axis], 0)
    return int(total // 2 if automatic == b"SAME_UPPER" else total - total // 2)


def _reduced_axes(wire: Wire) -> tuple[int, ...]:
    rank = len(wire.shape)
    if wire.node.op_type.startswith("Global"):
        return tuple(range(2, rank))
    axes = wire.attr("axes")
    axes = wire.input(1) if axes is None and len(wire.node.input) > 1 else axes
    if axes is None or not len(axes):
        return () if wire.attr("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(int(axis) % rank for axis in axes)


def _probed(wire: Wire, axis: int) -> Array:
    """The connections [in, out] of a resizing along one axis."""
    size = wire.shape[axis]
    if size == wire.out[axis]:
        return np.eye(size)
    shape = [1] * len(wire.shape)
    shape[axis] = shape[1 if axis != 1 else 0] = size
    target = [wire.out[axis] if a == axis else d for a, d in enumerate(shape)]
    feeds = {0: np.eye(size, dtype=np.float32).reshape(shape)}
    for index in range(1, len(wire.node.input)):
        given = wire.input(index)
        if given is not None and len(given) == len(shape):
            feeds[index] = (
                np.array(target, np.int64)
                if given.dtype == np.int64
                else np.array([given[a] if a == axis else 1 for a in range(len(shape))], np.float32)
            )
    found: Array = _run(wire, feeds)[0].reshape(size, -1) != 0
    return found.astype(np.float64)


def _sources(wire: Wire) -> Array:
    """Run the node on the numbers 1, 2, ... of its elements, 0 standing for all that is none of them; -1 for none."""
    op = wire.node.op_type
    kind = np.dtype(np.float32 if op in ("Resize", "Upsample") else np.float64)
    numbers = np.arange(1, math.prod(wire.shape) + 1, dtype=kind).reshape(wire.shape)
    if op in ("Cast", "CastLike", "Dropout", "Identity"):
        return numbers.astype(np.int64) - 1
    feeds: dict[int, Array] = {}
    data = data_inputs(wire.node)
    for index, name in enumerate(wire.node.input):
        if name:
            value = wire.values[name]
            other = index in data or (op, index) == ("Pad", 2)
            feeds[index] = np.zeros_like(value, kind) if other else value
    feeds[wire.index] = numbers
    return _run(wire, feeds)[wire.output].astype(np.int64) - 1


def _run(wire: Wire, feeds: Mapping[int, Array]) -> list[Array]:
    """Run the one node on other inputs, given by index."""
    node = onnx.NodeProto()
    node.CopyFrom(wire.node)
    node.input[:] = [f"in{index}" if index in feeds else "" for index in range(len(node.input))]
    inputs = [
        helper.make_tensor_value_info(
            f"in{index}", helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for index, value in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "node", inputs, outputs)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", wire.opset)], ir_version=8
    )
    return list(
        open_session(model, 1).run(None, {f"in{index}": value for index, value in feeds.items()})
    )


def fan_out(wire: Wire) -> Array:
    """Of each element of a weighted operator's input, how many products it is a factor of; exact at borders."""
    if wire.node.op_type not in (
        "Conv",
        "ConvTranspose",
    ):  # the others: every element is a factor as often
        return np.full(wire.shape, operations(wire) / math.prod(wire.shape))
    weights = wire.input(1)
    assert weights is not None
    taps = windows(wire, weights.shape[2:])
    filters = wire.out[1] // wire.attr("group", 1)
    found = np.full(wire.shape, float(filters))
    for axis, matrix in enumerate(taps, 2):
        found *= matrix.sum(axis=1).reshape([-1 if a == axis else 1 for a in range(found.ndim)])
    return found


def operations(wire: Wire) -> float:
    """Multiply-accumulates of a weighted operator, those with a border's zeros included, as usual."""
    node, size = wire.node, float(math.prod(wire.out))
    if node.op_type == "Einsum":
        return float(math.prod(_einsum_sizes(wire).values()))
    if node.op_type == "MatMul":
        return size * (wire.shape[-1] if wire.index == 0 else wire.shape[max(-2, -len(wire.shape))])
    if node.op_type == "Gemm":
        transposed = wire.attr("transB" if wire.index else "transA", 0)
        return size * wire.shape[int(bool(transposed) == bool(wire.index))]
    weights = wire.input(1)
    assert weights is not None
    reached = math.prod(weights.shape[1:])
    return (math.prod(wire.shape) if node.op_type == "ConvTranspose" else size) * reached


def _einsum_sizes(wire: Wire) -> dict[str, int]:
    """The size of each index of an Einsum; the places of an ellipsis are numbered from the right."""
    terms = wire.attr("equation").decode().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, name in zip(terms, wire.node.input, strict=True):
        shape = wire.values[name].shape
        hidden = [str(place) for place in range(len(shape) - len(term.replace("...", "")), 0, -1)]
        before, dots, after = term.partition("...")
        labels = [*before, *(hidden if dots else []), *after]
        sizes |= {
            label: max(size, sizes.get(label, 1)) for label, size in zip(labels, shape, strict=True)
        }
    return sizes


def window_size(wire: Wire) -> int:
    """Elements a pool reads for each one it makes."""
    kernel = wire.attr("kernel_shape")
    return math.prod(kernel) if kernel else math.prod(wire.shape) // max(1, math.prod(wire.out))
