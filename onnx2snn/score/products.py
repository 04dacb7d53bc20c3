"""What operators with weights, and pools, compute: products of each input element, and how many in all."""

from __future__ import annotations

import math

import numpy as np

from onnx2snn.graph.editing import Array
from onnx2snn.score.connections import Wire, windows


def fan_out(wire: Wire) -> Array:
    """Of each element of a weighted operator's input, how many products it is a factor of; exact at borders."""
    if wire.node.op_type not in ("Conv", "ConvTranspose"):  # the others: every element is a factor as often
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
        sizes |= {label: max(size, sizes.get(label, 1)) for label, size in zip(labels, shape, strict=True)}
    return sizes


def window_size(wire: Wire) -> int:
    """Elements a pool reads for each one it makes."""
    kernel = wire.attr("kernel_shape")
    return math.prod(kernel) if kernel else math.prod(wire.shape) // max(1, math.prod(wire.out))
