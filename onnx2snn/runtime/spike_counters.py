"""Counters of spikes: further states of a core, for those who ask for spike counts or activity.

A count adds up spikes, so that one taken back (-1) is subtracted; an activity adds up their
heights. Neurons that take nothing back have one counter for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP
from onnx2snn.snn.step_model import StepModel


@dataclass(frozen=True)
class SpikeCounter:
    """A state that sums a neuron's spikes, or their heights (`absolute`: a spike of -1 adds 1)."""

    neuron: str
    spikes: str
    rank: int
    absolute: bool

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
    found = []
    for neuron in model.metadata["neurons"]:
        if BY_OP[neuron["kind"]].signed:
            kinds = [False] * counts + [True] * activity
        else:
            kinds = [False] * (counts or activity)
        for absolute in kinds:
            rank = len(neuron["shape"])
            found.append(SpikeCounter(neuron["name"], neuron["spikes"], rank, absolute))
    return found


def counters_by_site(
    model: StepModel, count: Sequence[SpikeCounter], *, absolute: bool
) -> dict[str, SpikeCounter]:
    """Return each site's counter of spikes, or of their heights (`absolute`).

    Sites without one are left out.
    """
    unsigned = {n["name"] for n in model.metadata["neurons"] if not BY_OP[n["kind"]].signed}
    found = {}
    for counter in count:
        if counter.absolute == absolute or counter.neuron in unsigned:
            found[counter.neuron] = counter
    return found


def add_counters(graph: onnx.GraphProto, count: Sequence[SpikeCounter]) -> None:
    """Append counters to a core: count_next = count + spikes, or count + |spikes|."""
    for counter in count:
        dims = [None] * counter.rank
        height = counter.spikes
        if counter.absolute:
            # a spike of -1 is one spike more
            height = f"{counter.input}/height"
            graph.node.append(helper.make_node("Abs", [counter.spikes], [height], height))
            graph.value_info.append(helper.make_tensor_value_info(height, TensorProto.FLOAT, dims))
        for values, name in ((graph.input, counter.input), (graph.output, counter.output)):
            values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        taken = [counter.input, height]
        graph.node.append(helper.make_node("Add", taken, [counter.output], counter.input))
