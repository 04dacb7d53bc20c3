"""Synapses of each neuron, and operations beside them: exact, from the graph and one sample.

Borders, strides, groups and dilations count as they are; every weight counts, zero or not.
`score.spike_flow` says how a spike is followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.protos import batch_arrays as arrays
from onnx2snn.protos.batch_types import Place
from onnx2snn.protos.nodes import standard, standard_opset
from onnx2snn.runtime.division import model_axes
from onnx2snn.score.limits import neuron_limits
from onnx2snn.score.node_runs import NodeRun, all_values
from onnx2snn.score.payload import spike_bits
from onnx2snn.score.products import NUMBERS_ONLY, WITH_PRODUCTS, operations
from onnx2snn.score.results import WeightedWork
from onnx2snn.score.spike_flow import SpikeFlow
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import StepModel, needed_tensors, time_varying_tensors


@dataclass(frozen=True)
class Wiring:
    """Synapses and operations of a spiking model, for one sample of one input shape.

    A multiply-accumulate is one floating-point operation.
    """

    fan_out: Mapping[str, Array]
    """Synapses of each neuron, by site, flattened."""
    encoder: float
    """Floating-point operations of the encoder, once an input."""
    step: float
    """Those beside the synapses, each time-step."""
    readout: float
    """Those of the readout, once an answer."""
    weighted: WeightedWork | None = None
    """What feeds the weighted operators."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where the neurons of a site have their samples, by site."""
    bits: Mapping[str, float] = field(default_factory=dict)
    """Bits that a spike carries, by site; 1 where none are told."""


def wiring(model: StepModel, feed: Mapping[str, Array]) -> Wiring:
    """Return the synapses and operations of a sample.

    Args:
        model: The spiking model.
        feed: Inputs of some samples, which are alike.
    """
    proto = model.proto
    batch = _samples(feed)
    flow, nodes = _spike_flow(model, feed)
    wanted = {neuron["spikes"] for neuron in model.metadata["neurons"]}
    flow.backward(nodes, wanted)
    axes = model_axes(model)
    places = {neuron["name"]: axes.of(neuron["spikes"]) for neuron in model.metadata["neurons"]}
    fan_out = {}
    for neuron in model.metadata["neurons"]:
        site = neuron["name"]
        counts = flow.synapses(neuron["spikes"])
        by_sample = samples_first(counts, places[site], batch)
        # of a batch one sample is kept
        fan_out[site] = by_sample[0].copy() if batch > 1 else by_sample[0]
    # nodes that the next states are made of run each step, the others when an answer is asked for
    needed = needed_tensors(proto, model.states)
    step = readout = 0.0
    for node in nodes:
        if needed.isdisjoint(node.output):
            readout += flow.cost(node)
        else:
            step += flow.cost(node)
    encoder_flow, encoder_nodes = _encoder_flow(model, flow.values)
    first = sum(encoder_flow.cost(node) for node in encoder_nodes)
    work = _weighted_work(flow, nodes, needed, (encoder_flow, encoder_nodes))
    return Wiring(
        fan_out, first / batch, step / batch, readout / batch, work, places, spike_bits(model)
    )


def samples_first(values: Array, place: Place, count: int) -> Array:
    """Return the values of neurons by sample: [count, neurons].

    Where it is not known where they have their samples, these are taken to lie along axis 0.
    """
    if place is not None:
        values = arrays.by_sample(values, place)
    return values.reshape(count, -1)


def weighted_work(model: StepModel, feed: Mapping[str, Array]) -> WeightedWork:
    """Return what feeds the weighted operators of a spiking model, from inputs of some samples."""
    flow, nodes = _spike_flow(model, feed)
    needed = needed_tensors(model.proto, model.states)
    encoder = _encoder_flow(model, flow.values)
    return _weighted_work(flow, nodes, needed, encoder)


def _spike_flow(
    model: StepModel, feed: Mapping[str, Array]
) -> tuple[SpikeFlow, list[onnx.NodeProto]]:
    """Return the flow of spikes from the neurons on, and all nodes downstream of them."""
    proto = model.proto
    whole = dict(feed)
    for state in model.states:
        # a state of a single 0 is broadcast
        shape = [1] * state.rank
        whole[state.input] = np.zeros(shape, np.float32)
    values = all_values(proto, whole)
    flow = SpikeFlow(values, standard_opset(proto), _averaged(model))
    sent = set()
    if model.estimates:
        sent = {node.input[1] for node in neuron_nodes(model.nodes)}
    for state in model.states:
        # the state of an operator that does not spike; what neurons have sent are no currents
        spiking = state.kind in ("membrane", "step") or state.input in sent
        if state.mean is None and not spiking:
            flow.mark(state.input, True)
    behind = flow.forward(model.nodes)
    flow.limits = neuron_limits(proto.graph, flow.analog.keys())
    return flow, behind


def multiply_accumulates(proto: onnx.ModelProto, feed: Mapping[str, Array]) -> float:
    """Return an ANN's multiply-accumulates for one sample.

    Those of its weighted operators alone, recurrent ones among them, as the field counts them.
    """
    values = all_values(proto, feed)
    opset = standard_opset(proto)
    total = 0.0
    counted = (*WITH_PRODUCTS, *NUMBERS_ONLY)
    for node in proto.graph.node:
        if node.op_type in counted and standard(node):
            run = NodeRun(node, opset, values)
            total += operations(run)
    return total / _samples(feed)


def _samples(feed: Mapping[str, Array]) -> int:
    (count,) = {len(value) for value in feed.values() if value.ndim}
    return count


def _averaged(model: StepModel) -> dict[str, str]:
    """Return the tensor that each running mean is the mean of."""
    makers = {}
    for node in model.proto.graph.node:
        for name in node.output:
            makers[name] = node
    found = {}
    for state in model.states:
        if state.mean is not None:
            # the next sum is the sum so far plus the tensor
            addition = makers[state.output]
            found[state.mean] = addition.input[1]
    return found


def _weighted_work(
    flow: SpikeFlow,
    nodes: Sequence[onnx.NodeProto],
    needed: Set[str],
    encoder: tuple[SpikeFlow, Sequence[onnx.NodeProto]],
) -> WeightedWork:
    """Return what feeds the weighted operators.

    Args:
        flow: The flow of spikes.
        nodes: All nodes downstream of neurons.
        needed: Tensors that are computed at each step.
        encoder: The flow of the inputs, and the nodes it passes.
    """
    fed = 0
    analog = []
    spikes = each_step = once = 0.0
    weighted = [node for node in nodes if _is_weighted(node)]
    # of the two terms of a product the second one counts
    behind = [node for node in weighted if flow.before.isdisjoint(node.input)]
    for node in behind:
        runs = flow.runs(node)
        products = operations(runs[0])
        marks = flow.analog[runs[0].name]
        synapses = node.op_type in WITH_PRODUCTS and len(runs) == 1
        if synapses and not marks.all():
            fed += 1
            spikes += products
            continue
        analog.append(node.name or node.output[0])
        if needed.isdisjoint(node.output):
            once += products
        else:
            each_step += products
    encoder_flow, encoder_nodes = encoder
    before = [node for node in encoder_nodes if _is_weighted(node)]
    once += sum(operations(encoder_flow.runs(node)[0]) for node in before)
    whole = spikes + once + each_step or 1.0
    return {
        "operators": len(behind) + len(before),
        "fed": fed,
        "spiking": fed,
        "encoder": len(before),
        "analog": analog,
        "spikes": spikes / whole,
        "once": once / whole,
        "each_step": each_step / whole,
    }


def _is_weighted(node: onnx.NodeProto) -> bool:
    return standard(node) and node.op_type in (*WITH_PRODUCTS, *NUMBERS_ONLY)


def _encoder_flow(
    model: StepModel, values: Mapping[str, Array]
) -> tuple[SpikeFlow, list[onnx.NodeProto]]:
    """Return the flow through everything that is made of the inputs, and of no state."""
    time_varying = time_varying_tensors(model.proto, model.states)
    flow = SpikeFlow(values, standard_opset(model.proto), {})
    for name in model.inputs:
        flow.mark(name, True)
    constant = [node for node in model.nodes if time_varying.isdisjoint(node.output)]
    return flow, flow.forward(constant)
