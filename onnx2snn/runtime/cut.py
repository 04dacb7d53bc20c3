"""One step graph -> encoder, core and readout models.

Nothing but the graph says where to cut: what depends on no state is constant in time (encoder), what the next states
need runs every step (core), and the rest is computed when an answer is asked for (readout).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP
from onnx2snn.snn.step_model import State, StepModel, time_varying_tensors


def encoder(model: StepModel) -> onnx.ModelProto | None:
    """Inputs -> what core and readout take from them; None where they take the inputs themselves."""
    wanted = dict.fromkeys([*model.to_core, *model.to_readout, *_static_outputs(model)])
    made = [name for name in wanted if name not in model.inputs]
    return extract(model.proto, model.inputs, made) if made else None


def _static_outputs(model: StepModel) -> list[str]:
    """Outputs of the model that no neuron has a part in."""
    moving = time_varying_tensors(model.proto, model.states)
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
        found += [
            Counter(neuron["name"], neuron["spikes"], len(neuron["shape"]), kind) for kind in kinds
        ]
    return found


def core(
    model: StepModel, *, spikes: bool = False, count: Sequence[Counter] = ()
) -> onnx.ModelProto:
    """What the encoder hands over and the states -> the next states; `spikes` adds every neuron's spikes as outputs,
    `count` states that sum them. The readout's sums never start afresh: the host knows the delay."""
    inputs = [*model.to_core, *(s.input for s in core_states(model))]
    neurons = model.metadata["neurons"]
    outputs = [s.output for s in core_states(model)] + (
        [n["spikes"] for n in neurons] if spikes else []
    )
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
            proto.graph.value_info.append(
                helper.make_tensor_value_info(height, TensorProto.FLOAT, dims)
            )
        proto.graph.input.append(
            helper.make_tensor_value_info(counter.input, TensorProto.FLOAT, dims)
        )
        proto.graph.output.append(
            helper.make_tensor_value_info(counter.output, TensorProto.FLOAT, dims)
        )
        proto.graph.node.append(
            helper.make_node("Add", [counter.input, height], [counter.output], counter.input)
        )
    return proto


def core_states(model: StepModel) -> list[State]:
    """The states the core carries: all but the counter, since the host counts the steps itself."""
    return [s for s in model.states if s.kind != "step"]


def _kept_sums(model: StepModel) -> dict[str, str]:
    """What the sums become where they start afresh after the delay: tensor -> the state it is made of."""
    sums = {s.input for s in model.states if s.mean is not None}
    return {
        n.output[0]: n.input[0]
        for n in model.proto.graph.node
        if n.op_type == "Mul" and n.input[0] in sums
    }


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node with other tensors in place of some."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(t, t) for t in node.input]
    copy.output[:] = [names.get(t, t) for t in node.output]
    return copy


def readout(model: StepModel) -> onnx.ModelProto | None:
    """Means (and what the encoder hands over) -> the outputs; None where the outputs are the means themselves."""
    made = [
        name
        for name in model.outputs
        if name not in model.means and name not in _static_outputs(model)
    ]
    return extract(model.proto, [*model.means, *model.to_readout], made) if made else None


def extract(
    proto: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
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
        nodes[::-1],
        graph.name,
        [types[n] for n in inputs if n in wanted],
        [types[n] for n in outputs],
    )
    functions = [f for f in proto.functions if any(n.domain == SNN_DOMAIN for n in nodes)]
    model = helper.make_model(
        part, opset_imports=proto.opset_import, functions=functions, ir_version=proto.ir_version
    )
    model.graph.initializer.extend(
        t for t in graph.initializer if t.name in wanted
    )  # each weight copied only once
    return model
