"""The one definition of each neuron: its ONNX function, its states and its attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, helper

from onnx2snn.aliases import Array
from onnx2snn.snn.format import SNN_DOMAIN, NeuronKind, StateKind

IF: Final = "IF"
SIGNED_IF: Final = "SignedIF"
GRADED_IF: Final = "GradedIF"
SIGNED_GRADED_IF: Final = "SignedGradedIF"
INITIAL_POTENTIAL = 0.5
"""v(0) in threshold units (paper, section 5: half the threshold)."""

ATTRIBUTES = ("threshold", "v_init", "reset", "signed", "levels", "scale")


def if_function(opset: int) -> FunctionProto:
    """Integrate-and-fire neuron with soft reset (paper, eq. 2-4), one time-step: (x, u) -> (spike, u_next).

    x: input current and u: membrane potential less the initial potential, both in threshold units, any shapes that
    broadcast; spike: 0 or 1. With threshold θ and initial potential v_init:
        m = x + u;  spike = [m >= θ - v_init];  u_next = m - θ spike.
    Attributes: `threshold` (float) and `v_init` (tensor, scalar or per neuron) are computed with; `reset`, `signed`,
    `levels` and `scale` (per-channel θ in ANN units, turning a spike into the ANN's activation) say what is true of the
    neuron to whoever substitutes the function.
    """
    body = [
        *_binary(),
        helper.make_node("CastLike", ["fires", "x"], ["spike"]),
        *_soft_reset(),
    ]
    about = (
        "Integrate-and-fire neuron, reset by subtraction; u is the membrane potential less v_init."
    )
    return _function(IF, ["x", "u"], ["spike", "u_next"], body, opset, about)


def signed_if_function(opset: int) -> FunctionProto:
    """`if_function` that also takes spikes back, one time-step: (x, u, n) -> (spike, u_next, n_next).

    n: spikes sent less spikes taken back so far; spike: -1, 0 or 1. A neuron whose potential has fallen below 0 and
    that has n > 0 sends -1 and adds θ back, which repairs spikes fired too early; the rest is as in `if_function`.
        m = x + u;  spike = [m >= θ - v_init] - [m < -v_init and n > 0];  u_next = m - θ spike;  n_next = n + spike.
    """
    body = [
        *_binary(),
        helper.make_node("Neg", ["initial_x"], ["floor"]),
        helper.make_node("Less", ["m", "floor"], ["below"]),
        helper.make_node("CastLike", ["n", "fires"], ["sent_any"]),  # n is never negative
        helper.make_node("And", ["below", "sent_any"], ["retracts"]),
        helper.make_node("CastLike", ["fires", "x"], ["plus"]),
        helper.make_node("CastLike", ["retracts", "x"], ["minus"]),
        helper.make_node("Sub", ["plus", "minus"], ["spike"]),
        *_soft_reset(),
        helper.make_node("Add", ["n", "spike"], ["n_next"]),
    ]
    about = "Integrate-and-fire neuron that takes back spikes it fired too early; n counts what it has sent."
    return _function(SIGNED_IF, ["x", "u", "n"], ["spike", "u_next", "n_next"], body, opset, about)


def graded_if_function(opset: int) -> FunctionProto:
    """`if_function` with spikes of up to `levels` thresholds' height (burst or multi-threshold spikes), one time-step.

    As many thresholds as the potential holds leave at once: m = x + u;  spike = clip(floor((m + v_init) / θ), 0,
    levels);  u_next = m - θ spike. With one level it is `if_function`.
    """
    body = [
        *_graded(),
        helper.make_node("Relu", ["capped"], ["spike"]),
        *_soft_reset(),
    ]
    about = "Integrate-and-fire neuron that sends up to `levels` thresholds at once, reset by subtraction."
    return _function(GRADED_IF, ["x", "u"], ["spike", "u_next"], body, opset, about)


def signed_graded_if_function(opset: int) -> FunctionProto:
    """`graded_if_function` that also takes spikes back, one time-step: (x, u, n) -> (spike, u_next, n_next).

    spike: -1, 0 ... levels; n: what was sent less what was taken back, in thresholds; -1 needs n > 0.
    """
    body = [
        *_graded(),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("CastLike", ["one", "x"], ["one_x"]),
        helper.make_node("Min", ["n", "one_x"], ["may_return"]),  # n is never negative
        helper.make_node("Neg", ["may_return"], ["lowest"]),
        helper.make_node("Max", ["capped", "lowest"], ["spike"]),
        *_soft_reset(),
        helper.make_node("Add", ["n", "spike"], ["n_next"]),
    ]
    about = "Integrate-and-fire neuron that sends up to `levels` thresholds at once and takes back what was too early."
    return _function(
        SIGNED_GRADED_IF, ["x", "u", "n"], ["spike", "u_next", "n_next"], body, opset, about
    )


def _graded() -> list[onnx.NodeProto]:
    return [
        *_parameters(),
        helper.make_node("Add", ["x", "u"], ["m"]),
        helper.make_node("Add", ["m", "initial_x"], ["potential"]),
        helper.make_node("Div", ["potential", "threshold_x"], ["held"]),
        helper.make_node("Floor", ["held"], ["whole"]),
        _attribute_value("most", "levels", AttributeProto.INT),
        helper.make_node("CastLike", ["most", "x"], ["most_x"]),
        helper.make_node("Min", ["whole", "most_x"], ["capped"]),
    ]


def _parameters() -> list[onnx.NodeProto]:
    return [
        _attribute_value("theta", "threshold", AttributeProto.FLOAT),
        helper.make_node("CastLike", ["theta", "x"], ["threshold_x"]),
        _attribute_value("initial", "v_init", AttributeProto.TENSOR),
        helper.make_node("CastLike", ["initial", "x"], ["initial_x"]),
    ]


def _binary() -> list[onnx.NodeProto]:
    return [
        *_parameters(),
        helper.make_node("Add", ["x", "u"], ["m"]),
        helper.make_node("Sub", ["threshold_x", "initial_x"], ["level"]),
        helper.make_node("GreaterOrEqual", ["m", "level"], ["fires"]),
    ]


def _soft_reset() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", ["spike", "threshold_x"], ["sent"]),
        helper.make_node("Sub", ["m", "sent"], ["u_next"]),
    ]


def _function(
    name: str,
    inputs: list[str],
    outputs: list[str],
    body: list[onnx.NodeProto],
    opset: int,
    about: str,
) -> FunctionProto:
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function(
        SNN_DOMAIN, name, inputs, outputs, body, opsets, list(ATTRIBUTES), doc_string=about
    )


def _attribute_value(
    output: str, attribute: str, kind: AttributeProto.AttributeType
) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], [output])
    field = _CONSTANT_FIELD[kind]
    node.attribute.append(AttributeProto(name=field, type=kind, ref_attr_name=attribute))
    return node


_CONSTANT_FIELD = {
    AttributeProto.TENSOR: "value",
    AttributeProto.FLOAT: "value_float",
    AttributeProto.INT: "value_int",
}


@dataclass(frozen=True)
class Neuron:
    """A kind of neuron: its operator, its function, and its states beside each other as (label, kind)."""

    op: NeuronKind
    function: Callable[[int], FunctionProto]
    states: tuple[tuple[str, StateKind], ...]
    signed: int


_POTENTIAL: tuple[str, StateKind] = ("potential", "membrane")
_SENT: tuple[str, StateKind] = ("sent", "count")

NEURONS = {
    ("if", False): Neuron(IF, if_function, (_POTENTIAL,), signed=0),
    ("signed", False): Neuron(SIGNED_IF, signed_if_function, (_POTENTIAL, _SENT), signed=1),
    ("if", True): Neuron(GRADED_IF, graded_if_function, (_POTENTIAL,), signed=0),
    ("signed", True): Neuron(
        SIGNED_GRADED_IF, signed_graded_if_function, (_POTENTIAL, _SENT), signed=1
    ),
}
"""Kinds of neuron by the name `--neuron` knows them by, and whether a spike may be higher than one threshold."""

BY_OP: dict[str, Neuron] = {neuron.op: neuron for neuron in NEURONS.values()}


def neuron_for(kind: str, levels: int) -> Neuron:
    """The neuron of a kind ("if" or "signed") with spikes of up to `levels` thresholds' height."""
    return NEURONS[kind, levels > 1]


def attributes(
    neuron: Neuron, levels: int, v_init: Array | float, scale: Array | float
) -> dict[str, Any]:
    """A neuron node's attributes, all of `ATTRIBUTES`; the threshold is 1, since it is folded into the weights."""
    return {
        "threshold": 1.0,
        "v_init": onnx.numpy_helper.from_array(np.atleast_1d(np.asarray(v_init, np.float32))),
        "reset": "subtract",
        "signed": neuron.signed,
        "levels": levels,
        "scale": onnx.numpy_helper.from_array(np.atleast_1d(np.asarray(scale, np.float32))),
    }


def neuron_nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the neuron nodes of an emitted model; input 1 is the membrane potential."""
    return [
        node for node in proto.graph.node if node.domain == SNN_DOMAIN and node.op_type in BY_OP
    ]
