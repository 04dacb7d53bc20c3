"""The neuron of differential coding: it sends what its receivers do not know yet.

Its receivers' estimate of y is λ R, R the sum of all it has sent. With e = y/λ - R it sends

    s = Q(e) = sign(e) max{2^j : |e| >= 3/4 2^j, 0 <= j < n}, 0 where |e| < 3/4,

a sign and an exponent: one of n octaves. With more than one digit it sends Q of what is left as
well, at once: s = q_1 + ... + q_K, q_k = Q(e - q_1 - ... - q_(k-1)). An error inside the range
shrinks to a third or less at each digit, and a neuron whose input has settled is silent (Huang et
al., ICML 2025, and the neurons of sigma-delta networks).

Q rounds to one significant bit, ties upwards. Float32 does that with three operations on numbers of
24 bits (Dekker 1971): with C = 2^23 + 1

    g = C x,   d = x - g,   p = g + d,

where each result is rounded, p is x rounded to its first bit. A test goes through all numbers of
eight octaves. Powers below 1 are rounded away, and larger numbers are clipped before.

With C = 2^(24-b) + 1 it is x rounded to its first b bits, and any number of 2K - 1 bits is a sum of
at most K signed powers of two. So a neuron that may send more digits in its first step, when
nothing is known yet, than in later ones takes C as an input that changes in time: no step costs
more than one rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import attribute
from onnx2snn.snn.format import SNN_DOMAIN, Metadata, NeuronOp

DIFFERENTIAL_IF: NeuronOp = "DifferentialIF"

ATTRIBUTES = ("threshold", "largest", "digits", "scale")
"""Of a neuron node: its threshold (1), 2^(n-1), K, and λ in ANN units."""


def splitter(digits: int) -> float:
    """Return C, the product with which leaves as many bits of 24 as so many digits can always say.

    `digits`: K, at most 9; the bits are 2K - 1.
    """
    return float(2 ** (25 - 2 * digits) + 1)


SPLITTER = splitter(1)
"""C of one digit: the product with it leaves one bit of 24."""

MOST_OCTAVES = 24
"""Powers of two beyond the 24 bits of float32 would not add up exactly."""

NodeMaker = Callable[[str, Sequence[str], str], NodeProto]
"""Takes an operator, its inputs and its output."""

ABOUT = (
    "Neuron of differential coding: s is the change of y/λ that its receivers are told, a signed "
    "power of two or a sum of some; n is the sum of all that was sent."
)


def differential_function(opset: int, digits: int, *, changing: bool = False) -> FunctionProto:
    """Return the neuron of differential coding, one time-step: (y, n) -> (spike, n_next).

    With `changing` it is (y, n, C) -> (spike, n_next), C of the digits of this step.

    The attribute `largest` (float) is the largest power of two a spike can have, 2^(n-1).

    Args:
        opset: The version of the standard operators.
        digits: How many spikes a neuron may send in one step.
        changing: Whether the first step has other digits than the later ones.
    """
    highest = _node("Constant", "", "highest")
    reference = AttributeProto(
        name="value_float", type=AttributeProto.FLOAT, ref_attr_name="largest"
    )
    highest.attribute.append(reference)
    body = [
        highest,
        _node("Neg", "highest", "lowest"),
        _node("Sub", "y n", "error_1"),
    ]
    inputs = ["y", "n"]
    if changing:
        inputs.append("splitter")
        rounded = 1
        about = f"{ABOUT} Written for up to {digits} spikes a step, as its third input says."
    else:
        body.insert(0, _node("Constant", "", "splitter", value_float=SPLITTER))
        rounded = digits
        about = f"{ABOUT} Written for {digits} spikes a step."
    for digit in range(1, rounded + 1):
        body += _rounded(digit)
        if digit < rounded:
            body.append(_node("Sub", f"error_{digit} digit_{digit}", f"error_{digit + 1}"))
    body += _sum([f"digit_{digit}" for digit in range(1, rounded + 1)])
    body.append(_node("Add", "n spike", "n_next"))
    return helper.make_function(
        SNN_DOMAIN,
        DIFFERENTIAL_IF,
        inputs,
        ["spike", "n_next"],
        body,
        [helper.make_opsetid("", opset)],
        list(ATTRIBUTES),
        doc_string=about,
    )


def differential_attributes(octaves: int, digits: int, scale: Array) -> dict[str, Any]:
    """Return a neuron node's attributes, all of `ATTRIBUTES`; λ is `scale`, in ANN units."""
    values = np.atleast_1d(np.asarray(scale, np.float32))
    return {
        "threshold": 1.0,
        "largest": float(2 ** (octaves - 1)),
        "digits": digits,
        "scale": numpy_helper.from_array(values),
    }


def largest_spike(node: NodeProto, metadata: Metadata) -> float:
    """Return the largest power of two that a neuron's spikes can have, in threshold units.

    A neuron that was inlined has no attributes; the largest of the file is then an upper bound.
    """
    widest = 2.0 ** (metadata["octaves"] - 1)
    return float(attribute(node, "largest", widest))


def digit_count_nodes(
    spikes: str, output: str, digits: int, largest: float
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return nodes that count the powers of two that each height is the sum of, and their numbers.

    What was sent is the sum of at most `digits` of them, and Q takes a sum apart into as many.

    Args:
        spikes: The tensor of heights.
        output: The tensor of counts; all names begin with it.
        digits: K.
        largest: The largest power of two.
    """
    nodes: list[NodeProto] = []
    numbers: list[TensorProto] = []
    if digits > 1:
        # initializers: around these alone time is folded
        for name, value in (("lowest", -largest), ("highest", largest), ("splitter", SPLITTER)):
            numbers.append(numpy_helper.from_array(np.array(value, np.float32), f"{output}/{name}"))
    fixed = [number.name for number in numbers]
    rest = spikes
    counted = []
    for digit in range(1, digits + 1):
        label = f"{output}/{digit}"
        # of a height that is left, a whole number: [it is not 0]
        sent = output if digits == 1 else f"{label}/sent"
        nodes += [_graph_node("Sign", [rest], f"{label}/sign")]
        nodes += [_graph_node("Abs", [f"{label}/sign"], sent)]
        counted.append(sent)
        if digit == digits:
            break
        names = [f"{label}/{name}" for name in "xgdp"]
        nodes += [
            *_first_bit(rest, names, fixed, _graph_node),
            _graph_node("Sub", [rest, f"{label}/p"], f"{label}/rest"),
        ]
        rest = f"{label}/rest"
    if digits > 1:
        nodes.append(_graph_node("Sum", counted, output))
    return nodes, numbers


def _graph_node(op: str, inputs: Sequence[str], output: str) -> NodeProto:
    return helper.make_node(op, inputs, [output], output)


def _rounded(digit: int) -> list[NodeProto]:
    """digit_k = Q(error_k)."""
    names = [f"{name}_{digit}" for name in "xgdp"]
    numbers = ("lowest", "highest", "splitter")
    return [
        *_first_bit(f"error_{digit}", names, numbers, _plain_node),
        # 1/2, 1/4 ... become 0: halves round to the even number
        _node("Round", names[-1], f"digit_{digit}"),
    ]


def _first_bit(
    error: str, names: Sequence[str], numbers: Sequence[str], make: NodeMaker
) -> list[NodeProto]:
    """Return nodes that round an error to its first bit, larger ones clipped before.

    Args:
        error: The tensor.
        names: Of x, g, d and p; p is the result.
        numbers: The tensors of the lowest and the highest power, and of C.
        make: Makes a node.
    """
    x, g, d, p = names
    lowest, highest, splitter = numbers
    return [
        make("Clip", [error, lowest, highest], x),
        make("Mul", [x, splitter], g),
        make("Sub", [x, g], d),
        make("Add", [g, d], p),
    ]


def _plain_node(op: str, inputs: Sequence[str], output: str) -> NodeProto:
    return helper.make_node(op, inputs, [output])


def _sum(digits: Sequence[str]) -> list[NodeProto]:
    """Spike = the sum of the digits."""
    if len(digits) == 1:
        return [_node("Identity", digits[0], "spike")]
    return [_node("Sum", " ".join(digits), "spike")]


def _node(op: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)
