"""A rollout at work: its graph, states of zeros, a Loop that carries states, and means."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnx2snn.protos.building import ProtoBuilder
from onnx2snn.protos.walk import bodies
from onnx2snn.runtime.cut import Carried, core_states
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.step_model import State, StepModel

OWN = f"{SNN_DOMAIN}/rollout/"
"""Before the name of every tensor that the step graph does not have."""

ZEROS = f"{OWN}zeros/"
"""Before the names of zeros that states start from."""

Held = dict[str, str]
"""States by the names of their inputs -> the tensors that hold them at some time."""


@dataclass(frozen=True)
class Kept:
    """What a Loop carries beside the states: its tensors in the body, and what it starts with."""

    input: str
    output: str
    start: str
    kind: int
    """The type of its elements, as onnx numbers them."""
    rank: int
    last: str
    """The tensor that holds it after the last iteration."""


class Unrolling:
    """A graph that becomes a rollout: nodes, constants, shapes, inputs and outputs of its own."""

    def __init__(self, step: StepModel) -> None:
        """Start with nothing."""
        self.step = step
        self.build = ProtoBuilder()
        self.types: list[onnx.ValueInfoProto] = []
        self.optional_inputs: list[onnx.ValueInfoProto] = []
        self.more_outputs: list[onnx.ValueInfoProto] = []
        self.states = core_states(step)
        self.sums = [state for state in step.states if state.mean is not None]

    def part(self, proto: onnx.ModelProto | None) -> None:
        """Append a part as it is, if there is one."""
        if proto is not None:
            self.add_constants(proto)
            for node in proto.graph.node:
                self.build.append(node)

    def add_constants(self, proto: onnx.ModelProto) -> None:
        """Take over the constants of a part."""
        for tensor in proto.graph.initializer:
            self.build.constants[tensor.name] = tensor

    def own_name(self, name: str) -> str:
        """Return a name for an input or output of the rollout alone, that the ANN does not have."""
        return f"{SNN_DOMAIN}/{name}" if name in self.step.names else name

    def zeros(self, state: State) -> str:
        """Return a state at the start; it broadcasts to any batch."""
        zeros = np.zeros([1] * state.rank, np.float32)
        return self.build.constant(f"{ZEROS}{state.rank}", zeros)

    def all_zeros(self, states: Sequence[State]) -> Held:
        """Return some states at the start."""
        return {state.input: self.zeros(state) for state in states}

    def loop(
        self,
        prefix: str,
        count: str,
        nodes: Sequence[onnx.NodeProto],
        carried: Sequence[Carried],
        held: Held,
        kept: Sequence[Kept] = (),
    ) -> Held:
        """Append a Loop.

        Args:
            prefix: Before the names of the Loop's own tensors.
            count: Number of iterations, an int64 scalar.
            nodes: The body. It ends the Loop where it makes `<prefix>goes_on`, and that is false.
            carried: The states in the body, in the order of the core's.
            held: The states before the first iteration.
            kept: What it carries beside them.

        Returns:
            The states after the last iteration.
        """
        names = [state.input for state in self.states]
        last = [f"{prefix}last/{name}" for name in names]
        always = self.build.constant(f"{OWN}always", np.array(True))
        taken = [count, always, *(held[name] for name in names), *(one.start for one in kept)]
        made = [*last, *(one.last for one in kept)]
        body = _loop_body(prefix, nodes, carried, kept)
        self.build.node("Loop", taken, made, f"{prefix}loop", body=body)
        return dict(zip(names, last, strict=True))

    def answer(self, held: Held, counted: int) -> None:
        """Append what the readout takes: the means over some steps, or states after the last."""
        if self.step.estimates:
            self.estimates(held)
            return
        length = self.build.constant(f"{OWN}length", np.array([counted], np.float32))
        self.means(held, length)

    def means(self, held: Held, steps: str) -> None:
        """Append the means that the readout takes: sum / steps, in the types it takes them.

        Args:
            held: The states at the end of the evaluation window; their sums began at its start.
            steps: Length of the window, float32 [1].
        """
        for state in self.sums:
            assert state.mean is not None
            length = steps
            if state.rank == 0:
                # a sum that is a scalar stays one
                length = self.build.emit("Squeeze", [steps], f"{OWN}{state.mean}/steps")
            quotient = [held[state.input], length]
            kind = self._type_of(state.mean)
            if kind == TensorProto.FLOAT:
                self.build.emit("Div", quotient, state.mean)
            else:
                mean = self.build.emit("Div", quotient, f"{OWN}{state.mean}")
                self.build.emit("Cast", [mean], state.mean, to=kind)

    def estimates(self, held: Held) -> None:
        """Append the states that the readout takes, under the names it takes them by."""
        for state in self.states:
            if state.output in self.step.taken:
                self.build.emit("Identity", [held[state.input]], state.output)

    def _type_of(self, name: str) -> int:
        graph = self.step.proto.graph
        for value in [*graph.value_info, *graph.output]:
            if value.name == name:
                return int(value.type.tensor_type.elem_type)
        return TensorProto.FLOAT

    def model(self) -> onnx.ModelProto:
        """Return the rollout: the ANN's own inputs, then the optional ones, and its outputs."""
        proto = self.step.proto
        inputs = [value for value in proto.graph.input if value.name in self.step.inputs]
        outputs = [value for value in proto.graph.output if value.name in self.step.outputs]
        graph = helper.make_graph(
            self.build.nodes,
            proto.graph.name,
            [*inputs, *self.optional_inputs],
            [*outputs, *self.more_outputs],
            list(self.build.constants.values()),
            value_info=self.types,
        )
        return helper.make_model(
            graph,
            opset_imports=proto.opset_import,
            functions=proto.functions,
            producer_name=proto.producer_name,
            producer_version=proto.producer_version,
            ir_version=proto.ir_version,
        )


def _loop_body(
    prefix: str,
    nodes: Sequence[onnx.NodeProto],
    carried: Sequence[Carried],
    kept: Sequence[Kept],
) -> onnx.GraphProto:
    """Return a graph: (iteration, go on, states) -> (go on, next states)."""
    iteration, go_on = f"{prefix}iteration", f"{prefix}go_on"
    goes_on = f"{prefix}goes_on"
    inputs = [
        helper.make_tensor_value_info(iteration, TensorProto.INT64, []),
        helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info(goes_on, TensorProto.BOOL, [])]
    for state in carried:
        inputs.append(_state_info(state.input, state.rank))
        outputs.append(_state_info(state.output, state.rank))
    for one in kept:
        inputs.append(_state_info(one.input, one.rank, one.kind))
        outputs.append(_state_info(one.output, one.rank, one.kind))
    if not any(goes_on in node.output for node in nodes):
        nodes = [helper.make_node("Identity", [go_on], [goes_on], goes_on), *nodes]
    return helper.make_graph(nodes, f"{prefix}body", inputs, outputs)


def _state_info(name: str, rank: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [None] * rank)


def with_prefix(
    node: onnx.NodeProto, prefix: str, given: Mapping[str, str], kept: Collection[str]
) -> onnx.NodeProto:
    """Return a copy of a node, and of the nodes in its bodies, under other names.

    Args:
        node: The node.
        prefix: Before all names but those below.
        given: Tensors that are replaced by others.
        kept: Tensors that keep their names.
    """

    def named(tensor: str) -> str:
        if not tensor or tensor in kept:
            return tensor
        return given.get(tensor, f"{prefix}{tensor}")

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if node.name:
        copy.name = f"{prefix}{node.name}"
    copy.input[:] = [named(name) for name in node.input]
    copy.output[:] = [named(name) for name in node.output]
    for graph in bodies(copy):
        for value in [*graph.input, *graph.output]:
            value.name = named(value.name)
        inner = [with_prefix(one, prefix, given, kept) for one in graph.node]
        del graph.node[:]
        graph.node.extend(inner)
    return copy
