"""Counters of spikes: further states of a core, for those who ask for spike counts or activity.

A count adds up what spikes say, so that one taken back (-1) is subtracted. An activity adds up what
they cost: in rate coding their heights, since a spike of k thresholds is k operations at each
synapse; in differential coding their number, since a power of two is one shifted addition. Neurons
that take nothing back have one counter for both. The other one of number and heights has a counter
of its own (`both_sizes`) where the two can differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import NodeProto, TensorProto, helper

from onnx2snn.snn.differential import DIFFERENTIAL_IF, digit_count_nodes, largest_spike
from onnx2snn.snn.format import SNN_DOMAIN, NeuronEntry
from onnx2snn.snn.neurons import BY_OP, GRADED_IF, SIGNED_GRADED_IF, neuron_nodes
from onnx2snn.snn.rate_if import RATE_IF
from onnx2snn.snn.step_model import StepModel

CounterKind = Literal["count", "activity", "height", "event"]
"""What is added up: spikes, what they cost, their heights, or their number."""

_IN_PLACE_OF: dict[CounterKind, CounterKind] = {"height": "activity", "event": "activity"}
"""What tells heights or numbers where these have no counter of their own."""


@dataclass(frozen=True)
class Digits:
    """What a spike of differential coding is made of: some powers of two up to the largest."""

    count: int
    largest: float


@dataclass(frozen=True)
class SpikeCounter:
    """A state that sums a neuron's spikes, or what `kind` says of them.

    `digits` says how many spikes a height stands for in differential coding; None: as many as it is
    high.
    """

    neuron: str
    spikes: str
    rank: int
    kind: CounterKind
    digits: Digits | None = None

    @property
    def input(self) -> str:
        """The count before the step."""
        return f"{SNN_DOMAIN}/{self.kind}/{self.neuron}"

    @property
    def output(self) -> str:
        """The count after the step."""
        return f"{self.input}/next"


def counters(
    model: StepModel, *, counts: bool, activity: bool, both_sizes: bool = False
) -> list[SpikeCounter]:
    """Return the counters asked for, by neurons in their order.

    Args:
        model: The spiking model.
        counts: Whether to count spikes, those taken back subtracted.
        activity: Whether to count what spikes cost.
        both_sizes: With `activity`, whether to count their number and their heights, too.
    """
    nodes = {node.name: node for node in neuron_nodes(model.nodes)}
    found = []
    for neuron in model.metadata["neurons"]:
        if BY_OP[neuron["kind"]].signed:
            kinds = _asked(count=counts, activity=activity)
        else:
            kinds = _asked(count=counts or activity)
        if both_sizes:
            kinds += _other_sizes(neuron["kind"])
        for kind in kinds:
            rank = len(neuron["shape"])
            digits = None
            if kind == "activity" and neuron["kind"] == DIFFERENTIAL_IF:
                digits = _digits(model, neuron, nodes[neuron["name"]])
            found.append(SpikeCounter(neuron["name"], neuron["spikes"], rank, kind, digits))
    return found


def _asked(*, count: bool, activity: bool = False) -> list[CounterKind]:
    kinds: list[CounterKind] = []
    if count:
        kinds.append("count")
    if activity:
        kinds.append("activity")
    return kinds


def _other_sizes(neuron: str) -> list[CounterKind]:
    """Return the counter that tells a neuron's number of spikes from their heights, if any."""
    if neuron == DIFFERENTIAL_IF:
        # its activity is the number of its spikes
        return ["height"]
    if neuron in (GRADED_IF, SIGNED_GRADED_IF, RATE_IF):
        return ["event"]
    return []


def _digits(model: StepModel, neuron: NeuronEntry, node: NodeProto) -> Digits:
    count = neuron.get("digits", model.metadata["digits"])
    return Digits(count, largest_spike(node, model.metadata))


def counters_by_site(
    model: StepModel, count: Sequence[SpikeCounter], kind: CounterKind
) -> dict[str, SpikeCounter]:
    """Return each site's counter of a kind, or the one that tells the same.

    Sites without one are left out.
    """
    of_site = {(counter.neuron, counter.kind): counter for counter in count}
    found = {}
    for neuron in model.metadata["neurons"]:
        kinds: list[CounterKind] = [kind]
        if kind in _IN_PLACE_OF:
            kinds.append(_IN_PLACE_OF[kind])
        if not BY_OP[neuron["kind"]].signed:
            kinds.append("count")
        counted = [of_site[neuron["name"], k] for k in kinds if (neuron["name"], k) in of_site]
        if counted:
            found[neuron["name"]] = counted[0]
    return found


def add_counters(graph: onnx.GraphProto, count: Sequence[SpikeCounter]) -> None:
    """Append counters to a core: count_next = count + spikes, or count + what is told of them."""
    for counter in count:
        dims = [None] * counter.rank
        added = counter.spikes
        if counter.kind != "count":
            added = f"{counter.input}/height"
            nodes, numbers = _size_nodes(counter, added)
            graph.node.extend(nodes)
            graph.initializer.extend(numbers)
            for node in nodes:
                value = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, dims)
                graph.value_info.append(value)
        for values, name in ((graph.input, counter.input), (graph.output, counter.output)):
            values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        taken = [counter.input, added]
        graph.node.append(helper.make_node("Add", taken, [counter.output], counter.input))


def _size_nodes(counter: SpikeCounter, output: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return what tells what spikes cost, how high they are, or whether there is one.

    These are nodes, and the numbers that they take.
    """
    if counter.kind == "event":
        return digit_count_nodes(counter.spikes, output, 1, 1.0)
    if counter.digits is None:
        # a spike of -1 is one spike more
        return [helper.make_node("Abs", [counter.spikes], [output], output)], []
    digits = counter.digits
    return digit_count_nodes(counter.spikes, output, digits.count, digits.largest)
