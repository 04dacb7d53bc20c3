"""Counters of spikes: further states of a core, for those who ask for spike counts or activity.

A count adds up what spikes say, so that one taken back (-1) is subtracted. An activity adds up what
they cost: in rate coding their heights, since a spike of k thresholds is k operations at each
synapse; in differential coding their number, since a power of two is one shifted addition. Neurons
that take nothing back have one counter for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto, helper

from onnx2snn.protos.nodes import attribute
from onnx2snn.snn.differential import DIFFERENTIAL_IF, digit_count_nodes
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP, neuron_nodes
from onnx2snn.snn.step_model import StepModel


@dataclass(frozen=True)
class Digits:
    """What a spike of differential coding is made of: some powers of two up to the largest."""

    count: int
    largest: float


@dataclass(frozen=True)
class SpikeCounter:
    """A state that sums a neuron's spikes, or what they cost (`absolute`).

    `digits` says how many spikes a height stands for in differential coding; None: as many as it is
    high.
    """

    neuron: str
    spikes: str
    rank: int
    absolute: bool
    digits: Digits | None = None

    @property
    def input(self) -> str:
        """The count before the step."""
        kind = "activity" if self.absolute else "count"
        return f"{SNN_DOMAIN}/{kind}/{self.neuron}"

    @property
    def output(self) -> str:
        """The count after the step."""
        return f"{self.input}/next"


def counters(model: StepModel, *, counts: bool, activity: bool) -> list[SpikeCounter]:
    """Return the counters asked for, by neurons in their order."""
    nodes = {node.name: node for node in neuron_nodes(model.nodes)}
    found = []
    for neuron in model.metadata["neurons"]:
        if BY_OP[neuron["kind"]].signed:
            kinds = [False] * counts + [True] * activity
        else:
            kinds = [False] * (counts or activity)
        for absolute in kinds:
            rank = len(neuron["shape"])
            digits = _digits(model, nodes[neuron["name"]]) if absolute else None
            found.append(SpikeCounter(neuron["name"], neuron["spikes"], rank, absolute, digits))
    return found


def _digits(model: StepModel, node: NodeProto) -> Digits | None:
    if node.op_type != DIFFERENTIAL_IF:
        return None
    # an inlined neuron has no attributes
    largest = 2.0 ** (model.metadata["octaves"] - 1)
    return Digits(model.metadata["digits"], attribute(node, "largest", largest))


def counters_by_site(
    model: StepModel, count: Sequence[SpikeCounter], *, absolute: bool
) -> dict[str, SpikeCounter]:
    """Return each site's counter of spikes, or of what they cost (`absolute`).

    Sites without one are left out.
    """
    unsigned = {n["name"] for n in model.metadata["neurons"] if not BY_OP[n["kind"]].signed}
    found = {}
    for counter in count:
        if counter.absolute == absolute or counter.neuron in unsigned:
            found[counter.neuron] = counter
    return found


def add_counters(graph: onnx.GraphProto, count: Sequence[SpikeCounter]) -> None:
    """Append counters to a core: count_next = count + spikes, or count + what they cost."""
    for counter in count:
        dims = [None] * counter.rank
        added = counter.spikes
        if counter.absolute:
            added = f"{counter.input}/height"
            nodes = _cost_nodes(counter, added)
            graph.node.extend(nodes)
            for node in nodes:
                value = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, dims)
                graph.value_info.append(value)
        for values, name in ((graph.input, counter.input), (graph.output, counter.output)):
            values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        taken = [counter.input, added]
        graph.node.append(helper.make_node("Add", taken, [counter.output], counter.input))


def _cost_nodes(counter: SpikeCounter, output: str) -> list[NodeProto]:
    """Return the nodes that tell what spikes cost."""
    if counter.digits is None:
        # a spike of -1 is one spike more
        return [helper.make_node("Abs", [counter.spikes], [output], output)]
    digits = counter.digits
    return digit_count_nodes(counter.spikes, output, digits.count, digits.largest)
