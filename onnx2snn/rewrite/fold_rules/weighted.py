"""Rules of folding for weighted operators: they absorb a scale per channel into their initializers."""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant, scaled_values
from onnx2snn.graph.types import Node
from onnx2snn.rewrite.fold_rules.moves import NOT_PER_CHANNEL, FoldOutcome, Move, Scales, as_vector


def _with_bias(node: Node, weights: Array, factor: Array) -> FoldOutcome:
    constants = {1: weights}
    if len(node.inputs) > 2 and not node.inputs[2].is_empty():
        bias = constant(node.inputs[2])
        if bias is None:
            return "its bias is not a constant"
        constants[2] = scaled_values(bias, factor)
    return Move(constants=constants)


def _absorbing(node: Node, scale: Array) -> tuple[Array, Array] | str:
    """A node's constant weights and the scale as a vector along axis 1; or why the one cannot take the other."""
    weights, vector = constant(node.inputs[1]), as_vector(scale, 1)
    if weights is None:
        return "its weights are not a constant"
    return NOT_PER_CHANNEL if vector is None else (weights, vector)


def _grouped(weights: Array, vector: Array, group: int) -> Array:
    """Scale weights whose axis 1 holds channels of one group: channel g·n+j of the vector meets block g, index j."""
    blocks = weights.reshape(group, weights.shape[0] // group, *weights.shape[1:])
    vector = np.broadcast_to(vector, (group * weights.shape[1],)).reshape(
        group, 1, -1, *[1] * (weights.ndim - 2)
    )
    return scaled_values(blocks, vector).reshape(weights.shape)


def _leading(weights: Array, vector: Array) -> Array:
    return scaled_values(weights, vector.reshape(-1, *[1] * (weights.ndim - 1)))


def conv_back(node: Node, scale: Array) -> FoldOutcome:
    found = _absorbing(node, scale)
    return found if isinstance(found, str) else _with_bias(node, _leading(*found), found[1])


def conv_forward(node: Node, scale: Array) -> FoldOutcome:
    found = _absorbing(node, scale)
    return (
        found
        if isinstance(found, str)
        else Move(constants={1: _grouped(*found, node.attrs.get("group", 1))})
    )


def deconv_back(node: Node, scale: Array) -> FoldOutcome:
    found = _absorbing(node, scale)
    return (
        found
        if isinstance(found, str)
        else _with_bias(node, _grouped(*found, node.attrs.get("group", 1)), found[1])
    )


def deconv_forward(node: Node, scale: Array) -> FoldOutcome:
    found = _absorbing(node, scale)
    return found if isinstance(found, str) else Move(constants={1: _leading(*found)})


def gemm_back(node: Node, scale: Array) -> FoldOutcome:
    found = _absorbing(node, scale)
    if isinstance(found, str):
        return found
    weights, vector = found
    return _with_bias(
        node,
        scaled_values(weights, vector[:, None] if node.attrs.get("transB", 0) else vector),
        vector,
    )


def gemm_forward(node: Node, scale: Array) -> FoldOutcome:
    found = _absorbing(node, scale) if not node.attrs.get("transA", 0) else NOT_PER_CHANNEL
    if isinstance(found, str):
        return found
    weights, vector = found
    return Move(
        constants={
            1: scaled_values(weights, vector if node.attrs.get("transB", 0) else vector[:, None])
        }
    )


def _matmul(node: Node, scale: Array, backward: bool) -> FoldOutcome:
    index = 1 if constant(node.inputs[1]) is not None else 0
    weights = constant(node.inputs[index])
    if weights is None or weights.ndim < 2 or scale.ndim < 2:
        return "neither factor is a constant matrix"
    vector = as_vector(scale, -1 if index == 1 else -2)
    if vector is None:
        return NOT_PER_CHANNEL
    # x @ W: outputs are W's columns, inputs its rows; W @ x the other way round
    columns = backward if index == 1 else not backward
    return Move(constants={index: scaled_values(weights, vector if columns else vector[:, None])})


def matmul_back(node: Node, scale: Array) -> FoldOutcome:
    return _matmul(node, scale, backward=True)


def matmul_forward(node: Node, scales: Scales) -> FoldOutcome:
    varying, scale = next(iter(scales.items()))
    return (
        "neither factor is a constant matrix"
        if constant(node.inputs[varying]) is not None
        else _matmul(node, scale, backward=False)
    )
