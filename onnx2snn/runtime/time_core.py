"""A core seen over many time-steps.

Which nodes know only their own step, which hand a state on, and facts about their tensors.

A state's value in each step is a tensor of its own here, beside the one that comes into a pass and
the one that goes out: `onnx2snn/time/NAME/past` before the step, `onnx2snn/time/NAME/now` after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter

import onnx

from onnx2snn.aliases import Dim
from onnx2snn.protos.reach import downstream
from onnx2snn.runtime.cut import Carried, renamed
from onnx2snn.runtime.recurrence import Recurrence, recurrences
from onnx2snn.runtime.time_facts import Constants, TensorFacts
from onnx2snn.runtime.time_shapes import shape_kinds
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.step_model import StepModel

OWN = f"{SNN_DOMAIN}/time/"
"""Before the name of every tensor that the core does not have."""

Unit = onnx.NodeProto | Recurrence
"""Computed as a whole: a node that knows only its own time-step, or a recurrence."""


@dataclass(frozen=True)
class TimedCore:
    """A core whose states are renamed.

    Attributes:
        nodes: Sorted.
        recurrences: The nodes that hand states on.
        first: A state before each step -> the tensor that holds it before the first one.
        final: A state before each step -> the tensor that is to hold it after the last one.
        facts: Ranks, constants and the like.
        types: Element types by name, as far as they are known.
        dims: Shapes of spikes and of the neurons' currents in one time-step, by name.
    """

    nodes: Sequence[onnx.NodeProto]
    recurrences: Sequence[Recurrence]
    first: Mapping[str, str]
    final: Mapping[str, str]
    facts: TensorFacts
    types: Mapping[str, int]
    dims: Mapping[str, Sequence[Dim]]

    @cached_property
    def free(self) -> list[onnx.NodeProto]:
        """The nodes that know only their own time-step."""
        handed_on = set()
        for unit in self.recurrences:
            handed_on |= {id(node) for node in unit.nodes}
        return [node for node in self.nodes if id(node) not in handed_on]

    @cached_property
    def units(self) -> list[Unit]:
        """All nodes, those of a recurrence together."""
        return [*self.free, *self.recurrences]

    @cached_property
    def wanted(self) -> set[str]:
        """The tensors that a unit takes from others."""
        wanted = set()
        for unit in self.units:
            wanted.update(inputs_of(unit))
        return wanted

    def in_order(self) -> Iterator[Unit]:
        """Yield all units, each as early as its inputs allow."""
        # an edge from each unit to those that take what it makes
        makers = {}
        for index, unit in enumerate(self.units):
            for name in outputs_of(unit):
                makers[name] = index
        sorter: TopologicalSorter[int] = TopologicalSorter()
        for index, unit in enumerate(self.units):
            needed = [name for name in inputs_of(unit) if self.facts.varies(name)]
            sorter.add(index, *(makers[name] for name in needed))
        sorter.prepare()
        while sorter.is_active():
            # as the core has them among those that are ready: the same file each time
            ready = sorted(sorter.get_ready())
            for index in ready:
                yield self.units[index]
            sorter.done(*ready)

    def sizes(self, name: str, rank: int) -> list[int] | None:
        """Return a tensor's sizes behind the leading axis.

        None where not all of them are known, there are none, or the tensor has another rank.
        """
        dims = self.dims.get(name, ())
        sizes = known_sizes(dims)
        if sizes and len(sizes) == rank - 1:
            return sizes
        return None


def timed_core(core: onnx.ModelProto, model: StepModel, states: Sequence[Carried]) -> TimedCore:
    """Find out which tensors of a core vary in time, and which nodes hand states on.

    Args:
        core: The core, as `runtime.cut.core` made it of `model`.
        model: The step graph.
        states: The states of the core.
    """
    # a pass has one tensor for a state at its start, one at its end, and these for all steps
    names = {}
    for state in states:
        names[state.input] = f"{OWN}{state.input}/past"
        names[state.output] = f"{OWN}{state.output}/now"
    nodes = [renamed(node, names) for node in core.graph.node]
    first = {names[state.input]: state.input for state in states}
    final = {names[state.input]: state.output for state in states}
    inside = []
    for state in states:
        past, now = names[state.input], names[state.output]
        inside.append(Carried(past, now, state.rank))

    ranks = {}
    types = {}
    for value in _declared(core, model):
        name = names.get(value.name, value.name)
        tensor = value.type.tensor_type
        ranks[name] = len(tensor.shape.dim)
        types[name] = tensor.elem_type
    reached = downstream(nodes, first).tensors
    time_varying = frozenset(str(name) for name in reached)
    constants = Constants(core.graph.initializer)
    shapes = shape_kinds(nodes, constants, time_varying)
    return TimedCore(
        nodes=nodes,
        recurrences=recurrences(nodes, inside),
        first=first,
        final=final,
        facts=TensorFacts(ranks, constants, time_varying, shapes),
        types=types,
        dims=_neuron_dims(nodes, model),
    )


def known_sizes(dims: Sequence[Dim]) -> list[int]:
    """Return the sizes behind the leading axis, if all of them are known; else none."""
    behind = dims[1:]
    sizes = [size for size in behind if isinstance(size, int)]
    if len(sizes) < len(behind):
        return []
    return sizes


def _declared(core: onnx.ModelProto, model: StepModel) -> Iterator[onnx.ValueInfoProto]:
    """Yield the tensors whose ranks and types are declared, the surest word last."""
    yield from core.graph.input
    yield from core.graph.output
    yield from core.graph.value_info
    yield from model.proto.graph.value_info


def _neuron_dims(nodes: Sequence[onnx.NodeProto], model: StepModel) -> dict[str, Sequence[Dim]]:
    """Shapes of spikes, and of the currents their neurons take."""
    dims: dict[str, Sequence[Dim]] = {}
    for neuron in model.metadata["neurons"]:
        dims[neuron["spikes"]] = neuron["shape"]
    currents = {}
    for node in nodes:
        spikes = node.output[0]
        if spikes in dims:
            currents[node.input[0]] = dims[spikes]
    return {**dims, **currents}


def inputs_of(unit: Unit) -> list[str]:
    """The tensors a unit needs from others."""
    if isinstance(unit, Recurrence):
        return unit.taken
    return [name for name in unit.input if name]


def outputs_of(unit: Unit) -> list[str]:
    """The tensors a unit makes, states before each step among them."""
    if isinstance(unit, Recurrence):
        return [*unit.made, *unit.before]
    return list(unit.output)
