"""Connections of operators that are linear in an input: which output elements an element reaches.

A `Connectivity` holds the connections of one input with every weight taken as 1: `pull` carries
counts from the output back to the input, `push` carries marks from the input to the output. Shapes
are those of one run.

Cases: operators that move elements, that work elementwise, that sum over whole axes, that pool,
that resize, and cumulative sums (`CONNECTIVITY`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from onnx import NodeProto

from onnx2snn.aliases import Array
from onnx2snn.score.interpolation import links
from onnx2snn.score.node_runs import NodeRun, Shape, run_alone
from onnx2snn.score.taps import FIRST, axis_taps

Carry = Callable[[Array], Array]


class AxisConnections(Protocol):
    """Connections along one axis, which is the first of the arrays they carry."""

    def pull(self, counts: Array) -> Array:
        """Carry counts from the output's places to the input's."""

    def push(self, values: Array) -> Array:
        """Carry values from the input's places to the output's."""


@dataclass(frozen=True)
class Connectivity:
    """Connections of one input: `pull` counts [out] -> [in], `push` marks [in] -> [out]."""

    pull: Carry
    push: Carry


def moved(run: NodeRun) -> Connectivity:
    """Connect operators that only move elements."""
    return _placed(run.in_shape, _sources(run))


def broadcast(run: NodeRun) -> Connectivity:
    """Connect elementwise operators."""
    if run.in_shape == run.out_shape:
        return Connectivity(lambda counts: counts, lambda marks: marks)
    numbers = np.arange(math.prod(run.in_shape))
    numbers = numbers.reshape(run.in_shape)
    sources = np.broadcast_to(numbers, run.out_shape)
    return _placed(run.in_shape, sources)


def reduced(run: NodeRun) -> Connectivity:
    """Connect means and sums over whole axes."""
    axes = _reduced_axes(run)
    kept = list(run.in_shape)
    for axis in axes:
        kept[axis] = 1

    def pull(counts: Array) -> Array:
        with_axes = counts.reshape(kept)
        return np.broadcast_to(with_axes, run.in_shape)

    def push(marks: Array) -> Array:
        joined = np.any(marks, axis=axes)
        return np.reshape(joined, run.out_shape)

    return Connectivity(pull, push)


def pooled(run: NodeRun) -> Connectivity:
    """Connect average pools: each axis has its own connections."""
    kernel = run.attribute("kernel_shape")
    return _separable(FIRST, axis_taps(run, kernel))


def resized(run: NodeRun) -> Connectivity:
    """Connect Resize and Upsample; where they interpolate, each axis is found by probes."""
    if run.attribute("mode", b"nearest") == b"nearest":
        return moved(run)
    axes = [links(run, axis) for axis, _ in enumerate(run.in_shape)]
    return _separable(0, axes)


def cumulated(run: NodeRun) -> Connectivity:
    """Connect cumulative sums.

    An element reaches those after it (or before), itself among them or not.
    """
    given = run.input(1)
    assert given is not None
    axis = int(given.item())
    reverse = bool(run.attribute("reverse", 0))
    exclusive = bool(run.attribute("exclusive", 0))

    def summed(values: Array, backwards: bool) -> Array:
        turned = np.flip(values, axis) if backwards else values
        sums = np.cumsum(turned, axis)
        if exclusive:
            sums = sums - turned
        return np.flip(sums, axis) if backwards else sums

    # element i reaches j >= i, so that its count is a sum over j >= i: the other way round
    def pull(counts: Array) -> Array:
        return summed(counts, not reverse)

    def push(marks: Array) -> Array:
        return summed(marks.astype(np.int64), reverse) > 0

    return Connectivity(pull, push)


SUMS = ("Add", "Sub", "Sum", "Mean")
"""Operators that add currents, or take them off, which a membrane does anyway."""

IN_PLACE = ("Identity", "Cast", "CastLike", "Dropout")
"""Operators that leave each element where it is."""

SELECTING = ("Slice", "Split", "Gather", "GatherElements", "GatherND", "Compress", "Where")
RESHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth")
ORDERING = ("Transpose", "ReverseSequence", "Trilu", "ScatterElements", "ScatterND")
ENLARGING = ("Concat", "Pad", "CenterCropPad", "Expand", "Tile")

MOVING = (*IN_PLACE, *SELECTING, *RESHAPING, *ORDERING, *ENLARGING)
"""Operators that only move elements."""

SCALING = ("Mul", "Div", "Neg", "BatchNormalization")
"""Operators that multiply each element with a constant."""

REDUCING = ("GlobalAveragePool", "ReduceMean", "ReduceSum")
"""Means and sums over whole axes."""

Rule = Callable[[NodeRun], Connectivity]
"""How the connections of an operator are found."""

CONNECTIVITY: dict[str, Rule] = {
    **dict.fromkeys(MOVING, moved),
    **dict.fromkeys(SUMS, broadcast),
    **dict.fromkeys(SCALING, broadcast),
    **dict.fromkeys(REDUCING, reduced),
    "AveragePool": pooled,
    "CumSum": cumulated,
    "Resize": resized,
    "Upsample": resized,
}
"""Operators that are linear in their data and have no synapses of their own."""

_DATA: dict[str, tuple[int, ...]] = {
    "Where": (1, 2),
    "ScatterElements": (0, 2),
    "ScatterND": (0, 2),
    "Mul": (0, 1),
}
"""Inputs in which a node is linear, where it is not the first one alone."""


def data_inputs(node: NodeProto) -> tuple[int, ...]:
    """Return the inputs in which a node of `CONNECTIVITY` is linear.

    The others say where elements go, or scale them.
    """
    if node.op_type in (*SUMS, "Concat"):
        return tuple(range(len(node.input)))
    return _DATA.get(node.op_type, (0,))


def _placed(shape: Shape, sources: Array) -> Connectivity:
    """Connect each output element with one input element.

    Args:
        shape: The input's shape.
        sources: The number of the input element, -1 for none: [out].
    """
    flat = sources.ravel()
    there = flat >= 0
    size = math.prod(shape)

    def pull(counts: Array) -> Array:
        # an input element's count is the sum over the output elements made of it
        weights = counts.ravel()[there]
        summed = np.bincount(flat[there], weights, size)
        return summed.reshape(shape)

    def push(marks: Array) -> Array:
        found = marks.ravel()[flat] & there
        return found.reshape(sources.shape)

    return Connectivity(pull, push)


def _separable(first: int, axes: Sequence[AxisConnections | None]) -> Connectivity:
    """Connect axis by axis; two elements connect if they do along every axis.

    Args:
        first: The axis of the first connections.
        axes: The connections of this axis and those after it; None where places keep to themselves.
    """
    there = [(axis, found) for axis, found in enumerate(axes, first) if found is not None]

    def pull(counts: Array) -> Array:
        for axis, along in there:
            counts = _along(axis, along.pull, counts)
        return counts

    def push(marks: Array) -> Array:
        counts = marks
        for axis, along in there:
            # marks again after each axis: sums of sums could grow without need
            counts = _along(axis, along.push, counts) > 0
        return counts

    return Connectivity(pull, push)


def _along(axis: int, carry: Carry, values: Array) -> Array:
    """Carry values along one axis."""
    carried = carry(np.moveaxis(values, axis, 0))
    return np.moveaxis(carried, 0, axis)


def _reduced_axes(run: NodeRun) -> tuple[int, ...]:
    """Return the axes that a mean or sum goes over."""
    rank = len(run.in_shape)
    if run.node.op_type.startswith("Global"):
        return tuple(range(FIRST, rank))
    axes = run.attribute("axes")
    if axes is None:
        axes = run.input(1)
    if axes is not None and len(axes):
        return tuple(int(axis) % rank for axis in axes)
    if run.attribute("noop_with_empty_axes", 0):
        return ()
    return tuple(range(rank))


def _sources(run: NodeRun) -> Array:
    """Return the number of the input element that each output element is, -1 for none."""
    op = run.node.op_type
    size = math.prod(run.in_shape)
    # Numbers beyond 2^24 are exact in float64 alone, which resizing does not take.
    resizing = op in ("Resize", "Upsample")
    small = size < 2**24
    kind = np.dtype(np.float32 if resizing or small else np.float64)
    # The node is run on the numbers 1, 2, ... of its elements; 0 stands for all else.
    numbers = np.arange(1, size + 1, dtype=kind)
    numbers = numbers.reshape(run.in_shape)
    whole = np.int32 if size < 2**31 - 1 else np.int64
    if op in IN_PLACE:
        return numbers.astype(whole) - 1
    data = data_inputs(run.node)
    feeds: dict[int, Array] = {}
    for index, name in enumerate(run.node.input):
        if not name:
            continue
        value = run.values[name]
        is_padding = op == "Pad" and index == 2
        if index in data or is_padding:
            value = np.zeros_like(value, kind)
        feeds[index] = value
    feeds[run.index] = numbers
    moved_numbers = run_alone(run, feeds)[run.output]
    return moved_numbers.astype(whole) - 1
