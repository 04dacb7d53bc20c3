"""One time-step as a network: the step graph without its states, its counting and its sums.

A neuron reads its current alone, and a mean over the window is what it is a mean of: behind the
neurons NIR goes on with the tensors of a step, and the host takes the mean of what comes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from onnx import NodeProto, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.protos.nodes import attribute, standard
from onnx2snn.protos.reach import downstream, spread
from onnx2snn.snn.step_model import State, StepModel

FIRST_INPUT = (
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Dropout",
    "ReduceMean",
    "ReduceSum",
)
"""Operators whose other inputs say how, not what; shapes are measured."""


@dataclass(frozen=True)
class Network:
    """What one time-step computes.

    Attributes:
        nodes: Sorted, without what is constant.
        inputs: The ANN's inputs that are read.
        outputs: The tensors that are the ANN's outputs, by name.
        readout: The first outputs of the nodes behind the means.
        constants: Values by name.
    """

    nodes: list[NodeProto]
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    readout: frozenset[str]
    constants: Mapping[str, Array]

    def tensors(self) -> list[str]:
        """Return the names of all tensors that are not constant."""
        return [*self.inputs, *(node.output[0] for node in self.nodes)]

    def readers(self) -> Counter[str]:
        """Count how many times each tensor is read."""
        read = Counter(self.outputs.values())
        for node in self.nodes:
            read.update(node.input)
        return read


def network_of(step: StepModel) -> Network:
    """Return one time-step of a step graph, in format 1."""
    added = {state.mean: _added(step, state) for state in step.states if state.mean is not None}
    constants = _constants(step)
    nodes = [_one_step(node, added) for node in step.proto.graph.node]
    outputs = {name: added.get(name, name) for name in step.outputs}
    reached = spread(
        nodes[::-1],
        set(outputs.values()),
        entering=lambda node: node.output,
        leaving=lambda node: [name for name in node.input if name],
    )
    needed = [node for node in reached.nodes[::-1] if node.output[0] not in constants]
    behind = downstream(step.proto.graph.node, list(added)).nodes
    return Network(
        nodes=needed,
        inputs=tuple(name for name in step.inputs if name in reached.tensors),
        outputs=outputs,
        readout=frozenset(node.output[0] for node in behind),
        constants=constants,
    )


def _constants(step: StepModel) -> dict[str, Array]:
    """Return initializers and the outputs of Constant nodes."""
    graph = step.proto.graph
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            value = attribute(node, "value")
            if value is not None:
                found[node.output[0]] = numpy_helper.to_array(value)
    return found


def _added(step: StepModel, state: State) -> str:
    """Return the tensor x of S(t) = keep S(t-1) + x(t), which a mean is made of.

    Raises:
        UnsupportedGraphError: S is made in another way, by a tool that rewrote the file.
    """
    nodes = step.proto.graph.node
    before = downstream(nodes, [state.input]).tensors
    for node in nodes:
        if state.output not in node.output:
            continue
        others = [str(name) for name in node.input if name not in before]
        if node.op_type == "Add" and len(others) == 1:
            return others[0]
    raise UnsupportedGraphError(
        "",
        "",
        f"state '{state.output}' is no sum of itself and a tensor, as a mean is made of; "
        "export the file as it was converted",
    )


def _one_step(node: NodeProto, added: Mapping[str, str]) -> NodeProto:
    """Return a node that reads what means are made of; a neuron without its states."""
    copy = NodeProto()
    copy.CopyFrom(node)
    names = [added.get(name, name) for name in node.input]
    if not standard(node):
        del copy.output[1:]
    if not standard(node) or node.op_type in FIRST_INPUT:
        names = names[:1]
        # axes of a reduction are a constant, if anything
        names += [name for name in node.input[1:] if node.op_type.startswith("Reduce")]
    copy.input[:] = names
    return copy
