"""Rules of folding for operators that work element by element: products, sums, choices, casts."""

from __future__ import annotations

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import keeps_shape, scaled_values
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.rewrite.fold_rules.moves import FoldOutcome, Move, Scales, to_first

_NO_CONSTANT = "the factor is not a constant"


def mul_back(node: Node, scale: Array) -> FoldOutcome:
    """s (x c) = x (s c). Refuses a factor that is computed, or that x is broadcast along."""
    factor = constant(node.inputs[1])
    if factor is None:
        return _NO_CONSTANT
    if not keeps_shape(node.inputs[0], factor):
        return "the factor is broadcast to more channels"
    # in float64, since neighbouring factors merge before they are rounded
    product = factor.astype(np.float64) * scale
    return Move(constants={1: product})


def mul_forward(node: Node, scales: Scales) -> FoldOutcome:
    """(s x) c = x (s c), refused as in `mul_back`."""
    if 0 not in scales:
        return _NO_CONSTANT
    return mul_back(node, scales[0])


def add_back(node: Node, scale: Array) -> FoldOutcome:
    """s (x + y) = s x + s y, for any number of terms, their difference or their mean.

    A constant term takes s into its values. Refuses a term that is broadcast along an axis s varies
    along.
    """
    return _terms_back(node, scale, 0)


def add_forward(node: Node, scales: Scales) -> FoldOutcome:
    """s x + s y = s (x + y), and s x + c = s (x + c / s).

    Refuses terms of different scales, and a constant where s holds zeros.
    """
    return _terms_forward(node, scales, 0)


def where_back(node: Node, scale: Array) -> FoldOutcome:
    """s where(c, x, y) = where(c, s x, s y), refused as in `add_back`."""
    return _terms_back(node, scale, 1)


def where_forward(node: Node, scales: Scales) -> FoldOutcome:
    """where(c, s x, s y) = s where(c, x, y), refused as in `add_forward`."""
    return _terms_forward(node, scales, 1)


def _terms_back(node: Node, scale: Array, first: int) -> FoldOutcome:
    """Scale all terms; those are the inputs from `first` on."""
    move = Move()
    for index in range(first, len(node.inputs)):
        tensor = node.inputs[index]
        value = constant(tensor)
        if value is not None:
            # s (x + c) = s x + (s c)
            move.constants[index] = scaled_values(value, scale)
        elif keeps_shape(tensor, scale):
            move.scales[index] = scale
        else:
            return "a term is broadcast along the scaled axis"
    return move


def _terms_forward(node: Node, scales: Scales, first: int) -> FoldOutcome:
    """Take the one scale of all terms out; those are the inputs from `first` on."""
    scale = next(iter(scales.values()))
    move = to_first(scale)
    for index in range(first, len(node.inputs)):
        value = constant(node.inputs[index])
        if value is not None:
            if np.any(scale == 0) or value.ndim > scale.ndim:
                return "the scale holds zeros"
            # s x + c = s (x + c / s)
            move.constants[index] = scaled_values(value, 1.0 / scale)
            continue
        other = scales.get(index)
        if other is None or not np.array_equal(other, scale):
            return "its terms have different scales (a shortcut past a neuron layer)"
    return move


def anywhere(_node: Node, scale: Array) -> FoldOutcome:
    """s f(x) = f(s x), where f works on each element by itself and is linear over time."""
    return to_first(scale)


def float_cast(node: Node, scale: Array) -> FoldOutcome:
    """s cast(x) = cast(s x), from one floating-point type to another. Refuses whole numbers."""
    before = node.inputs[0].dtype
    after = onnx.helper.tensor_dtype_to_np_dtype(node.attrs["to"])
    for kind in (before, after):
        if kind is None or not np.issubdtype(kind, np.floating):
            return "it casts from or to whole numbers"
    return to_first(scale)
