"""The one definition of each neuron: its ONNX function, its states and its attributes.

IF: integrate and fire, reset by subtraction (paper, eq. 2-4).
SignedIF: the same, and it takes back spikes that it fired too early.
GradedIF: spikes of up to `levels` thresholds' height.
SignedGradedIF: both.
RateIF: in front of a weighted operator, spikes of either sign (`snn.rate_if`).
DifferentialIF: there, too, spikes tell a change (`snn.differential`).

All quantities are in threshold units, and a state u holds the membrane potential less the initial
one, so that it starts as 0. `snn.fast_neurons` has faster functions for the usual case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.snn.differential import DIFFERENTIAL_IF, differential_function
from onnx2snn.snn.format import SNN_DOMAIN, NeuronOp, StateKind
from onnx2snn.snn.rate_if import RATE_IF, rate_if_function

IF: Final = "IF"
SIGNED_IF: Final = "SignedIF"
GRADED_IF: Final = "GradedIF"
SIGNED_GRADED_IF: Final = "SignedGradedIF"

ESTIMATING = (RATE_IF, DIFFERENTIAL_IF)
"""Neurons that compare what is to be known with what they have sent: e = y - n."""

INITIAL_POTENTIAL = 0.5
"""v(0) in threshold units (paper, section 5: half the threshold)."""

ATTRIBUTES = ("threshold", "v_init", "reset", "signed", "levels", "scale")


def if_function(opset: int) -> FunctionProto:
    """Return the integrate-and-fire neuron, one time-step: (x, u) -> (spike, u_next).

    x is the input current and u the membrane potential less the initial one, of any shapes that
    broadcast; spike is 0 or 1. With threshold θ and initial potential v_init:

        m = x + u;  spike = [m >= θ - v_init];  u_next = m - θ spike.

    The attributes `threshold` (float) and `v_init` (tensor, scalar or per neuron) are computed
    with. `reset`, `signed`, `levels` and `scale` (per-channel θ in ANN units, which turns a spike
    into the ANN's activation) are facts for those who substitute the function.
    """
    body = [
        *_fires(),
        body_node("CastLike", "fires x", "spike"),
        *_reset(),
    ]
    about = (
        "Integrate-and-fire neuron, reset by subtraction; u is the membrane potential less v_init."
    )
    return _function(IF, "x u", "spike u_next", body, opset, about)


def signed_if_function(opset: int) -> FunctionProto:
    """Return `if_function` with spikes taken back: (x, u, n) -> (spike, u_next, n_next).

    n counts spikes sent less spikes taken back; spike is -1, 0 or 1. A neuron whose potential has
    fallen below 0 and that has n > 0 sends -1 and adds θ back, which repairs spikes fired too
    early:

        m = x + u;  spike = [m >= θ - v_init] - [m < -v_init and n > 0];
        u_next = m - θ spike;  n_next = n + spike.
    """
    body = [
        *_fires(),
        body_node("Neg", "initial_x", "floor"),
        body_node("Less", "m floor", "below"),
        # n is never negative, so that it is true where n > 0
        body_node("CastLike", "n fires", "sent_any"),
        body_node("And", "below sent_any", "retracts"),
        body_node("CastLike", "fires x", "plus"),
        body_node("CastLike", "retracts x", "minus"),
        body_node("Sub", "plus minus", "spike"),
        *_reset(),
        body_node("Add", "n spike", "n_next"),
    ]
    about = (
        "Integrate-and-fire neuron that takes back spikes it fired too early; "
        "n counts what it has sent."
    )
    return _function(SIGNED_IF, "x u n", "spike u_next n_next", body, opset, about)


def graded_if_function(opset: int) -> FunctionProto:
    """Return `if_function` with spikes of up to `levels` thresholds' height.

    As many thresholds as the potential holds leave at once (burst or multi-threshold spikes):

        m = x + u;  spike = clip(floor((m + v_init) / θ), 0, levels);  u_next = m - θ spike.

    With one level it is `if_function`.
    """
    body = [
        *_thresholds_held(),
        body_node("Relu", "capped", "spike"),
        *_reset(),
    ]
    about = (
        "Integrate-and-fire neuron that sends up to `levels` thresholds at once, "
        "reset by subtraction."
    )
    return _function(GRADED_IF, "x u", "spike u_next", body, opset, about)


def signed_graded_if_function(opset: int) -> FunctionProto:
    """Return `graded_if_function` with spikes taken back: (x, u, n) -> (spike, u_next, n_next).

    n counts thresholds sent less thresholds taken back; spike is -1, 0 ... levels, -1 where n > 0:

        m = x + u;  spike = clip(floor((m + v_init) / θ), -min(n, 1), levels);
        u_next = m - θ spike;  n_next = n + spike.
    """
    body = [
        *_thresholds_held(),
        body_node("Constant", "", "one", value_float=1.0),
        body_node("CastLike", "one x", "one_x"),
        # n is never negative
        body_node("Min", "n one_x", "may_return"),
        body_node("Neg", "may_return", "lowest"),
        body_node("Max", "capped lowest", "spike"),
        *_reset(),
        body_node("Add", "n spike", "n_next"),
    ]
    about = (
        "Integrate-and-fire neuron that sends up to `levels` thresholds at once "
        "and takes back what was too early."
    )
    return _function(SIGNED_GRADED_IF, "x u n", "spike u_next n_next", body, opset, about)


def body_node(op: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    """Return a node of a function's body; names of tensors are separated by blanks."""
    return helper.make_node(op, inputs.split(), [output], **attributes)


def _parameters() -> list[NodeProto]:
    """θ and v_init in the type of x."""
    return [
        _attribute("theta", "threshold", "value_float", AttributeProto.FLOAT),
        body_node("CastLike", "theta x", "threshold_x"),
        _attribute("initial", "v_init", "value", AttributeProto.TENSOR),
        body_node("CastLike", "initial x", "initial_x"),
    ]


def _fires() -> list[NodeProto]:
    """m = x + u and whether m >= θ - v_init."""
    return [
        *_parameters(),
        body_node("Add", "x u", "m"),
        body_node("Sub", "threshold_x initial_x", "level"),
        body_node("GreaterOrEqual", "m level", "fires"),
    ]


def _thresholds_held() -> list[NodeProto]:
    """m = x + u and the whole thresholds its potential holds, at most `levels`."""
    return [
        *_parameters(),
        body_node("Add", "x u", "m"),
        body_node("Add", "m initial_x", "potential"),
        body_node("Div", "potential threshold_x", "held"),
        body_node("Floor", "held", "whole"),
        _attribute("most", "levels", "value_int", AttributeProto.INT),
        body_node("CastLike", "most x", "most_x"),
        body_node("Min", "whole most_x", "capped"),
    ]


def _reset() -> list[NodeProto]:
    """u_next = m - θ spike."""
    return [
        body_node("Mul", "spike threshold_x", "sent"),
        body_node("Sub", "m sent", "u_next"),
    ]


def _attribute(
    output: str, attribute: str, field: str, kind: AttributeProto.AttributeType
) -> NodeProto:
    """Return a Constant that holds an attribute of the neuron, in the field for its type."""
    node = body_node("Constant", "", output)
    reference = AttributeProto(name=field, type=kind, ref_attr_name=attribute)
    node.attribute.append(reference)
    return node


def _function(
    op: str, inputs: str, outputs: str, body: list[NodeProto], opset: int, about: str
) -> FunctionProto:
    return helper.make_function(
        SNN_DOMAIN,
        op,
        inputs.split(),
        outputs.split(),
        body,
        [helper.make_opsetid("", opset)],
        list(ATTRIBUTES),
        doc_string=about,
    )


@dataclass(frozen=True)
class Neuron:
    """A kind of neuron: its operator, its function, and its states in order as (label, kind)."""

    op: NeuronOp
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
"""Kinds of neuron by their name in options, and whether a spike may be higher than a threshold."""

_one_digit = partial(differential_function, digits=1)

DIFFERENTIAL = Neuron(DIFFERENTIAL_IF, _one_digit, (_SENT,), signed=1)
"""The neuron of differential coding that sends one spike a step."""

RATE = Neuron(RATE_IF, partial(rate_if_function, levels=1), (_SENT,), signed=1)
"""The neuron in front of a weighted operator in rate coding, of binary signed spikes."""

BY_OP: dict[str, Neuron] = {neuron.op: neuron for neuron in [*NEURONS.values(), RATE, DIFFERENTIAL]}


def neuron_for(kind: str, levels: int) -> Neuron:
    """Return the neuron of a kind ("if" or "signed") with spikes of up to `levels` thresholds."""
    return NEURONS[kind, levels > 1]


def attributes(
    neuron: Neuron, levels: int, v_init: Array | float, scale: Array | float
) -> dict[str, Any]:
    """Return a neuron node's attributes, all of `ATTRIBUTES`.

    Args:
        neuron: The kind of neuron.
        levels: The most thresholds a spike is high.
        v_init: The initial potential in threshold units, for all or per neuron.
        scale: The threshold in ANN units, for all or per channel. It is folded into the weights,
            so that the attribute `threshold` is 1.
    """
    return {
        "threshold": 1.0,
        "v_init": _float32(v_init),
        "reset": "subtract",
        "signed": neuron.signed,
        "levels": levels,
        "scale": _float32(scale),
    }


def _float32(values: Array | float) -> onnx.TensorProto:
    array = np.asarray(values, np.float32)
    return numpy_helper.from_array(np.atleast_1d(array))


def neuron_nodes(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """Return the neurons among nodes of an emitted model.

    Input 1 is the membrane potential, or the sum of what was sent.
    """
    own = [node for node in nodes if node.domain == SNN_DOMAIN]
    return [node for node in own if node.op_type in BY_OP]
