"""An emitted step graph as the package reads it: its description, its states, and the tensors at
which it can be cut.

Three parts follow from the states alone. A node that depends on a state and that the next states
are made of belongs to the core; one that depends on a state and only the outputs are made of to the
readout; all others to the encoder.

Between core and readout stand means, where neurons stand for activations. Where they stand in front
of weighted operators these are the states after the step, sums of what arrived: the readout
computes again what lies between them and an output, once an answer is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import helper

from onnx2snn.protos.reach import downstream, upstream
from onnx2snn.snn.description import read_metadata
from onnx2snn.snn.format import Coding, Metadata, StateEntry, coding_of, holds_estimates
from onnx2snn.snn.inlined import nodes_with_neurons, with_plain_casts

Names = tuple[str, ...]


@dataclass(frozen=True)
class State:
    """One state of the step graph; `mean` names the tensor a readout sum is the numerator of."""

    input: str
    output: str
    rank: int
    kind: str
    mean: str | None = None

    @classmethod
    def of(cls, entry: StateEntry) -> State:
        """Return a state as the description lists it."""
        return cls(entry["input"], entry["output"], entry["rank"], entry["kind"], entry.get("mean"))


@dataclass(frozen=True)
class StepModel:
    """An emitted model with its metadata, and the tensors at which it can be cut.

    `to_core` and `to_readout` are tensors of the encoder, or inputs, that the core and the readout
    take; `taken` is what the readout takes of the core: means, or states after the step.
    """

    proto: onnx.ModelProto
    metadata: Metadata
    states: tuple[State, ...]
    to_core: Names
    to_readout: Names
    taken: Names

    @property
    def coding(self) -> Coding:
        """What a spike says."""
        return coding_of(self.metadata)

    @property
    def estimates(self) -> bool:
        """Whether its states are estimates, from which an answer is read, in place of means."""
        return holds_estimates(self.metadata)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        graph = self.proto.graph
        named: list[onnx.ValueInfoProto | onnx.TensorProto] = [*graph.input, *graph.initializer]
        found = {value.name for value in named}
        for node in graph.node:
            found.update(node.output)
        return frozenset(found)

    @cached_property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes of the graph; a neuron whose function was inlined is one node again."""
        return nodes_with_neurons(self.proto, self.metadata)

    @property
    def inlined(self) -> bool:
        """Whether a neuron's function was inlined."""
        return len(self.nodes) < len(self.proto.graph.node)

    @cached_property
    def outputs(self) -> Names:
        """The ANN's own outputs."""
        of_states = {state.output for state in self.states}
        return tuple(v.name for v in self.proto.graph.output if v.name not in of_states)

    @cached_property
    def inputs(self) -> Names:
        """The ANN's own inputs."""
        of_states = {state.input for state in self.states}
        return tuple(v.name for v in self.proto.graph.input if v.name not in of_states)


def read_step_model(proto: onnx.ModelProto, name: str) -> StepModel:
    """Return an emitted model with its description; `name` is the file's, for errors.

    Raises:
        ModelFileError: The model has no description, or one that is damaged or newer.
    """
    metadata = read_metadata(proto, name)
    proto = with_plain_casts(proto, metadata)
    states = tuple(State.of(entry) for entry in metadata["states"])
    proto = _with_free_states(proto, states)
    border = boundaries(proto, states, estimates=holds_estimates(metadata))
    return StepModel(proto, metadata, states, border.to_core, border.to_readout, border.taken)


def _with_free_states(proto: onnx.ModelProto, states: Sequence[State]) -> onnx.ModelProto:
    """Return a step graph whose states declare no sizes; one that has none is returned as it is.

    Whoever cuts a graph feeds states of size 1, and folds time into the batch.
    """
    ranks = {name: state.rank for state in states for name in (state.input, state.output)}
    graph = proto.graph
    if not any(_has_sizes(value) for value in [*graph.input, *graph.output] if value.name in ranks):
        return proto
    free = onnx.ModelProto()
    free.CopyFrom(proto)
    for value in [*free.graph.input, *free.graph.output]:
        if value.name in ranks:
            unknown = [None] * ranks[value.name]
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, unknown))
    return free


def _has_sizes(value: onnx.ValueInfoProto) -> bool:
    return any(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)


@dataclass(frozen=True)
class Boundaries:
    """The borders of encoder, core and readout; names as in `StepModel`."""

    to_core: Names
    to_readout: Names
    taken: Names


def boundaries(proto: onnx.ModelProto, states: Sequence[State], *, estimates: bool) -> Boundaries:
    """Return the borders of a step graph.

    The readout takes means, and starts behind the divisions that make them. With `estimates` it
    takes states after the step, and whatever lies between them and an output is computed again, the
    core's share of it, too.
    """
    varying = time_varying_tensors(proto, states)
    needed = needed_tensors(proto, states)
    known = varying | _constant_tensors(proto)
    # a node without a state behind it is constant in time: encoder
    moving = [node for node in proto.graph.node if varying.intersection(node.output)]
    core = [node for node in moving if needed.intersection(node.output)]
    if estimates:
        after = {state.output for state in states}
        outputs = [value.name for value in proto.graph.output if value.name not in after]
        reached = upstream(proto.graph.node, outputs, stop=after)
        behind = [node for node in reached.nodes[::-1] if varying.intersection(node.output)]
        read = {name for node in behind for name in node.input} | set(outputs)
        taken = tuple(state.output for state in states if state.output in read)
    else:
        taken = tuple(state.mean for state in states if state.mean is not None)
        belonging = needed.union(taken)
        behind = [node for node in moving if not belonging.intersection(node.output)]
    return Boundaries(_inputs_but(core, known), _inputs_but(behind, known), taken)


def _constant_tensors(proto: onnx.ModelProto) -> set[str]:
    """Return initializers and what no input has a part in; the parts make it themselves."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    given = [value.name for value in proto.graph.input]
    with_inputs = downstream(proto.graph.node, given).tensors
    for node in proto.graph.node:
        constants.update(name for name in node.output if name not in with_inputs)
    return constants


def _inputs_but(nodes: Sequence[onnx.NodeProto], known: set[str]) -> Names:
    """Return the tensors that nodes read but for those in `known`, each once, in order."""
    found: dict[str, None] = {}
    for node in nodes:
        for tensor in node.input:
            if tensor and tensor not in known:
                found[tensor] = None
    return tuple(found)


def needed_tensors(proto: onnx.ModelProto, states: Sequence[State]) -> set[str]:
    """Return the tensors that the next states are made of, themselves among them."""
    found = upstream(proto.graph.node, [state.output for state in states])
    return {str(tensor) for tensor in found.tensors}


def time_varying_tensors(proto: onnx.ModelProto, states: Sequence[State]) -> set[str]:
    """Return the tensors that depend on a state, the states themselves among them."""
    found = downstream(proto.graph.node, [state.input for state in states])
    return {str(tensor) for tensor in found.tensors}
