"""The neurons of `_neuron` in as few passes over memory as onnxruntime's CPU kernels allow.

A comparison and the cast of its result read and write memory twice; a HardSigmoid as steep as float32 can tell two
neighbouring numbers apart is the same step function in one operator: with b the bound and a its neighbour below,
    [m >= b] = clip((m - a) / (b - a), 0, 1)
which is exact, since no float32 lies between a and b and the slope is a power of two for the bounds in use. It needs
numbers known when the graph is written: threshold 1 and one initial potential for all neurons, in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import FunctionProto, helper

from ._graph import SNN_DOMAIN
from ._neuron import ATTRIBUTES, BY_OP, IF, SIGNED_IF


def function_for(op: str, opset: int, nodes: list[onnx.NodeProto], *, single: bool) -> FunctionProto:
    """The function for the neurons of one operator in a model; `single`: they compute in float32."""
    values = {_only_value(node) for node in nodes}
    initial = values.pop() if len(values) == 1 else None
    if op not in _BODIES or not single or initial is None or not (_exact(1 - initial) and _exact(initial)):
        return BY_OP[op].function(opset)
    plain = BY_OP[op].function(opset)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function(
        SNN_DOMAIN,
        op,
        list(plain.input),
        list(plain.output),
        _BODIES[op](initial),
        opsets,
        list(ATTRIBUTES),
        doc_string=f"{plain.doc_string} Written for threshold 1 and v_init {initial:g}.",
    )


def _only_value(node: onnx.NodeProto) -> float | None:
    """v_init, where it is one number and the threshold is 1."""
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    v_init = onnx.numpy_helper.to_array(given["v_init"])
    return float(v_init.flat[0]) if given["threshold"] == 1 and np.unique(v_init).size == 1 else None


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


def _if(initial: float) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Add", ["x", "u"], ["m"]),
        _at_least("m", 1 - initial, "spike"),
        helper.make_node("Sub", ["m", "spike"], ["u_next"]),
    ]


def _signed_if(initial: float) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Add", ["x", "u"], ["m"]),
        _at_least("m", 1 - initial, "plus"),
        _less("m", -initial, "below"),
        helper.make_node("Min", ["below", "n"], ["minus"]),  # n counts: it is 0, 1, 2 ...
        helper.make_node("Sub", ["plus", "minus"], ["spike"]),
        helper.make_node("Sub", ["m", "spike"], ["u_next"]),
        helper.make_node("Add", ["n", "spike"], ["n_next"]),
    ]


_BODIES: dict[str, Callable[[float], list[onnx.NodeProto]]] = {IF: _if, SIGNED_IF: _signed_if}
