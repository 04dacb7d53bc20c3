"""Makers of outputs: the last operators of a model, which tell what its outputs are known to be."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from onnx2snn.protos.nodes import standard
from onnx2snn.score.natures import Nature, Natures

MAKERS = {
    "Softmax": Nature.PROBABILITIES,
    "LogSoftmax": Nature.PROBABILITIES,
    "Sigmoid": Nature.DECISIONS,
}

MOVERS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout")
"""Operators that values pass unchanged."""


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
