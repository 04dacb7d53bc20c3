"""Who sends to whom in a step graph: the neurons whose spikes a tensor is made of, and the nodes
between.

A walk ends where a neuron begins: at its spikes, at what it has sent, at its state. It does not
enter the encoder, whose tensors are constant in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from onnx2snn.protos.reach import upstream
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import StepModel, needed_tensors, time_varying_tensors

Part = Literal["encoder", "core", "readout"]


@dataclass(frozen=True)
class Afferents:
    """What a tensor is made of in one step.

    Attributes:
        sources: The neuron nodes that it hears, by name, in the order of the graph.
        through: The nodes between these and the tensor, by name, in the order of the graph.
    """

    sources: list[str]
    through: list[str]


class Topology:
    """The connections of one step graph, whose neurons are nodes."""

    def __init__(self, model: StepModel) -> None:
        """Look at all nodes once."""
        nodes = model.proto.graph.node
        self._varying = time_varying_tensors(model.proto, model.states)
        made = [*needed_tensors(model.proto, model.states), *model.taken]
        self._core = upstream(nodes, made).tensors
        self._nodes = list(nodes)
        self._makers: dict[str, int] = {}
        self._senders: dict[str, int] = {}
        neurons = {node.name for node in neuron_nodes(nodes)}
        states = {state.input for state in model.states}
        for index, node in enumerate(nodes):
            if node.name in neurons:
                own = states.intersection(node.input)
                self._senders.update(dict.fromkeys([*node.output, *own], index))
            elif self._varying.intersection(node.output):
                self._makers.update(dict.fromkeys(node.output, index))

    def part_of(self, node: NodeProto) -> Part:
        """Return the part that a node belongs to; divisions that make means are of the core."""
        if self._varying.isdisjoint(node.output):
            return "encoder"
        if self._core.isdisjoint(node.output):
            return "readout"
        return "core"

    def behind(self, tensor: str) -> Afferents:
        """Return what a tensor hears."""
        # `protos.reach` passes over all nodes at each call, and this is called for every neuron
        todo = [tensor]
        seen = set(todo)
        sources: set[int] = set()
        through: set[int] = set()
        while todo:
            name = todo.pop()
            if name in self._senders:
                sources.add(self._senders[name])
                continue
            index = self._makers.get(name)
            if index is None:
                continue
            through.add(index)
            fresh = set(self._nodes[index].input) - seen
            seen |= fresh
            todo += fresh
        return Afferents(self._names(sources), self._names(through))

    def _names(self, indices: set[int]) -> list[str]:
        return [self._nodes[index].name for index in sorted(indices)]
