"""Rules of folding for activations that positive factors pass: s f(x) = f(s x) where s > 0.

Cases: Relu, LeakyRelu, PRelu, Max and Min with a constant, and Clip by scalars where the factor is
one number. They serve differential coding, where activations stay as they are; in rate coding those
between neurons are neurons.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import keeps_shape
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.rewrite.fold_rules.moves import BackwardRule, FoldOutcome, Move, to_first

_NOT_POSITIVE = "a factor that is not positive passes no activation"


def homogeneous_back(_node: Node, scale: Array) -> FoldOutcome:
    """s f(x) = f(s x), f linear on each side of 0."""
    if np.any(scale <= 0):
        return _NOT_POSITIVE
    return to_first(scale)


def clip_back(node: Node, scale: Array) -> FoldOutcome:
    """s clip(x, a, b) = clip(s x, s a, s b). Refuses a factor per channel: bounds are scalars."""
    if np.any(scale <= 0):
        return _NOT_POSITIVE
    factor = scale.ravel()
    if np.any(factor != factor[0]):
        return "the bounds of a Clip are the same for all channels"
    move = Move(scales={0: scale})
    for index, tensor in enumerate(node.inputs[1:], 1):
        if tensor.is_empty():
            continue
        bound = constant(tensor)
        if bound is None:
            return "its bounds are computed"
        move.constants[index] = (bound.astype(np.float64) * factor[0]).astype(bound.dtype)
    return move


def extremum_back(node: Node, scale: Array) -> FoldOutcome:
    """s max(x, a) = max(s x, s a), a constant; so does min."""
    if np.any(scale <= 0):
        return _NOT_POSITIVE
    if len(node.inputs) != 2:
        return "it compares more than two"
    bound = constant(node.inputs[1])
    if bound is None or not keeps_shape(node.inputs[0], bound):
        return "its bound is no constant of its channels"
    scaled = bound.astype(np.float64) * scale
    return Move(scales={0: scale}, constants={1: scaled.astype(bound.dtype)})


POSITIVE: dict[str, BackwardRule] = {
    "Relu": homogeneous_back,
    "LeakyRelu": homogeneous_back,
    "PRelu": homogeneous_back,
    "Clip": clip_back,
    "Max": extremum_back,
    "Min": extremum_back,
}
"""Backward rules beside those of `fold_rules.tables`."""
