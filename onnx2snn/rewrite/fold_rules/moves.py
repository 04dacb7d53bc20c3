"""What a rule of folding takes and says: scales, moves, and what the families of rules share.

A scale is a float64 array of its tensor's rank, of size 1 along every axis it does not vary over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.types import Node

Scales = dict[int, Array]


@dataclass(frozen=True)
class Move:
    """`scales`: what the node's inputs (backward) or outputs (forward) are multiplied with now, by index;
    `constants`: new values of constant inputs, by index."""

    scales: Scales = field(default_factory=dict)
    constants: dict[int, Array] = field(default_factory=dict)


FoldOutcome = Move | str
BackwardRule = Callable[[Node, Array], FoldOutcome]
ForwardRule = Callable[[Node, Scales], FoldOutcome]


def compress(scale: Array) -> Array:
    """The same scale with size 1 along every axis it does not vary over."""
    for axis in range(scale.ndim):
        first = scale.take([0], axis)
        if scale.shape[axis] > 1 and np.array_equal(np.broadcast_to(first, scale.shape), scale):
            scale = first
    return scale


def as_vector(scale: Array, axis: int) -> Array | None:
    """The scale as a vector along one axis, or None where it varies along another."""
    axis %= scale.ndim
    if any(size > 1 for other, size in enumerate(scale.shape) if other != axis):
        return None
    return scale.reshape(-1)


def per_position(scale: Array) -> bool:
    return any(size > 1 for size in scale.shape[2:])


NOT_PER_CHANNEL = "the scale varies within a channel"
