"""The neurons of `snn.neurons` in as few passes over memory as onnxruntime's CPU kernels allow.

A comparison and the cast of its result read and write memory twice; a HardSigmoid as steep as
float32 can tell two neighbouring numbers apart is the same step function in one operator: with b
the bound and a its neighbour below,

    [m >= b] = clip((m - a) / (b - a), 0, 1)

which is exact, since no float32 lies between a and b and the slope is a power of two for the bounds
in use. Neurons of several levels take a Floor and a Clip. All need numbers known when the graph is
written: threshold 1, one initial potential and one number of levels for all neurons, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import FunctionProto, NodeProto, helper, numpy_helper

from onnx2snn.protos.nodes import attribute
from onnx2snn.snn.differential import DIFFERENTIAL_IF, differential_function
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import (
    ATTRIBUTES,
    BY_OP,
    GRADED_IF,
    IF,
    SIGNED_GRADED_IF,
    SIGNED_IF,
    body_node,
)
from onnx2snn.snn.rate_if import RATE_IF, rate_if_function

Body = Callable[[float, int], list[NodeProto]]
"""Takes the initial potential and the levels."""


def function_for(op: str, opset: int, nodes: Sequence[NodeProto], *, single: bool) -> FunctionProto:
    """Return the function for the neurons of one operator in a model.

    Args:
        op: The neuron operator.
        opset: The version of the standard operators.
        nodes: All nodes of this operator in the model.
        single: Whether they compute in float32.
    """
    if op == DIFFERENTIAL_IF:
        changing = len(nodes[0].input) == 3
        return differential_function(opset, attribute(nodes[0], "digits"), changing=changing)
    if op == RATE_IF:
        return rate_if_function(opset, attribute(nodes[0], "levels"))
    plain = BY_OP[op].function(opset)
    known = {_known(node) for node in nodes}
    if not single or len(known) != 1:
        return plain
    initial, levels = known.pop()
    if initial is None:
        return plain
    compares = op in (IF, SIGNED_IF)
    if compares and not (_is_exact(1 - initial) and _is_exact(initial)):
        return plain
    special = f"Written for threshold 1, v_init {initial:g} and levels {levels}."
    return helper.make_function(
        SNN_DOMAIN,
        op,
        list(plain.input),
        list(plain.output),
        _BODIES[op](initial, levels),
        [helper.make_opsetid("", opset)],
        list(ATTRIBUTES),
        doc_string=f"{plain.doc_string} {special}",
    )


def _known(node: NodeProto) -> tuple[float | None, int]:
    """Return v_init, where it is one number and the threshold is 1, and levels."""
    levels = attribute(node, "levels")
    v_init = numpy_helper.to_array(attribute(node, "v_init"))
    if attribute(node, "threshold") != 1 or np.unique(v_init).size != 1:
        return None, levels
    return float(v_init.flat[0]), levels


def _is_exact(bound: float) -> bool:
    """Return whether the slope at a bound is a power of two that float32 holds safely."""
    return 2**-20 <= abs(bound) <= 2**20


def _neighbour(bound: float) -> tuple[float, float]:
    """Return the float32 below a bound, and the gap between the two."""
    single = np.float32(bound)
    below = float(np.nextafter(single, np.float32(-np.inf)))
    return below, float(single) - below


def _at_least(m: str, bound: float, output: str) -> NodeProto:
    """[m >= bound]."""
    # clip((m - below) / gap, 0, 1)
    below, gap = _neighbour(bound)
    alpha = 1 / gap
    beta = -below / gap
    return body_node("HardSigmoid", m, output, alpha=alpha, beta=beta)


def _less(m: str, bound: float, output: str) -> NodeProto:
    """[m < bound], which is 1 - [m >= bound]."""
    # 1 - clip((m - below) / gap, 0, 1) = clip(1 - (m - below) / gap, 0, 1)
    below, gap = _neighbour(bound)
    alpha = -1 / gap
    beta = 1 + below / gap
    return body_node("HardSigmoid", m, output, alpha=alpha, beta=beta)


def _if(initial: float, _levels: int) -> list[NodeProto]:
    return [
        body_node("Add", "x u", "m"),
        _at_least("m", 1 - initial, "spike"),
        body_node("Sub", "m spike", "u_next"),
    ]


def _signed_if(initial: float, _levels: int) -> list[NodeProto]:
    return [
        body_node("Add", "x u", "m"),
        _at_least("m", 1 - initial, "plus"),
        _less("m", -initial, "below"),
        # n counts: it is 0, 1, 2 ...
        body_node("Min", "below n", "minus"),
        body_node("Sub", "plus minus", "spike"),
        body_node("Sub", "m spike", "u_next"),
        body_node("Add", "n spike", "n_next"),
    ]


def _graded_if(initial: float, levels: int) -> list[NodeProto]:
    return [
        *_held_within(initial, 0, levels, "spike"),
        body_node("Sub", "m spike", "u_next"),
    ]


def _signed_graded_if(initial: float, levels: int) -> list[NodeProto]:
    return [
        *_held_within(initial, -1, levels, "wanted"),
        body_node("Add", "n wanted", "sum"),
        # the sum is below 0 where -1 was wanted and n was 0
        body_node("Relu", "sum", "n_next"),
        # whole numbers: exact
        body_node("Sub", "n_next n", "spike"),
        body_node("Sub", "m spike", "u_next"),
    ]


def _held_within(initial: float, least: int, most: int, output: str) -> list[NodeProto]:
    """clip(floor(m + v_init), least, most): the whole thresholds that a potential holds."""
    return [
        body_node("Constant", "", "initial", value_float=initial),
        body_node("Constant", "", "least", value_float=float(least)),
        body_node("Constant", "", "most", value_float=float(most)),
        body_node("Add", "x u", "m"),
        body_node("Add", "m initial", "potential"),
        body_node("Floor", "potential", "whole"),
        body_node("Clip", "whole least most", output),
    ]


_BODIES: dict[str, Body] = {
    IF: _if,
    SIGNED_IF: _signed_if,
    GRADED_IF: _graded_if,
    SIGNED_GRADED_IF: _signed_graded_if,
}
