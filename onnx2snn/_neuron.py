"""The one definition of each neuron: its ONNX function and its NumPy twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, helper

from ._graph import SNN_DOMAIN, Array

IF = "IF"
SIGNED_IF = "SignedIF"
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
        *_parameters(),
        helper.make_node("Add", ["x", "u"], ["m"]),
        helper.make_node("GreaterOrEqual", ["m", "level"], ["fires"]),
        helper.make_node("CastLike", ["fires", "x"], ["spike"]),
        *_soft_reset(),
    ]
    about = "Integrate-and-fire neuron, reset by subtraction; u is the membrane potential less v_init."
    return _function(IF, ["x", "u"], ["spike", "u_next"], body, opset, about)


def signed_if_function(opset: int) -> FunctionProto:
    """`if_function` that also takes spikes back, one time-step: (x, u, n) -> (spike, u_next, n_next).

    n: spikes sent less spikes taken back so far; spike: -1, 0 or 1. A neuron whose potential has fallen below 0 and
    that has n > 0 sends -1 and adds θ back, which repairs spikes fired too early; the rest is as in `if_function`.
        m = x + u;  spike = [m >= θ - v_init] - [m < -v_init and n > 0];  u_next = m - θ spike;  n_next = n + spike.
    """
    body = [
        *_parameters(),
        helper.make_node("Add", ["x", "u"], ["m"]),
        helper.make_node("GreaterOrEqual", ["m", "level"], ["fires"]),
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


def _parameters() -> list[onnx.NodeProto]:
    return [
        _attribute_value("theta", "threshold", AttributeProto.FLOAT),
        helper.make_node("CastLike", ["theta", "x"], ["threshold_x"]),
        _attribute_value("initial", "v_init", AttributeProto.TENSOR),
        helper.make_node("CastLike", ["initial", "x"], ["initial_x"]),
        helper.make_node("Sub", ["threshold_x", "initial_x"], ["level"]),
    ]


def _soft_reset() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", ["spike", "threshold_x"], ["sent"]),
        helper.make_node("Sub", ["m", "sent"], ["u_next"]),
    ]


def _function(
    name: str, inputs: list[str], outputs: list[str], body: list[onnx.NodeProto], opset: int, about: str
) -> FunctionProto:
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function(SNN_DOMAIN, name, inputs, outputs, body, opsets, list(ATTRIBUTES), doc_string=about)


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


def signed_if_step(
    x: Array, u: Array, n: Array, threshold: float = 1.0, v_init: Array | float = INITIAL_POTENTIAL
) -> tuple[Array, Array, Array]:
    """The NumPy twin of `signed_if_function`: (x, u, n) -> (spike, u_next, n_next)."""
    m = x + u
    theta, initial = np.asarray(threshold, m.dtype), np.asarray(v_init, m.dtype)
    spike = (m >= theta - initial).astype(m.dtype) - ((m < -initial) & (n > 0)).astype(m.dtype)
    return spike, m - theta * spike, n + spike


def mean_output(x: Array, timesteps: int) -> Array:
    """r(T) for a constant input, in threshold units: clip(floor(T x + 1/2), 0, T) / T (from the paper, eq. 2-6)."""
    return np.clip(np.floor(timesteps * x + INITIAL_POTENTIAL), 0, timesteps) / timesteps


@dataclass(frozen=True)
class Neuron:
    """A kind of neuron: its operator, its function, and its states beside each other as (label, kind)."""

    op: str
    function: Callable[[int], FunctionProto]
    states: tuple[tuple[str, str], ...]
    signed: int


NEURONS = {
    "if": Neuron(IF, if_function, (("potential", "membrane"),), signed=0),
    "signed": Neuron(SIGNED_IF, signed_if_function, (("potential", "membrane"), ("sent", "count")), signed=1),
}
"""Kinds of neuron by the name `--neuron` knows them by."""

BY_OP = {neuron.op: neuron for neuron in NEURONS.values()}
