"""The neuron in front of a weighted operator in rate coding: the mean of its spikes is the tensor.

With y what should have been sent by step t (t times the tensor, in threshold units), n what was
sent, spikes below 0 subtracted, and k levels, it computes

    e = y - n,   s = clip(round(e), -k, k),   n' = n + s.

It is the signed integrate-and-fire neuron m = u + x, s = clip(round(m), -k, k), u' = m - s (reset
by subtraction) whose current is the increase x(t) = y(t) - y(t-1): e is that m. As n is a whole
number, no sum of currents has to be kept, and none drifts. While it keeps up, |e - s| <= 1/2, so
that n / t is the tensor up to half a threshold divided by t.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import FunctionProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.snn.format import SNN_DOMAIN

RATE_IF: Final = "RateIF"

ATTRIBUTES = ("threshold", "levels", "scale")
"""Of a neuron node: its threshold (1), k, and θ in ANN units."""

ABOUT = (
    "Integrate-and-fire neuron with spikes of either sign, fed by increments: y is what should "
    "have been sent by now, n what was."
)


def rate_if_function(opset: int, levels: int) -> FunctionProto:
    """Return the neuron, one time-step: (y, n) -> (spike, n_next).

    Args:
        opset: The version of the standard operators.
        levels: k, the most thresholds a spike is high, which is written into the function.
    """
    most = float(levels)
    body = [
        helper.make_node("Constant", [], ["least"], value_float=-most),
        helper.make_node("Constant", [], ["most"], value_float=most),
        helper.make_node("Sub", ["y", "n"], ["error"]),
        # halves go to the even number: 1/2 is not told
        helper.make_node("Round", ["error"], ["whole"]),
        helper.make_node("Clip", ["whole", "least", "most"], ["spike"]),
        helper.make_node("Add", ["n", "spike"], ["n_next"]),
    ]
    return helper.make_function(
        SNN_DOMAIN,
        RATE_IF,
        ["y", "n"],
        ["spike", "n_next"],
        body,
        [helper.make_opsetid("", opset)],
        list(ATTRIBUTES),
        doc_string=f"{ABOUT} Written for {levels} levels.",
    )


def rate_if_attributes(levels: int, scale: Array) -> dict[str, Any]:
    """Return a neuron node's attributes, all of `ATTRIBUTES`; θ is `scale`, in ANN units."""
    values = np.atleast_1d(np.asarray(scale, np.float32))
    return {"threshold": 1.0, "levels": levels, "scale": numpy_helper.from_array(values)}
