"""Facts about a spiking model that a page shows: its thresholds, and the parts it consists of."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx2snn.protos.reach import downstream
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import StepModel, needed_tensors, time_varying_tensors

NAMED_OPERATORS = 6
"""Operators a part of the network is described by, the most frequent ones."""


def threshold_quartiles(model: StepModel) -> list[tuple[str, tuple[float, ...]]]:
    """Return minimum, quartiles and maximum of each site's thresholds, in ANN units."""
    found = []
    for node in neuron_nodes(model.proto.graph.node):
        attributes = {attribute.name: attribute for attribute in node.attribute}
        # thresholds are folded into the weights; `scale` keeps them, a channel each
        scale = helper.get_attribute_value(attributes["scale"])
        thresholds = numpy_helper.to_array(scale)
        five = np.percentile(thresholds, [0, 25, 50, 75, 100])
        found.append((node.name, tuple(five.tolist())))
    return found


def network_parts(model: StepModel) -> list[tuple[str, tuple[str, ...]]]:
    """Return the way through the network: each part with lines about it."""
    operators = _operators_by_part(model)
    core = [f"{len(model.metadata['neurons'])} layers of neurons", _listed(operators["core"])]
    answer = "Readout, of the mean over time"
    if model.estimates:
        answer = "Readout, of the current estimates"
    analog = model.metadata["analog"]
    if analog:
        core.append(f"not spiking: {', '.join(analog)}")
    return [
        ("Inputs", (", ".join(model.inputs),)),
        ("Encoder, once an input", (_listed(operators["encoder"]) or "nothing",)),
        ("Core, every time-step", tuple(core)),
        (answer, (_listed(operators["readout"]) or "nothing",)),
        ("Outputs", (", ".join(model.outputs),)),
    ]


def _operators_by_part(model: StepModel) -> dict[str, Counter[str]]:
    """Count the operators of encoder, core and readout."""
    # a tensor that varies with time, but with no spike, only counts steps
    clockless = [state for state in model.states if state.kind != "step"]
    with_spikes = time_varying_tensors(model.proto, clockless)
    with_time = time_varying_tensors(model.proto, model.states)
    needed = needed_tensors(model.proto, model.states)
    with_inputs = {str(name) for name in downstream(model.proto.graph.node, model.inputs).tensors}
    averages = set()
    for state in model.states:
        if state.mean is not None:
            averages |= {state.mean, state.output}

    def part_of(node: onnx.NodeProto) -> str:
        made = set(node.output)
        counts_time = made & with_time and not made & with_spikes
        if made & averages or counts_time:
            return "bookkeeping"
        if not made & with_time:
            # what no input has a part in is a constant, such as the map of a start
            return "encoder" if made & with_inputs else "bookkeeping"
        if made & needed:
            return "core"
        return "readout"

    parts = ("encoder", "core", "readout", "bookkeeping")
    operators: dict[str, Counter[str]] = {part: Counter() for part in parts}
    for node in model.proto.graph.node:
        operators[part_of(node)][node.op_type] += 1
    return operators


def _listed(operators: Counter[str]) -> str:
    """Return the most frequent operators with their counts."""
    named = [f"{count} {op}" for op, count in operators.most_common(NAMED_OPERATORS)]
    words = ", ".join(named)
    if len(operators) > NAMED_OPERATORS:
        words += ", ..."
    return words
