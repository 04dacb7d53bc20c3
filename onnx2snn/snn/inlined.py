"""Neurons whose functions were inlined, by onnxruntime's optimiser or `onnx.inliner` for instance.

The node is gone, but the names in the description are still there: the tensor of the spikes, and
the states before and after the step. What lies between them is the neuron, whatever operators it
now consists of:

    m = x + u  ->  ...  ->  spikes, u_next (and n_next)
    e = y - n  ->  ...  ->  spikes, n_next

Each is told as the one node that it was before, less its attributes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto, helper

from onnx2snn.snn.format import SNN_DOMAIN, Metadata, NeuronEntry, StateEntry
from onnx2snn.snn.neurons import BY_OP, ESTIMATING, neuron_nodes


@dataclass(frozen=True)
class _Body:
    """The nodes that a neuron was inlined to, and the node that stands for them."""

    first: NodeProto
    nodes: Sequence[NodeProto]
    neuron: NodeProto


def nodes_with_neurons(proto: onnx.ModelProto, metadata: Metadata) -> list[NodeProto]:
    """Return the nodes of a step graph, in which every neuron that can be found is one node."""
    bodies = list(_bodies(proto, metadata))
    if not bodies:
        return list(proto.graph.node)
    neurons = {id(body.first): body.neuron for body in bodies}
    inside = {id(node) for body in bodies for node in body.nodes}
    nodes = []
    for node in proto.graph.node:
        if id(node) in neurons:
            nodes.append(neurons[id(node)])
        elif id(node) not in inside:
            nodes.append(node)
    return nodes


def with_plain_casts(proto: onnx.ModelProto, metadata: Metadata) -> onnx.ModelProto:
    """Return a step graph in which no inlined neuron makes its constants of its current.

    The functions cast them to the type of x, which is that of the states: float32. As it stands a
    threshold would depend on spikes. A graph in which nothing was inlined is returned as it is.
    """
    if not any(_bodies(proto, metadata)):
        return proto
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    for body in _bodies(plain, metadata):
        current = body.neuron.input[0]
        for node in body.nodes:
            if node.op_type == "CastLike" and node.input[1] == current:
                node.op_type = "Cast"
                del node.input[1]
                node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    return plain


def _bodies(proto: onnx.ModelProto, metadata: Metadata) -> Iterator[_Body]:
    """Find what the neurons without a node were inlined to."""
    present = {node.name for node in neuron_nodes(proto.graph.node)}
    entries = [entry for entry in metadata["neurons"] if entry["name"] not in present]
    if not entries:
        return
    states = {state["input"]: state for state in metadata["states"]}
    wires = _Wires(proto.graph.node, _of_time_alone(proto, metadata))
    for entry in entries:
        if entry["kind"] not in BY_OP:
            continue
        labels = [label for label, _ in BY_OP[entry["kind"]].states]
        own = [states.get(f"{entry['name']}/{label}") for label in labels]
        known = [state for state in own if state is not None]
        if len(known) == len(own):
            body = _body(wires, entry, known)
            if body is not None:
                yield body


def _of_time_alone(proto: onnx.ModelProto, metadata: Metadata) -> set[str]:
    """Return what is made of the number of steps and of constants: C, where its digits change."""
    if "later_digits" not in metadata:
        return set()
    sent = {f"{neuron['name']}/sent" for neuron in metadata["neurons"]}
    counts = [state["input"] for state in metadata["states"] if state["kind"] == "count"]
    timed = {name for name in counts if name not in sent}
    constant = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        taken = set(node.input)
        if taken <= constant:
            constant.update(node.output)
        elif all(name in timed or name in constant for name in taken):
            timed.update(node.output)
    return timed


class _Wires:
    """Who makes and who takes the tensors of some sorted nodes; `timed` are of time alone."""

    def __init__(self, nodes: Sequence[NodeProto], timed: set[str]) -> None:
        self.nodes = list(nodes)
        self.timed = timed
        self.makers: dict[str, int] = {}
        """The position of the node that makes a tensor."""
        self.takers: dict[str, list[NodeProto]] = {}
        for place, node in enumerate(self.nodes):
            self.makers.update(dict.fromkeys(node.output, place))
            for name in dict.fromkeys(node.input):
                self.takers.setdefault(name, []).append(node)

    def upstream(self, tensors: Sequence[str], stop: Collection[str]) -> list[NodeProto]:
        """Return what some tensors are made by, the last first, but nothing before some others.

        What lies elsewhere is not looked at: there are as many walks as neurons.
        """
        places: set[int] = set()
        waiting = list(tensors)
        while waiting:
            name = waiting.pop()
            place = self.makers.get(name)
            ends = name in stop or name in self.timed
            if ends or place is None or place in places:
                continue
            places.add(place)
            waiting.extend(filter(None, self.nodes[place].input))
        return [self.nodes[place] for place in sorted(places, reverse=True)]


def _body(
    wires: _Wires,
    entry: NeuronEntry,
    states: Sequence[StateEntry],
) -> _Body | None:
    """Return the nodes between a neuron's current and its spikes, or None where they are not."""
    before = [state["input"] for state in states]
    after = [state["output"] for state in states]
    first = _first(wires.takers.get(before[0], []), entry["kind"], before[0])
    if first is None:
        return None
    (current,) = [name for name in first.input if name != before[0]]
    made = [entry["spikes"], *after]
    inside = wires.upstream(made, stop=[current, *before])
    outputs = {name for node in inside for name in node.output}
    if not outputs.issuperset(made):
        return None
    neuron = helper.make_node(
        entry["kind"], [current, *before], made, entry["name"], domain=SNN_DOMAIN
    )
    return _Body(first, inside, neuron)


def _first(takers: Sequence[NodeProto], kind: str, state: str) -> NodeProto | None:
    """Return which taker of a neuron's first state takes its current, too, if there is one."""
    if kind in ESTIMATING:
        # e = y - n; the other one adds what was sent
        errors = [node for node in takers if node.op_type == "Sub" and node.input[1] == state]
        return errors[0] if len(errors) == 1 else None
    # m = x + u is the only node that takes the potential
    is_sum = len(takers) == 1 and takers[0].op_type == "Add"
    return takers[0] if is_sum else None
