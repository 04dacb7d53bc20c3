"""Natures of outputs: whether an output is known to hold probabilities, from what makes it.

Cases: `Nature.PROBABILITIES`, a Softmax or LogSoftmax makes it, so it holds the scores of classes;
`Nature.DECISIONS`, a Sigmoid makes it, so each value is a probability of its own. Operators that
only move elements are looked through. Any other output is unknown: a linear layer's output may hold
logits or anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import onnx

from onnx2snn.protos.nodes import standard


class Nature(Enum):
    """What an output's values are known to be."""

    PROBABILITIES = "probabilities of classes"
    DECISIONS = "probabilities"


MAKERS = {
    "Softmax": Nature.PROBABILITIES,
    "LogSoftmax": Nature.PROBABILITIES,
    "Sigmoid": Nature.DECISIONS,
}

MOVERS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout")
"""Operators that values pass unchanged."""

Natures = Mapping[str, Nature]
"""By output; an output that is not there is unknown."""


def natures_of(proto: onnx.ModelProto) -> Natures:
    """Return the natures of a model's outputs, as far as its last operators tell them."""
    makers = {}
    for node in proto.graph.node:
        for name in node.output:
            makers[name] = node
    found = {}
    for output in proto.graph.output:
        nature = _nature(output.name, makers)
        if nature is not None:
            found[output.name] = nature
    return found


def _nature(tensor: str, makers: Mapping[str, onnx.NodeProto]) -> Nature | None:
    node = makers.get(tensor)
    while node is not None and standard(node) and node.op_type in MOVERS:
        node = makers.get(node.input[0])
    if node is None or not standard(node):
        return None
    return MAKERS.get(node.op_type)
