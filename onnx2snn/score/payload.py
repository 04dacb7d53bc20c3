"""Payload of spikes: the bits that one carries, the logarithm of how many values it can have.

Silence is one of the values.

IF: 0 or 1. SignedIF: -1, too. GradedIF: 0 to k levels. SignedGradedIF: -1, too.
RateIF: -k to k. DifferentialIF: a sign and one of n octaves, or 0: log2(2n + 1) bits a digit.
"""

from __future__ import annotations

import math

from onnx import NodeProto

from onnx2snn.protos.nodes import attribute
from onnx2snn.snn.differential import DIFFERENTIAL_IF, largest_spike
from onnx2snn.snn.format import Metadata
from onnx2snn.snn.neurons import BY_OP, GRADED_IF, SIGNED_GRADED_IF, neuron_nodes
from onnx2snn.snn.rate_if import RATE_IF
from onnx2snn.snn.step_model import StepModel


def spike_bits(model: StepModel) -> dict[str, float]:
    """Return the bits that a spike of each site carries."""
    return {
        node.name: math.log2(_alphabet(node, model.metadata)) for node in neuron_nodes(model.nodes)
    }


def _alphabet(node: NodeProto, metadata: Metadata) -> int:
    """Return how many values a spike can have; an inlined neuron has no attributes."""
    if node.op_type == DIFFERENTIAL_IF:
        octaves = round(math.log2(largest_spike(node, metadata))) + 1
        return 2 * octaves + 1
    if node.op_type == RATE_IF:
        return 2 * int(attribute(node, "levels", metadata["levels"])) + 1
    levels = 1
    if node.op_type in (GRADED_IF, SIGNED_GRADED_IF):
        told = metadata["settings"].get("levels", 1)
        levels = attribute(node, "levels", told)
    return levels + 1 + BY_OP[node.op_type].signed
