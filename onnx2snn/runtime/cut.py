"""One step graph -> encoder, core and readout models.

Nothing but the graph says where to cut: what depends on no state is constant in time (encoder),
what the next states need runs every step (core), and the rest is computed when an answer is asked
for (readout).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from onnx2snn.protos.large import infer_model_shapes
from onnx2snn.protos.reach import upstream
from onnx2snn.runtime.spike_counters import SpikeCounter, add_counters
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import State, StepModel, time_varying_tensors


@dataclass(frozen=True)
class Carried:
    """A state of a core: its tensors before and after the step, and their rank."""

    input: str
    output: str
    rank: int


def encoder(model: StepModel) -> onnx.ModelProto | None:
    """Return the part from the inputs to what core and readout take of it.

    None where they take the inputs themselves.
    """
    wanted = [*model.to_core, *model.to_readout, *_static_outputs(model)]
    made = [name for name in dict.fromkeys(wanted) if name not in model.inputs]
    if not made:
        return None
    return extract(model.proto, model.inputs, made)


def core(
    model: StepModel, *, spikes: bool = False, count: Sequence[SpikeCounter] = ()
) -> onnx.ModelProto:
    """Return the part from what the encoder hands over, and the states, to the next states.

    The readout's sums never start afresh in it: the host knows the delay.

    Args:
        model: The step graph.
        spikes: Whether every neuron's spikes are outputs, too.
        count: Further states, that sum the spikes.
    """
    inputs = list(model.to_core)
    outputs = []
    for state in core_states(model):
        inputs.append(state.input)
        outputs.append(state.output)
    if spikes:
        neurons = model.metadata["neurons"]
        outputs += [neuron["spikes"] for neuron in neurons]

    # cut behind the place where sums start afresh, then take the sums themselves
    kept = _kept_sums(model)
    proto = extract(model.proto, [*inputs, *kept], outputs)
    _bypass(proto.graph, kept)
    _add_missing_inputs(proto.graph, inputs, model)
    add_counters(proto.graph, count)
    return proto


def readout(model: StepModel) -> onnx.ModelProto | None:
    """Return the part from means, or states, and what the encoder hands over to the outputs.

    None where the outputs are these themselves.
    """
    known = {*model.taken, *_static_outputs(model)}
    made = [name for name in model.outputs if name not in known]
    if not made:
        return None
    inputs = [*model.taken, *model.to_readout]
    return extract(model.proto, inputs, made)


def neuron_inputs(model: StepModel) -> onnx.ModelProto:
    """Return the part of a model of differential coding from states after a step to what its
    neurons are given, in threshold units.
    """
    after = [state.output for state in model.states]
    given = [node.input[0] for node in neuron_nodes(model.nodes)]
    inputs = [*after, *model.to_core]
    return extract(model.proto, inputs, list(dict.fromkeys(given)))


def core_states(model: StepModel) -> list[State]:
    """Return the states the core carries: all but the counter of steps, which the host counts."""
    return [state for state in model.states if state.kind != "step"]


def carried_states(model: StepModel, count: Sequence[SpikeCounter] = ()) -> tuple[Carried, ...]:
    """Return the states of a core that was cut with these counters, in the order of its outputs."""
    carried = [Carried(s.input, s.output, s.rank) for s in core_states(model)]
    carried += [Carried(c.input, c.output, c.rank) for c in count]
    return tuple(carried)


def _static_outputs(model: StepModel) -> list[str]:
    """Outputs of the model that no neuron has a part in."""
    time_varying = time_varying_tensors(model.proto, model.states)
    return [name for name in model.outputs if name not in time_varying]


def _kept_sums(model: StepModel) -> dict[str, str]:
    """Name the sums where they start afresh after the delay: tensor -> the state it is made of."""
    sums = {state.input for state in model.states if state.mean is not None}
    kept = {}
    for node in model.proto.graph.node:
        # kept = sum * [t is not the first step that counts]
        if node.op_type == "Mul" and node.input[0] in sums:
            kept[node.output[0]] = node.input[0]
    return kept


def _bypass(graph: onnx.GraphProto, kept: Mapping[str, str]) -> None:
    """Take the sums themselves in place of the inputs that are sums started afresh."""
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in kept:
            del graph.input[index]
    for node in graph.node:
        node.input[:] = [kept.get(name, name) for name in node.input]


def _add_missing_inputs(graph: onnx.GraphProto, names: Sequence[str], model: StepModel) -> None:
    """Declare the inputs that `extract` left out, since nothing took them yet.

    These are the sums, whose place was taken where they start afresh.
    """
    declared = {value.name for value in graph.input}
    types = {value.name: value for value in model.proto.graph.input}
    for name in names:
        if name in types and name not in declared:
            graph.input.append(types[name])


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a copy of a node with other tensors in place of some."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    return copy


def extract(
    proto: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Return the part of a model between these tensors, with the functions it uses.

    Inputs that the part does not need are left out.
    """
    graph = proto.graph
    reached = upstream(graph.node, outputs, stop=inputs)
    nodes = reached.nodes[::-1]
    needed = reached.tensors

    taken_names = [name for name in inputs if name in needed]
    types = _types(proto, [*taken_names, *outputs])
    taken = [types[name] for name in taken_names]
    given = [types[name] for name in outputs]
    part = helper.make_graph(nodes, graph.name, taken, given)
    uses_functions = any(node.domain == SNN_DOMAIN for node in nodes)
    model = helper.make_model(
        part,
        opset_imports=proto.opset_import,
        functions=proto.functions if uses_functions else [],
        ir_version=proto.ir_version,
    )
    # appended to the finished model, so that each weight is copied only once
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    model.graph.initializer.extend(weights)
    return model


def _types(proto: onnx.ModelProto, names: Sequence[str]) -> dict[str, onnx.ValueInfoProto]:
    """Return the types of tensors; those that are not declared, as in inlined files, are inferred.

    What cannot be inferred is float, of any shape.
    """
    graph = proto.graph
    declared = {value.name: value for value in [*graph.value_info, *graph.input, *graph.output]}
    if declared.keys() >= set(names):
        return declared
    types = {}
    for name in names:
        types[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    for value in infer_model_shapes(proto).graph.value_info:
        types[value.name] = value
    return types | declared
