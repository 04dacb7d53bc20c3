"""A rollout at work: its graph, states of zeros, a Loop that carries states, and means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnx2snn.protos.building import ProtoBuilder
from onnx2snn.runtime.cut import Carried, core_states
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.step_model import State, StepModel

OWN = f"{SNN_DOMAIN}/rollout/"
"""Before the name of every tensor that the step graph does not have."""

Held = dict[str, str]
"""States by the names of their inputs -> the tensors that hold them at some time."""


class Unrolling:
    """A graph that becomes a rollout: nodes and constants, declared shapes, optional inputs."""

    def __init__(self, step: StepModel) -> None:
        """Start with nothing."""
        self.step = step
        self.build = ProtoBuilder()
        self.types: list[onnx.ValueInfoProto] = []
        self.optional_inputs: list[onnx.ValueInfoProto] = []
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

    def zeros(self, state: State) -> str:
        """Return a state at the start; it broadcasts to any batch."""
        zeros = np.zeros([1] * state.rank, np.float32)
        return self.build.constant(f"{OWN}zeros/{state.rank}", zeros)

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
    ) -> Held:
        """Append a Loop.

        Args:
            prefix: Before the names of the Loop's own tensors.
            count: Number of iterations, an int64 scalar.
            nodes: The body.
            carried: The states in the body, in the order of the core's.
            held: The states before the first iteration.

        Returns:
            The states after the last iteration.
        """
        names = [state.input for state in self.states]
        last = [f"{prefix}last/{name}" for name in names]
        always = self.build.constant(f"{OWN}always", np.array(True))
        taken = [count, always, *(held[name] for name in names)]
        body = _loop_body(prefix, nodes, carried)
        self.build.node("Loop", taken, last, f"{prefix}loop", body=body)
        return dict(zip(names, last, strict=True))

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
            outputs,
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
    prefix: str, nodes: Sequence[onnx.NodeProto], carried: Sequence[Carried]
) -> onnx.GraphProto:
    """Return a graph: (iteration, go on, states) -> (go on, next states)."""
    iteration, go_on = f"{prefix}iteration", f"{prefix}go_on"
    same = f"{go_on}/same"
    inputs = [
        helper.make_tensor_value_info(iteration, TensorProto.INT64, []),
        helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info(same, TensorProto.BOOL, [])]
    for state in carried:
        inputs.append(_state_info(state.input, state.rank))
        outputs.append(_state_info(state.output, state.rank))
    goes_on = helper.make_node("Identity", [go_on], [same], same)
    return helper.make_graph([goes_on, *nodes], f"{prefix}body", inputs, outputs)


def _state_info(name: str, rank: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)
