"""The one definition of each neuron: its ONNX function and its NumPy twin."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, helper

from ._graph import SNN_DOMAIN, Array

IF = "IF"
INITIAL_POTENTIAL = 0.5
"""v(0) in threshold units (paper, section 5: half the threshold)."""

IF_ATTRIBUTES = ("threshold", "v_init", "reset", "signed", "levels", "scale")


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
        _attribute_value("theta", "threshold", AttributeProto.FLOAT),
        helper.make_node("CastLike", ["theta", "x"], ["threshold_x"]),
        _attribute_value("initial", "v_init", AttributeProto.TENSOR),
        helper.make_node("CastLike", ["initial", "x"], ["initial_x"]),
        helper.make_node("Sub", ["threshold_x", "initial_x"], ["level"]),
        helper.make_node("Add", ["x", "u"], ["m"]),
        helper.make_node("GreaterOrEqual", ["m", "level"], ["fires"]),
        helper.make_node("CastLike", ["fires", "x"], ["spike"]),
        helper.make_node("Mul", ["spike", "threshold_x"], ["sent"]),
        helper.make_node("Sub", ["m", "sent"], ["u_next"]),
    ]
    return helper.make_function(
        SNN_DOMAIN,
        IF,
        ["x", "u"],
        ["spike", "u_next"],
        body,
        [helper.make_opsetid("", opset)],
        list(IF_ATTRIBUTES),
        doc_string="Integrate-and-fire neuron, reset by subtraction; u is the membrane potential less v_init.",
    )


def _attribute_value(output: str, attribute: str, kind: AttributeProto.AttributeType) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], [output])
    field = "value" if kind == AttributeProto.TENSOR else "value_float"
    node.attribute.append(AttributeProto(name=field, type=kind, ref_attr_name=attribute))
    return node


def if_step(
    x: Array, u: Array, threshold: float = 1.0, v_init: Array | float = INITIAL_POTENTIAL
) -> tuple[Array, Array]:
    """The NumPy twin of `if_function`: (x, u) -> (spike, u_next), same units and broadcasting."""
    m = x + u
    theta = np.asarray(threshold, m.dtype)
    spike = (m >= theta - np.asarray(v_init, m.dtype)).astype(m.dtype)
    return spike, m - theta * spike


def mean_output(x: Array, timesteps: int) -> Array:
    """r(T) for a constant input, in threshold units: clip(floor(T x + 1/2), 0, T) / T (from the paper, eq. 2-6)."""
    return np.clip(np.floor(timesteps * x + INITIAL_POTENTIAL), 0, timesteps) / timesteps
