"""How many synapses a spike of each neuron arrives at, and what is computed without spikes: exact, from the graph.

A spike is followed through whatever is linear and has no weights of its own (pools, reshapes, concats, scales) to the
next weighted operators, whose products it takes part in are its synapses; borders, strides, groups and dilations count
as they are, every weight counts, zero or not. Where it joins a current instead (an identity shortcut, or the state of
an operator that does not spike) it is one synapse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import SHAPE_ONLY, standard, standard_opset
from onnx2snn.protos.sessions import open_session
from onnx2snn.score.connections import PATTERNS, Wire, data_inputs, fan_out, operations, window_size
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP
from onnx2snn.snn.step_model import StepModel, needed_tensors, time_varying_tensors

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")
POOLS = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "LpPool")
SUMS = ("Add", "Sub", "Sum", "Mean")
ARITHMETIC = (
    "Mul",
    "Div",
    "Neg",
    "BatchNormalization",
    "ReduceMean",
    "ReduceSum",
    "CumSum",
    "Resize",
    "Upsample",
)
"""Linear operators that compute; others only move elements, or add currents, which a membrane does anyway."""


@dataclass(frozen=True)
class Wiring:
    """What a spiking model computes with, for one sample of one input shape.

    `fan_out`: synapses of each neuron, by site, flattened. Floating-point operations beside the synapses (a
    multiply-accumulate is one): `encoder` once an input, `step` each time-step, `readout` once an answer.
    """

    fan_out: Mapping[str, Array]
    encoder: float
    step: float
    readout: float


def wiring(model: StepModel, feed: Mapping[str, Array]) -> Wiring:
    """Count synapses and operations for the samples of `feed`, which are alike."""
    proto = model.proto
    (batch,) = {len(value) for value in feed.values()}
    zeros = {s.input: np.zeros([1] * s.rank, np.float32) for s in model.states}
    values = all_values(proto, {**feed, **zeros})
    flow = _Flow(values, standard_opset(proto), _averages(model))
    for state in model.states:
        if state.mean is None and state.kind not in ("membrane", "step"):
            flow.mark(state.input, True)
    nodes = flow.forward(proto.graph.node)
    flow.backward(nodes)
    needed = needed_tensors(proto, model.states)
    costs = dict.fromkeys((False, True), 0.0)
    for node in nodes:
        costs[bool(needed.intersection(node.output))] += flow.cost(node)
    sites = {
        n["name"]: flow.reached(n["spikes"]).reshape(batch, -1)[0]
        for n in model.metadata["neurons"]
    }
    return Wiring(
        sites, _encoder_cost(model, values) / batch, costs[True] / batch, costs[False] / batch
    )


def multiply_accumulates(proto: onnx.ModelProto, feed: Mapping[str, Array]) -> float:
    """An ANN's multiply-accumulates for one sample, those of its weighted operators alone, as the field counts them."""
    (batch,) = {len(value) for value in feed.values()}
    values = all_values(proto, feed)
    weighted = (node for node in proto.graph.node if node.op_type in WEIGHTED and standard(node))
    return sum(operations(Wire(node, 0, values)) for node in weighted) / batch


def all_values(proto: onnx.ModelProto, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of a model outside subgraphs, for one feed."""
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    given = {v.name for v in proto.graph.output}
    made = dict.fromkeys(name for node in proto.graph.node for name in node.output if name)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in given)
    names = [v.name for v in probe.graph.output]
    found = dict(zip(names, open_session(probe, None).run(None, dict(feed)), strict=True))
    weights = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    return {
        name: value
        for name, value in {**weights, **feed, **found}.items()
        if isinstance(value, np.ndarray)
    }


def _averages(model: StepModel) -> dict[str, str]:
    """Of each running mean the tensor it is the mean of; spikes pass as if straight through."""
    made = {name: node for node in model.proto.graph.node for name in node.output}
    return {s.mean: made[s.output].input[1] for s in model.states if s.mean is not None}


def _encoder_cost(model: StepModel, values: Mapping[str, Array]) -> float:
    """Everything that is made of the inputs, and of no state."""
    moving = time_varying_tensors(model.proto, model.states)
    flow = _Flow(values, standard_opset(model.proto), {})
    for name in model.inputs:
        flow.mark(name, True)
    nodes = flow.forward(n for n in model.proto.graph.node if not moving.intersection(n.output))
    return sum(flow.cost(node) for node in nodes)


@dataclass
class _Flow:
    """What is analog in each tensor (elementwise; the rest is spikes), and the synapses a spike there arrives at.

    Tensors that neither spikes nor analog values have a part in are constants, and in neither.
    """

    values: Mapping[str, Array]
    opset: int
    averages: Mapping[str, str]
    analog: dict[str, Array] = field(default_factory=dict)
    counts: dict[str, Array] = field(default_factory=dict)

    def mark(self, name: str, marks: Array | bool) -> None:
        """Say what is analog in a tensor."""
        if name in self.values:
            self.analog[name] = np.broadcast_to(marks, self.values[name].shape)

    def reached(self, name: str) -> Array:
        """Synapses that a spike at each element of a tensor arrives at, as far as counted."""
        return self.counts.get(name, np.zeros(self.values[name].shape))

    def wires(self, node: onnx.NodeProto, output: int = 0) -> list[Wire]:
        """The inputs that spikes or analog values have a part in."""
        moving = (index for index, name in enumerate(node.input) if name in self.analog)
        return [Wire(node, self.opset, self.values, index, output) for index in moving]

    def forward(self, nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Mark everything downstream of the neurons and of what is marked; the nodes that have a part in it."""
        met = []
        for node in nodes:
            mean = next((name for name in node.output if name in self.averages), None)
            if mean is not None:
                self.mark(mean, self.analog[self.averages[mean]])
                met.append(node)
            elif _is_neuron(node):
                self.mark(node.output[0], False)
                met.append(node)
            elif (wires := self.wires(node)) and not (
                node.op_type in SHAPE_ONLY and standard(node)
            ):
                linear = self._linear(node, wires)
                for output, name in enumerate(node.output):
                    self.mark(
                        name, self._pushed(self.wires(node, output)) if name and linear else True
                    )
                met.append(node)
        return met

    def backward(self, nodes: list[onnx.NodeProto]) -> None:
        """Count synapses, from the last node to the first."""
        for node in reversed(nodes):
            mean = next((name for name in node.output if name in self.averages), None)
            if mean is not None:
                self._arrive(self.averages[mean], self.reached(mean))
            elif _is_neuron(node):
                self._arrive(node.input[0], 1.0)
            else:
                self._back(node)

    def _back(self, node: onnx.NodeProto) -> None:
        wires = self.wires(node)
        linear = self._linear(node, wires)
        for wire in wires:
            if self.analog[node.input[wire.index]].all():
                continue  # no spike comes this way
            if node.op_type in WEIGHTED and len(wires) == 1:
                self._arrive(node.input[wire.index], fan_out(wire))
            elif not linear:
                self._arrive(node.input[wire.index], 1.0)
            else:
                for output, name in enumerate(node.output):
                    if name:
                        others = [w for w in self.wires(node, output) if w.index != wire.index]
                        joined = self._pushed(others) if others else False
                        onward = np.where(joined, 1.0, self.reached(name))  # 1: it joins a current
                        own = Wire(node, self.opset, self.values, wire.index, output)
                        self._arrive(
                            node.input[wire.index], PATTERNS[node.op_type](own).pull(onward)
                        )

    def cost(self, node: onnx.NodeProto) -> float:
        """Floating-point operations of a node that are no synapses."""
        wires = self.wires(node)
        if not wires or _is_neuron(node) or any(name in self.averages for name in node.output):
            return 0.0
        sizes = sum(self.values[name].size for name in node.output if name in self.values)
        if node.op_type in WEIGHTED and standard(node):
            marks = self.analog[node.input[wires[0].index]]
            whole = len(wires) > 1 or marks.all()
            return operations(wires[0]) if whole else float(np.sum(fan_out(wires[0]) * marks))
        if node.op_type in POOLS:
            return float(math.prod(wires[0].out) * window_size(wires[0]))
        if self._linear(node, wires) and node.op_type not in ARITHMETIC:
            return 0.0
        return float(
            max(sizes, math.prod(wires[0].shape)) if node.op_type.startswith("Reduce") else sizes
        )

    def _linear(self, node: onnx.NodeProto, wires: list[Wire]) -> bool:
        """Whether spikes go on behind a node that has no weights."""
        if not standard(node) or node.op_type not in PATTERNS:
            return False
        if any(a.name == "reduction" and a.s not in (b"", b"none") for a in node.attribute):
            return False
        moving = {wire.index for wire in wires}
        return moving <= set(data_inputs(node)) and not (node.op_type == "Mul" and len(moving) > 1)

    def _pushed(self, wires: list[Wire]) -> Array:
        """What is analog in a linear node's output."""
        marks = [self.analog[wire.node.input[wire.index]] for wire in wires]
        pattern = PATTERNS[wires[0].node.op_type]
        if not any(mark.any() for mark in marks):
            return np.zeros(wires[0].out, bool)
        joined: Array = np.any(
            [pattern(wire).push(mark) for wire, mark in zip(wires, marks, strict=True)], axis=0
        )
        return joined

    def _arrive(self, name: str, counts: Array | float) -> None:
        if name in self.analog:
            self.counts[name] = self.reached(name) + counts


def _is_neuron(node: onnx.NodeProto) -> bool:
    return node.domain == SNN_DOMAIN and node.op_type in BY_OP
