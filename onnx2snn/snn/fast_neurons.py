"""The neurons of `snn.neurons` in as few passes over memory as onnxruntime's CPU kernels allow.

A comparison and the cast of its result read and write memory twice; a HardSigmoid as steep as float32 can tell two
neighbouring numbers apart is the same step function in one operator: with b the bound and a its neighbour below,
    [m >= b] = clip((m - a) / (b - a), 0, 1)
which is exact, since no float32 lies between a and b and the slope is a power of two for the bounds in use. Neurons of
several levels take a Floor and a Clip. All need numbers known when the graph is written: threshold 1, one initial
potential and one number of levels for all neurons, in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import FunctionProto, helper

from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import ATTRIBUTES, BY_OP, GRADED_IF, IF, SIGNED_GRADED_IF, SIGNED_IF


def function_for(
    op: str, opset: int, nodes: list[onnx.NodeProto], *, single: bool
) -> FunctionProto:
    """The function for the neurons of one operator in a model; `single`: they compute in float32."""
    plain = BY_OP[op].function(opset)
    known = {_known(node) for node in nodes}
    initial, levels = known.pop() if len(known) == 1 else (None, 0)
    if (
        not single
        or initial is None
        or (op in (IF, SIGNED_IF) and not (_exact(1 - initial) and _exact(initial)))
    ):
        return plain
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function(
        SNN_DOMAIN,
        op,
        list(plain.input),
        list(plain.output),
        _BODIES[op](initial, levels),
        opsets,
        list(ATTRIBUTES),
        doc_string=f"{plain.doc_string} Written for threshold 1, v_init {initial:g} and levels {levels}.",
    )


def _known(node: onnx.NodeProto) -> tuple[float | None, int]:
    """v_init, where it is one number and the threshold is 1, and levels."""
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    v_init = onnx.numpy_helper.to_array(given["v_init"])
    alone = given["threshold"] == 1 and np.unique(v_init).size == 1
    return (float(v_init.flat[0]) if alone else None), given["levels"]


def _exact(bound: float) -> bool:
    """Whether the slope between a bound and its neighbours is a power of two that float32 holds with room to spare."""
    return 2**-20 <= abs(bound) <= 2**20


def _neighbours(bound: float) -> tuple[float, float]:
    below = float(np.nextafter(np.float32(bound), np.float32(-np.inf)))
    return below, float(np.float32(bound)) - below


def _at_least(m: str, bound: float, output: str) -> onnx.NodeProto:
    """[m >= bound]."""
    below, gap = _neighbours(bound)
    return helper.make_node("HardSigmoid", [m], [output], alpha=1 / gap, beta=-below / gap)


def _less(m: str, bound: float, output: str) -> onnx.NodeProto:
    """[m < bound], which is 1 - [m >= bound]."""
    below, gap = _neighbours(bound)
    return helper.make_node("HardSigmoid", [m], [output], alpha=-1 / gap, beta=1 + below / gap)


def _if(initial: float, _levels: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Add", ["x", "u"], ["m"]),
        _at_least("m", 1 - initial, "spike"),
        helper.make_node("Sub", ["m", "spike"], ["u_next"]),
    ]


def _signed_if(initial: float, _levels: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Add", ["x", "u"], ["m"]),
        _at_least("m", 1 - initial, "plus"),
        _less("m", -initial, "below"),
        helper.make_node("Min", ["below", "n"], ["minus"]),  # n counts: it is 0, 1, 2 ...
        helper.make_node("Sub", ["plus", "minus"], ["spike"]),
        helper.make_node("Sub", ["m", "spike"], ["u_next"]),
        helper.make_node("Add", ["n", "spike"], ["n_next"]),
    ]


def _graded_if(initial: float, levels: int) -> list[onnx.NodeProto]:
    return [
        *_held(initial, 0, levels, "spike"),
        helper.make_node("Sub", ["m", "spike"], ["u_next"]),
    ]


def _signed_graded_if(initial: float, levels: int) -> list[onnx.NodeProto]:
    return [
        *_held(initial, -1, levels, "wanted"),
        helper.make_node("Add", ["n", "wanted"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["n_next"]),  # below 0 where -1 was wanted and n was 0
        helper.make_node("Sub", ["n_next", "n"], ["spike"]),  # whole numbers: exact
        helper.make_node("Sub", ["m", "spike"], ["u_next"]),
    ]


def _held(initial: float, least: int, most: int, output: str) -> list[onnx.NodeProto]:
    """The whole thresholds a potential holds, between `least` and `most`."""
    constants = {"initial": initial, "least": float(least), "most": float(most)}
    return [
        *(
            helper.make_node("Constant", [], [name], value_float=value)
            for name, value in constants.items()
        ),
        helper.make_node("Add", ["x", "u"], ["m"]),
        helper.make_node("Add", ["m", "initial"], ["potential"]),
        helper.make_node("Floor", ["potential"], ["whole"]),
        helper.make_node("Clip", ["whole", "least", "most"], [output]),
    ]


_BODIES: dict[str, Callable[[float, int], list[onnx.NodeProto]]] = {
    IF: _if,
    SIGNED_IF: _signed_if,
    GRADED_IF: _graded_if,
    SIGNED_GRADED_IF: _signed_graded_if,
}
