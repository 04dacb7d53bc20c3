"""A core seen over many time-steps: which nodes know only their own step, which hand a state on, and facts about tensors.

A state's value in each step is a tensor of its own here, beside the one that comes into a pass and the one that goes out:
`onnx2snn/time/NAME/past` before the step, `onnx2snn/time/NAME/now` after it.
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
        handed_on = {id(node) for unit in self.recurrences for node in unit.nodes}
        return [node for node in self.nodes if id(node) not in handed_on]

    @cached_property
    def wanted(self) -> set[str]:
        """The tensors that a unit takes from others."""
        units: list[Unit] = [*self.free, *self.recurrences]
        return {name for unit in units for name in _taken(unit)}

    def in_order(self) -> Iterator[Unit]:
        """Yield all units, each as early as its inputs allow."""
        units: list[Unit] = [*self.free, *self.recurrences]
        makers = {name: index for index, unit in enumerate(units) for name in _made(unit)}
        sorter: TopologicalSorter[int] = TopologicalSorter()
        for index, unit in enumerate(units):
            before = [makers[name] for name in _taken(unit) if self.facts.varies(name)]
            sorter.add(index, *before)
        sorter.prepare()
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            for index in ready:
                yield units[index]
            sorter.done(*ready)

    def sizes(self, name: str, rank: int) -> list[int] | None:
        """Return a tensor's sizes behind the leading axis, if it has this rank and all are known and there are some."""
        sizes = known_sizes(self.dims.get(name, ()))
        return sizes if sizes and len(sizes) == rank - 1 else None


def timed_core(core: onnx.ModelProto, model: StepModel, states: Sequence[Carried]) -> TimedCore:
    """Find out which tensors of a core vary in time, and which nodes hand states on.

    Args:
        core: The core, as `runtime.cut.core` made it of `model`.
        model: The step graph.
        states: The states of the core.
    """
    graph = core.graph
    names = {state.output: f"{OWN}{state.output}/now" for state in states}
    names |= {state.input: f"{OWN}{state.input}/past" for state in states}
    nodes = [renamed(node, names) for node in graph.node]
    inner = [Carried(names[s.input], names[s.output], s.rank) for s in states]
    first = {names[state.input]: state.input for state in states}
    final = {names[state.input]: state.output for state in states}

    ranks = {}
    types = {}
    for value in [*graph.input, *graph.output, *graph.value_info, *model.proto.graph.value_info]:
        name = names.get(value.name, value.name)
        ranks[name] = len(value.type.tensor_type.shape.dim)
        types[name] = value.type.tensor_type.elem_type
    time_varying = frozenset(str(name) for name in downstream(nodes, first).tensors)
    constants = Constants(graph.initializer)
    shapes = shape_kinds(nodes, constants, time_varying)
    facts = TensorFacts(ranks, constants, time_varying, shapes)
    return TimedCore(
        nodes, recurrences(nodes, inner), first, final, facts, types, _neuron_dims(nodes, model)
    )


def known_sizes(dims: Sequence[Dim]) -> list[int]:
    """Return the sizes behind the leading axis, if all of them are known; else none."""
    sizes = [size for size in dims[1:] if isinstance(size, int)]
    return sizes if len(sizes) == len(dims[1:]) else []


def _neuron_dims(nodes: Sequence[onnx.NodeProto], model: StepModel) -> dict[str, Sequence[Dim]]:
    """Shapes of spikes, and of the currents their neurons take."""
    dims = {neuron["spikes"]: neuron["shape"] for neuron in model.metadata["neurons"]}
    currents = {}
    for node in nodes:
        if node.output[0] in dims:
            currents[node.input[0]] = dims[node.output[0]]
    return {**dims, **currents}


def _taken(unit: Unit) -> list[str]:
    """The tensors a unit needs from others."""
    if isinstance(unit, Recurrence):
        return unit.taken
    return [name for name in unit.input if name]


def _made(unit: Unit) -> list[str]:
    """The tensors a unit makes, states before each step among them."""
    if isinstance(unit, Recurrence):
        return [*unit.made, *(state.input for state in unit.states)]
    return list(unit.output)
