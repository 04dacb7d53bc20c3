"""Products of weighted operators: how many there are, and of how many an element is a factor.

A product with a constant weight is a synapse where a spike arrives, and a multiply-accumulate where
a number does.
"""

from __future__ import annotations

import math

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import RECURRENT, WEIGHTED
from onnx2snn.score.node_runs import NodeRun
from onnx2snn.score.taps import FIRST, axis_taps

WITH_PRODUCTS = (*WEIGHTED, "Einsum")
"""Operators that multiply their input with constants and add up, and so have synapses."""

NUMBERS_ONLY = (*RECURRENT, "DeformConv")
"""Operators that multiply with constants, too, but take numbers only: they have no synapses."""


def fan_out(run: NodeRun) -> Array:
    """Return how many products each element of the input is a factor of; exact at borders."""
    if run.node.op_type not in ("Conv", "ConvTranspose"):
        # every element is a factor as often
        each = operations(run) / math.prod(run.in_shape)
        return np.full(run.in_shape, each)
    # An element is multiplied once by each filter of its group, for each window that reads it:
    # fan-out = (output channels / groups) x product over axes of (taps that read the place)
    channels = run.out_shape[1]
    filters = channels // run.attribute("group", 1)
    found = np.full(run.in_shape, float(filters))
    kernel = run.weights().shape[FIRST:]
    for axis, taps in enumerate(axis_taps(run, kernel), FIRST):
        along_axis = [1] * found.ndim
        along_axis[axis] = -1
        found *= taps.reached().reshape(along_axis)
    return found


def operations(run: NodeRun) -> float:
    """Return the multiply-accumulates of a weighted operator.

    Those with a border's zeros are included, as usual.
    """
    op = run.node.op_type
    if op in RECURRENT:
        return _recurrent_operations(run)
    if op == "Einsum":
        # one for each value that all its indices together can take
        sizes = _einsum_sizes(run)
        return float(math.prod(sizes.values()))
    if op in ("MatMul", "Gemm"):
        # one for each element of the output and of the axis that is summed over
        made = math.prod(run.out_shape)
        return float(made * _summed(run))
    # Conv: each output element sums over one filter [C / groups, ...kernel]. ConvTranspose: each
    # input element is spread by one, [M / groups, ...kernel].
    elements = run.in_shape if op == "ConvTranspose" else run.out_shape
    one_filter = run.weights().shape[1:]
    count = math.prod(elements)
    return float(count * math.prod(one_filter))


def _recurrent_operations(run: NodeRun) -> float:
    """Return the multiply-accumulates of a recurrent layer over its whole sequence."""
    sequence = run.values[run.node.input[0]]
    recurrence = run.values[run.node.input[2]]
    # for each place of [sequence, batch, size]: W [D, G x H, size] and R [D, G x H, H] once
    steps = math.prod(sequence.shape[:2])
    return float(steps * (run.weights().size + recurrence.size))


def _summed(run: NodeRun) -> int:
    """Return the size of the axis that a MatMul or Gemm sums over."""
    shape = run.in_shape
    second = run.index > 0
    if run.node.op_type == "MatMul":
        # [..., M, K] is summed over the last axis, [..., K, N] over the last but one, [K] over K
        is_matrix = len(shape) > 1
        return shape[-2] if second and is_matrix else shape[-1]
    name = "transB" if second else "transA"
    transposed = bool(run.attribute(name, 0))
    # A [M, K] is summed over axis 1, B [K, N] over axis 0; transposed it is the other one
    axis = 1 if transposed == second else 0
    return shape[axis]


def _einsum_sizes(run: NodeRun) -> dict[str, int]:
    """Return the size of each index of an Einsum."""
    equation = run.attribute("equation").decode()
    equation = equation.replace(" ", "")
    inputs, _, _ = equation.partition("->")
    sizes: dict[str, int] = {}
    for term, name in zip(inputs.split(","), run.node.input, strict=True):
        shape = run.values[name].shape
        labels = _indices_of(term, len(shape))
        for label, size in zip(labels, shape, strict=True):
            # an axis of size 1 is broadcast
            before = sizes.get(label, 1)
            sizes[label] = max(size, before)
    return sizes


def _indices_of(term: str, rank: int) -> list[str]:
    """Return the index of each axis of an Einsum's term, such as n, 2, 1, c for n...c of rank 4.

    The places of an ellipsis are numbered from the right, for that is how they are aligned.
    """
    before, dots, after = term.partition("...")
    if not dots:
        return list(before)
    hidden = rank - len(before) - len(after)
    numbers = range(hidden, 0, -1)
    return [*before, *map(str, numbers), *after]
