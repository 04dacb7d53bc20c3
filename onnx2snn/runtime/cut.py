"""One step graph -> encoder, core and readout models.

Nothing but the graph says where to cut: what depends on no state is constant in time (encoder), what the next states
need runs every step (core), and the rest is computed when an answer is asked for (readout).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx
from onnx import TensorProto, helper

from onnx2snn.errors import ModelFileError
from onnx2snn.graph.editing import SNN_DOMAIN
from onnx2snn.protos.load import ROLLOUT_KEY, metadata_of
from onnx2snn.snn.neurons import BY_OP

FORMAT = 1


@dataclass(frozen=True)
class State:
    """One state of the step graph; `mean` names the tensor a readout sum is the numerator of."""

    input: str
    output: str
    rank: int
    kind: str
    mean: str | None = None


@dataclass(frozen=True)
class StepModel:
    """An emitted model with its metadata, and the tensors at which it can be cut."""

    proto: onnx.ModelProto
    metadata: dict[str, Any]
    states: tuple[State, ...]
    to_core: tuple[str, ...]
    to_readout: tuple[str, ...]
    """Tensors the readout takes from the encoder."""

    @cached_property
    def means(self) -> tuple[str, ...]:
        """Tensors the readout takes from the core: means over the evaluation window."""
        return tuple(s.mean for s in self.states if s.mean is not None)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The ANN's own outputs."""
        given = {s.output for s in self.states}
        return tuple(v.name for v in self.proto.graph.output if v.name not in given)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The ANN's own inputs."""
        given = {s.input for s in self.states}
        return tuple(v.name for v in self.proto.graph.input if v.name not in given)


def step_model(proto: onnx.ModelProto, name: str) -> StepModel:
    """Read an emitted model's description (ModelFileError where it has none, or one that is damaged or newer)."""
    text = metadata_of(proto)
    if metadata_of(proto, ROLLOUT_KEY) is not None:
        raise ModelFileError(f"'{name}' is a rollout, which runs by itself; give the spiking model it was made from")
    if text is None:
        raise ModelFileError(f"'{name}' is not a spiking model; convert it first: onnx2snn {name} -o OUT.onnx")
    try:
        metadata = json.loads(text)
        version = metadata.get("format")
        if version != FORMAT:
            raise ModelFileError(f"'{name}' has format {version}; this version reads {FORMAT}: update onnx2snn")
        states = tuple(State(s["input"], s["output"], s["rank"], s["kind"], s.get("mean")) for s in metadata["states"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"the description inside '{name}' is damaged; convert the ANN again") from error
    return StepModel(proto, metadata, states, *_boundaries(proto, states))


def _boundaries(proto: onnx.ModelProto, states: Sequence[State]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    nodes = proto.graph.node
    known = {t.name for t in proto.graph.initializer}
    moving = moving_tensors(proto, states)
    needed = needed_tensors(proto, states)
    core = [n for n in nodes if moving.intersection(n.output) and needed.intersection(n.output)]
    means = {s.mean for s in states}
    readout = [
        n
        for n in nodes
        if moving.intersection(n.output) and not needed.intersection(n.output) and not means.intersection(n.output)
    ]
    return _static_inputs(core, moving, known), _static_inputs(readout, moving, known)


def needed_tensors(proto: onnx.ModelProto, states: Sequence[State]) -> set[str]:
    """The tensors that the next states are made of, themselves among them."""
    needed = {s.output for s in states}
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed


def moving_tensors(proto: onnx.ModelProto, states: Sequence[State]) -> set[str]:
    """The tensors that depend on a state, the states themselves among them."""
    moving = {s.input for s in states}
    for node in proto.graph.node:
        if moving.intersection(node.input):
            moving.update(node.output)
    return moving


def _static_inputs(nodes: Iterable[onnx.NodeProto], moving: set[str], known: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t for n in nodes for t in n.input if t and t not in moving and t not in known))


def encoder(model: StepModel) -> onnx.ModelProto | None:
    """Inputs -> what core and readout take from them; None where they take the inputs themselves."""
    wanted = dict.fromkeys([*model.to_core, *model.to_readout, *_static_outputs(model)])
    made = [name for name in wanted if name not in model.inputs]
    return extract(model.proto, model.inputs, made) if made else None


def _static_outputs(model: StepModel) -> list[str]:
    """Outputs of the model that no neuron has a part in."""
    moving = moving_tensors(model.proto, model.states)
    return [name for name in model.outputs if name not in moving]


@dataclass(frozen=True)
class Counter:
    """One more state of the core, that sums a neuron's spikes, or their heights (`absolute`: a spike of -1 adds 1)."""

    neuron: str
    spikes: str
    rank: int
    absolute: bool

    @property
    def input(self) -> str:
        """The count before the step."""
        return f"{SNN_DOMAIN}/{'activity' if self.absolute else 'count'}/{self.neuron}"

    @property
    def output(self) -> str:
        """The count after the step."""
        return f"{self.input}/next"


def counters(model: StepModel, *, counts: bool, activity: bool) -> list[Counter]:
    """The counters asked for; neurons that take nothing back need one for both."""
    found = []
    for neuron in model.metadata["neurons"]:
        kinds = [False] * counts + [True] * activity
        kinds = kinds if BY_OP[neuron["kind"]].signed else [False] * min(len(kinds), 1)
        found += [Counter(neuron["name"], neuron["spikes"], len(neuron["shape"]), kind) for kind in kinds]
    return found


def core(model: StepModel, *, spikes: bool = False, count: Sequence[Counter] = ()) -> onnx.ModelProto:
    """What the encoder hands over and the states -> the next states; `spikes` adds every neuron's spikes as outputs,
    `count` states that sum them. The readout's sums never start afresh: the host knows the delay."""
    inputs = [*model.to_core, *(s.input for s in core_states(model))]
    neurons = model.metadata["neurons"]
    outputs = [s.output for s in core_states(model)] + ([n["spikes"] for n in neurons] if spikes else [])
    kept = _kept_sums(model)
    proto = extract(model.proto, [*inputs, *kept], outputs)
    for index in [i for i, value in enumerate(proto.graph.input) if value.name in kept][::-1]:
        del proto.graph.input[index]
    for node in proto.graph.node:
        node.input[:] = [kept.get(t, t) for t in node.input]
    given = {value.name for value in proto.graph.input}
    types = {value.name: value for value in model.proto.graph.input}
    proto.graph.input.extend(types[name] for name in inputs if name in types and name not in given)
    for counter in count:
        dims = [None] * counter.rank
        height = counter.spikes
        if counter.absolute:
            height = f"{counter.input}/height"
            proto.graph.node.append(helper.make_node("Abs", [counter.spikes], [height], height))
            proto.graph.value_info.append(helper.make_tensor_value_info(height, TensorProto.FLOAT, dims))
        proto.graph.input.append(helper.make_tensor_value_info(counter.input, TensorProto.FLOAT, dims))
        proto.graph.output.append(helper.make_tensor_value_info(counter.output, TensorProto.FLOAT, dims))
        proto.graph.node.append(helper.make_node("Add", [counter.input, height], [counter.output], counter.input))
    return proto


def core_states(model: StepModel) -> list[State]:
    """The states the core carries: all but the counter, since the host counts the steps itself."""
    return [s for s in model.states if s.kind != "step"]


def _kept_sums(model: StepModel) -> dict[str, str]:
    """What the sums become where they start afresh after the delay: tensor -> the state it is made of."""
    sums = {s.input for s in model.states if s.mean is not None}
    return {n.output[0]: n.input[0] for n in model.proto.graph.node if n.op_type == "Mul" and n.input[0] in sums}


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node with other tensors in place of some."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(t, t) for t in node.input]
    copy.output[:] = [names.get(t, t) for t in node.output]
    return copy


def readout(model: StepModel) -> onnx.ModelProto | None:
    """Means (and what the encoder hands over) -> the outputs; None where the outputs are the means themselves."""
    made = [name for name in model.outputs if name not in model.means and name not in _static_outputs(model)]
    return extract(model.proto, [*model.means, *model.to_readout], made) if made else None


def extract(proto: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """The part of a model between these tensors, with the functions it uses."""
    graph = proto.graph
    types = {v.name: v for v in [*graph.value_info, *graph.input, *graph.output]}
    wanted, stop = set(outputs), set(inputs)
    nodes = []
    for node in reversed(graph.node):
        if wanted.difference(stop).intersection(node.output):
            nodes.append(node)
            wanted.update(node.input)
    part = helper.make_graph(
        nodes[::-1], graph.name, [types[n] for n in inputs if n in wanted], [types[n] for n in outputs]
    )
    functions = [f for f in proto.functions if any(n.domain == SNN_DOMAIN for n in nodes)]
    model = helper.make_model(part, opset_imports=proto.opset_import, functions=functions, ir_version=proto.ir_version)
    model.graph.initializer.extend(t for t in graph.initializer if t.name in wanted)  # each weight copied only once
    return model


def neuron_nodes(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The neuron nodes of an emitted model; input 1 is the membrane potential."""
    return [n for n in proto.graph.node if n.domain == SNN_DOMAIN and n.op_type in BY_OP]
