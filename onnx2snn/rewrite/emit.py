"""Spiking graph -> the step graph: state inputs and outputs, neuron functions, metadata.

Every state starts as zeros, and zeros of shape [1, ..., 1] will do: the graph broadcasts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from onnx2snn.graph.editing import add_node, constant, drop, names_in, tidy, to_proto, variable
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Partition
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.specs import input_specs
from onnx2snn.rewrite.lowering import Lowering, onnx_type
from onnx2snn.rewrite.telescope import lower_telescoped
from onnx2snn.snn.fast_neurons import function_for
from onnx2snn.snn.format import FORMAT, SNN_DOMAIN, Metadata, NeuronEntry, describe
from onnx2snn.snn.neurons import BY_OP, attributes
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, INCREASE, MEAN_SO_FAR, RUNNING_MEAN
from onnx2snn.snn.step_model import State, boundaries
from onnx2snn.version import __version__

MINIMUM_IR = 10


def annotate(
    graph: Graph,
    parts: Partition,
    model: LoadedModel,
    settings: dict[str, Any],
    *,
    timesteps: int,
    delay: int,
    delay_auto: int,
    calibrated: bool,
) -> onnx.ModelProto:
    """The emitted model. `delay` and `delay_auto` are in steps; the graph given is changed."""
    step, neurons = lower(graph, parts, model, delay)
    proto = _export(step, model)
    states = tuple(State.of(entry) for entry in step.states)
    to_core, _ = boundaries(proto, states)
    metadata = Metadata(
        format=FORMAT,
        tool=f"onnx2snn {__version__}",
        source_sha256=model.sha256,
        settings=settings,
        timesteps=timesteps,
        delay=delay,
        delay_auto=delay_auto,
        states=step.states,
        neurons=neurons,
        analog=[node.name for node in step.graph.nodes if node.name in parts.names("analog")],
        parts={
            "encoder": list(to_core),
            "readout": [state.mean for state in states if state.mean is not None],
        },
        calibrated=calibrated,
    )
    describe(proto, metadata)
    return proto


def lower(
    graph: Graph, parts: Partition, model: LoadedModel, delay: int, dtype: Any = np.float32
) -> tuple[Lowering, list[NeuronEntry]]:
    """Replace the stateful operators by standard ones and neuron functions with explicit states.

    Returns the lowering and the metadata entry of each neuron site. The graph given is changed.
    """
    names = frozenset(
        d for s in input_specs(model.proto) for d in s.shape or () if isinstance(d, str)
    )
    step = Lowering(graph, np.dtype(dtype), names, names_in(graph))
    divisor = _clock(step, delay)
    rules = {ACCUMULATED_MAX_POOL: _max_pool} | dict.fromkeys(BY_OP, _neuron)
    lower_telescoped(step, [n for n in graph.nodes if n.op in (MEAN_SO_FAR, INCREASE)])
    for node in list(graph.nodes):
        if node.domain == SNN_DOMAIN and node.op in rules:
            rules[node.op](step, node)
        elif node.domain == SNN_DOMAIN and node.op == RUNNING_MEAN:
            _running_mean(step, node, *divisor)
    graph.inputs.extend(before for before, _ in step.extra)
    graph.outputs.extend(after for _, after in step.extra)
    firing = {
        node.name: node for node in graph.nodes if node.op in BY_OP and node.domain == SNN_DOMAIN
    }
    neurons: list[NeuronEntry] = [
        {
            "name": site.name,
            "kind": BY_OP[firing[site.name].op].op,
            "source": site.source,
            "spikes": firing[site.name].outputs[0].name,
            "channels": site.channels,
            "shape": step.shape(firing[site.name].outputs[0]),
        }
        for site in parts.sites
    ]
    tidy(graph)
    return step, neurons


def _clock(step: Lowering, delay: int) -> tuple[Tensor, Tensor | None]:
    """Count the steps: (how many the running means go over, a factor that is 0 in the step that starts them afresh)."""
    before, now = step.state("step", variable("step", shape=[1]), "step")
    step.emit("Add", [before, step.number("step/one", 1)], now)
    if delay == 0:
        return now, None
    bound = step.number("delay", delay)
    scalar = variable("scalar", shape=[1], dtype=step.dtype)
    since = step.node("Sub", "step/since_delay", [now, bound], scalar)
    passed = step.node("Greater", "delay/passed", [now, bound], scalar, dtype=np.bool_)
    count = step.node("Where", "step/window", [passed, since, now], scalar)
    first = step.node(
        "Equal", "delay/over", [now, step.number("delay/first", delay + 1)], scalar, dtype=np.bool_
    )
    keep = step.node(
        "Cast",
        "delay/keep",
        [step.node("Not", "delay/not_over", [first], scalar, dtype=np.bool_)],
        scalar,
        to=onnx_type(step.dtype),
    )
    return count, keep


def _neuron(step: Lowering, node: Node) -> None:
    spikes, neuron = node.outputs[0], BY_OP[node.op]
    for label, kind in neuron.states:
        before, after = step.state(f"{node.name}/{label}", spikes, kind)
        node.inputs.append(before)
        node.outputs.append(after)
    given = node.attrs
    node.attrs = attributes(neuron, given["levels"], given["v_init"], given["scale"])


def _running_mean(step: Lowering, node: Node, count: Tensor, keep: Tensor | None) -> None:
    x, mean = node.inputs[0], node.outputs[0]
    before, after = step.state(f"{x.name}/sum", mean, "sum", mean=mean.name)
    drop(step.graph, node)
    kept = before
    if keep is not None:
        kept = step.node("Mul", f"{x.name}/kept", [before, step.number_for(keep, x)], like=before)
    step.emit("Add", [kept, step.computed(x)], after)
    step.emit_computed("Div", [after, step.number_for(count, x)], mean)


def _max_pool(step: Lowering, node: Node) -> None:
    """y(t) = maxpool(S(t)) - maxpool(S(t-1)), S the sum of the current so far."""
    x, y = node.inputs[0], node.outputs[0]
    attrs = dict(node.attrs)
    op, name = attrs.pop("pool"), node.name
    drop(step.graph, node)
    before, total = step.state(f"{name}/sum", x, "sum")
    pooled_before, pooled = step.state(f"{name}/history", y, "history")
    step.emit("Add", [before, x], total)
    add_node(step.graph, op, name, [total], [pooled], attrs)
    step.emit("Sub", [pooled, pooled_before], y)


def _export(step: Lowering, model: LoadedModel) -> onnx.ModelProto:
    graph = step.graph
    states = len(step.extra)
    proto = to_proto(graph, max(MINIMUM_IR, model.proto.ir_version))
    version = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    if not any(o.domain == SNN_DOMAIN for o in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(SNN_DOMAIN, 1))
    for opset in [o for o in proto.opset_import if o.domain == SNN_DOMAIN]:
        opset.version = 1
    for op in BY_OP:
        nodes = [
            node for node in proto.graph.node if node.domain == SNN_DOMAIN and node.op_type == op
        ]
        if nodes:
            proto.functions.append(
                function_for(op, version, nodes, single=step.dtype == np.float32)
            )
    proto.producer_name, proto.producer_version = "onnx2snn", __version__
    proto.graph.name = model.proto.graph.name or "snn"
    _as_original(proto.graph.input, model.proto.graph.input, states)
    _as_original(proto.graph.output, model.proto.graph.output, states)
    _keep_boundary_types(graph, proto)
    return proto


def _as_original(values: Any, original: Any, states: int) -> None:
    """The ANN's own inputs and outputs keep the names, types and shapes they came with."""
    by_name = {v.name: v for v in original}
    for value in values[: len(values) - states]:
        value.CopyFrom(by_name[value.name])


def _keep_boundary_types(graph: Graph, proto: onnx.ModelProto) -> None:
    """Of the inner tensors only type and rank are kept: enough to cut the graph, and true at every resolution."""
    del proto.graph.value_info[:]
    known = {v.name for v in [*proto.graph.input, *proto.graph.output]}
    for name, tensor in sorted(graph.tensors().items()):
        if (
            name not in known
            and constant(tensor) is None
            and tensor.dtype is not None
            and tensor.shape is not None
        ):
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
            proto.graph.value_info.append(
                helper.make_tensor_value_info(name, kind, [None] * len(tensor.shape))
            )
