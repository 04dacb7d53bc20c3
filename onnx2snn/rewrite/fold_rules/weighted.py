"""Rules of folding for weighted operators: they absorb a scale per channel into their initializers.

With weights W and bias b of y = W x + b, and diagonal scales s:

backward: s (W x + b) = (s W) x + s b; the rows of W, one an output channel, and b are scaled.
forward: W (s x) + b = (W s) x + b; the columns of W, one an input channel, are scaled.

They refuse a scale that varies within a channel, and weights or biases that are not constant.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import scaled_values
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.rewrite.fold_rules.moves import (
    NOT_PER_CHANNEL,
    FoldOutcome,
    Move,
    Scales,
    as_vector,
    operand,
)

_NO_MATRIX = "neither factor is a constant matrix"


def conv_back(node: Node, scale: Array) -> FoldOutcome:
    """s (W * x + b) = (s W) * x + s b; W [outputs, inputs a group, ...]."""
    found = _absorbing(node, scale)
    if isinstance(found, str):
        return found
    weights, vector = found
    return _with_bias(node, _scale_axis_0(weights, vector), vector)


def conv_forward(node: Node, scale: Array) -> FoldOutcome:
    """W * (s x) = (W s) * x; W [outputs, inputs a group, ...]."""
    found = _absorbing(node, scale)
    if isinstance(found, str):
        return found
    weights, vector = found
    return Move(constants={1: _scale_axis_1(node, weights, vector)})


def deconv_back(node: Node, scale: Array) -> FoldOutcome:
    """s (W * x + b) = (s W) * x + s b; a ConvTranspose has W [inputs, outputs a group, ...]."""
    found = _absorbing(node, scale)
    if isinstance(found, str):
        return found
    weights, vector = found
    return _with_bias(node, _scale_axis_1(node, weights, vector), vector)


def deconv_forward(node: Node, scale: Array) -> FoldOutcome:
    """W * (s x) = (W s) * x; a ConvTranspose has W [inputs, outputs a group, ...]."""
    found = _absorbing(node, scale)
    if isinstance(found, str):
        return found
    weights, vector = found
    return Move(constants={1: _scale_axis_0(weights, vector)})


def gemm_back(node: Node, scale: Array) -> FoldOutcome:
    """(x W + b) s = x (W s) + b s; outputs are W's columns, or with transB its rows."""
    found = _absorbing(node, scale)
    if isinstance(found, str):
        return found
    weights, vector = found
    # columns of W [inputs, outputs], or rows of its transpose
    by_output = vector
    if node.attrs.get("transB", 0):
        by_output = vector[:, None]
    return _with_bias(node, scaled_values(weights, by_output), vector)


def gemm_forward(node: Node, scale: Array) -> FoldOutcome:
    """(x s) W = x (s W); inputs are W's rows, with transB its columns. Refuses a transposed x."""
    if node.attrs.get("transA", 0):
        return NOT_PER_CHANNEL
    found = _absorbing(node, scale)
    if isinstance(found, str):
        return found
    weights, vector = found
    # rows of W [inputs, outputs], or columns of its transpose
    by_input = vector[:, None]
    if node.attrs.get("transB", 0):
        by_input = vector
    return Move(constants={1: scaled_values(weights, by_input)})


def matmul_back(node: Node, scale: Array) -> FoldOutcome:
    """(x W) s = x (W s), or s (W x) = (s W) x where the constant comes first."""
    if constant(node.inputs[1]) is not None:
        # outputs are the columns of W
        return _scale_matrix(node, 1, scale, axis=-1)
    # outputs are the rows of W
    return _scale_matrix(node, 0, scale, axis=-2)


def matmul_forward(node: Node, scales: Scales) -> FoldOutcome:
    """(x s) W = x (s W), or W (s x) = (W s) x where the constant comes first."""
    varying, scale = next(iter(scales.items()))
    if constant(node.inputs[varying]) is not None:
        return _NO_MATRIX
    if constant(node.inputs[1]) is not None:
        # inputs are the rows of W
        return _scale_matrix(node, 1, scale, axis=-2)
    # inputs are the columns of W
    return _scale_matrix(node, 0, scale, axis=-1)


def _scale_matrix(node: Node, index: int, scale: Array, axis: int) -> FoldOutcome:
    """Scale a MatMul's constant along its rows (axis -2) or columns (axis -1)."""
    weights = constant(node.inputs[index])
    if weights is None or weights.ndim < 2 or scale.ndim < 2:
        return _NO_MATRIX
    # x [..., rows, channels] meets a matrix on its right, W x one on its left
    vector = as_vector(scale, -1 if index == 1 else -2)
    if vector is None:
        return NOT_PER_CHANNEL
    if axis == -2:
        vector = vector[:, None]
    return Move(constants={index: scaled_values(weights, vector)})


def _absorbing(node: Node, scale: Array) -> tuple[Array, Array] | str:
    """Return a node's weights and the scale as a vector along axis 1; or why neither will do."""
    weights = constant(node.inputs[1])
    if weights is None:
        return "its weights are not a constant"
    vector = as_vector(scale, 1)
    if vector is None:
        return NOT_PER_CHANNEL
    return weights, vector


def _with_bias(node: Node, weights: Array, vector: Array) -> FoldOutcome:
    """Return the move into new weights and, where there is one, the bias times a vector."""
    tensor = operand(node, 2)
    if tensor is None:
        return Move(constants={1: weights})
    bias = constant(tensor)
    if bias is None:
        return "its bias is not a constant"
    scaled = scaled_values(bias, vector)
    return Move(constants={1: weights, 2: scaled})


def _scale_axis_0(weights: Array, vector: Array) -> Array:
    """Scale weights whose axis 0 holds all channels that the vector is of."""
    ones = [1] * (weights.ndim - 1)
    return scaled_values(weights, vector.reshape(-1, *ones))


def _scale_axis_1(node: Node, weights: Array, vector: Array) -> Array:
    """Scale weights whose axis 1 holds the channels of one group, of n channels each.

    Channel g n + j of the vector meets block g of axis 0, index j of axis 1.
    """
    groups = node.attrs.get("group", 1)
    first, n, *kernel = weights.shape
    # [groups, axis 0 of a group, axis 1, ...] times [groups, 1, axis 1, ...]
    blocks = weights.reshape(groups, first // groups, n, *kernel)
    ones = [1] * len(kernel)
    full = np.broadcast_to(vector, (groups * n,))
    by_group = full.reshape(groups, 1, n, *ones)
    return scaled_values(blocks, by_group).reshape(weights.shape)
