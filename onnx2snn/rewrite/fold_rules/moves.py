"""Types and helpers shared by the folding rules.

A rule receives the scale of an output (backward) or the scales of inputs (forward) and returns a
`Move`, or the reason why the scale has to stay. A scale is a float64 array of its tensor's rank, of
size 1 along every axis it does not vary over. Rules are pure: they change neither the node nor its
constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node, Tensor

Scales = dict[int, Array]
"""Scales by the index of an input or output."""


@dataclass(frozen=True)
class Move:
    """Where a scale goes.

    `scales` are the factors that the node's inputs (backward) or outputs (forward) are multiplied
    with now, by index; `constants` are the new values of constant inputs, by index.
    """

    scales: Scales = field(default_factory=dict)
    constants: dict[int, Array] = field(default_factory=dict)


FoldOutcome = Move | str
"""A move, or the reason why the scale has to stay."""

BackwardRule = Callable[[Node, Array], FoldOutcome]
"""Takes a node and the scale of its first output."""

ForwardRule = Callable[[Node, Scales], FoldOutcome]
"""Takes a node and the scales of those of its inputs that have one."""

NOT_PER_CHANNEL = "the scale varies within a channel"
UNKNOWN_SIZES = "it regroups axes whose sizes are not static"


def to_first(scale: Array) -> Move:
    """Return the move of a scale to the first input or output."""
    return Move(scales={0: scale})


def operand(node: Node, index: int) -> Tensor | None:
    """Return an input, or None where it is left out."""
    if index >= len(node.inputs) or node.inputs[index].is_empty():
        return None
    return node.inputs[index]


def integers(tensor: Tensor | None) -> list[int] | None:
    """Return the values of a constant of whole numbers, or None where it is no constant."""
    values = None if tensor is None else constant(tensor)
    if values is None:
        return None
    return [int(value) for value in values.ravel()]


def compress(scale: Array) -> Array:
    """Return the same scale with size 1 along every axis it does not vary over."""
    for axis in range(scale.ndim):
        first = scale.take([0], axis)
        everywhere = np.broadcast_to(first, scale.shape)
        if scale.shape[axis] > 1 and np.array_equal(everywhere, scale):
            scale = first
    return scale


def as_vector(scale: Array, axis: int) -> Array | None:
    """Return the scale as a vector along one axis, or None where it varies along another."""
    axis %= scale.ndim
    for other, size in enumerate(scale.shape):
        if other != axis and size > 1:
            return None
    return scale.reshape(-1)


def per_position(scale: Array) -> bool:
    """Return whether a scale varies along an axis behind batch and channels."""
    return any(size > 1 for size in scale.shape[2:])
