"""Captures made explicit: what a subgraph reads from around it becomes an input of its node.

Every walk over a graph follows inputs and outputs of nodes; a tensor that a subgraph reads by name
would be an edge that none of them sees.

Loop: a captured tensor is one more value that is carried from iteration to iteration, unchanged.
Scan: the same, one more state.
If: it has no inputs but its condition. It goes into a Loop of one iteration, whose carried values
    are the condition and what the branches read; its outputs are stacked once there, and squeezed.

Constants stay captured: they hold no edge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.protos.nodes import attribute, standard
from onnx2snn.protos.walk import bodies, graphs

_Item = TypeVar("_Item")


def captured(node: NodeProto, fixed: Collection[str]) -> list[str]:
    """Return the tensors that a node's subgraphs read from around it, sorted; `fixed` left out."""
    return sorted(_read_from_outside(node).difference(fixed))


def _read_from_outside(node: NodeProto) -> set[str]:
    """Return the names that a node's subgraphs use and do not define."""
    read: set[str] = set()
    for body in bodies(node):
        # a body knows its inputs, its constants and all that its nodes make
        known = {value.name for value in body.input}
        known.update(tensor.name for tensor in body.initializer)
        for inner in body.node:
            known.update(inner.output)
        used = {value.name for value in body.output}
        for inner in body.node:
            used.update(filter(None, inner.input))
            used |= _read_from_outside(inner)
        read |= used - known
    return read


def make_captures_explicit(proto: onnx.ModelProto) -> None:
    """Let every control flow node of a model take what its subgraphs read; the model is changed.

    Raises:
        UnsupportedGraphError: A captured tensor has no known type, or is a sequence.
    """
    fixed = {tensor.name for tensor in proto.graph.initializer}
    found = [captured(node, fixed) for node in proto.graph.node]
    if not any(found):
        return
    work = _Captures(proto)
    nodes: list[NodeProto] = []
    for node, names in zip(list(proto.graph.node), found, strict=True):
        nodes += work.explicit(node, names) if names else [node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


@dataclass(frozen=True)
class _Carried:
    """A captured tensor on its way through a body: its name outside, inside, and behind it."""

    outside: str
    inside: str
    after: str


class _Captures:
    """The rewriting of one model."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.graph = proto.graph
        self.types = _types(proto)
        self.taken = _names(proto.graph)

    def explicit(self, node: NodeProto, names: Sequence[str]) -> list[NodeProto]:
        """Return the nodes in place of one whose subgraphs read some tensors from around it."""
        label = node.name or node.output[0]
        if not standard(node) or node.op_type not in ("If", "Loop", "Scan"):
            raise _unsupported(node, f"its subgraph reads '{names[0]}' from outside")
        for name in names:
            if not self._is_tensor(name):
                raise _unsupported(node, f"its subgraph reads '{name}', whose type is unknown")
        if node.op_type == "If":
            return self._in_a_loop(node, label, names)
        (body,) = bodies(node)
        carried = self._carried(label, names)
        _rename(body, {one.outside: one.inside for one in carried})
        if node.op_type == "Loop":
            # inputs: the number of iterations and the condition; the body has one output less
            node.input.extend([""] * (2 - len(node.input)))
            inputs, states = len(node.input), len(node.input) - 2
            first_input, first_output = len(body.input), 1 + states
        else:
            states = len(node.input) - int(attribute(node, "num_scan_inputs"))
            inputs = first_input = first_output = states
        self._carry(body, carried, first_input, first_output)
        _insert(node.input, inputs, [one.outside for one in carried])
        _insert(node.output, states, [self._name(one.after) for one in carried])
        return [node]

    def _in_a_loop(self, node: NodeProto, label: str, names: Sequence[str]) -> list[NodeProto]:
        """Return a Loop of one iteration around an If, and what takes its outputs apart again."""
        for name in node.output:
            if name and not self._is_tensor(name):
                raise _unsupported(node, f"the type of its output '{name}' is unknown")
        condition = node.input[0]
        carried = self._carried(label, list(dict.fromkeys([condition, *names])))
        inside = {one.outside: one.inside for one in carried}
        inner = NodeProto()
        inner.CopyFrom(node)
        inner.input[0] = inside[condition]
        for branch in bodies(inner):
            _rename(branch, inside)
        made = [name for name in node.output if name]
        own = {name: self._name(f"{name}/once") for name in made}
        inner.output[:] = [own.get(name, "") for name in node.output]
        body = helper.make_graph([inner], f"{label}/once", self._loop_inputs(label), [])
        goes_on = self._name(f"{label}/goes_on")
        body.node.append(helper.make_node("Identity", [body.input[1].name], [goes_on]))
        body.output.append(helper.make_tensor_value_info(goes_on, TensorProto.BOOL, []))
        self._carry(body, carried, 2, 1)
        for name in made:
            # with its sizes: what is behind shall know that no value decides on them
            body.output.append(helper.make_value_info(own[name], self.types[name]))
        stacked = {name: self._name(f"{name}/stacked") for name in made}
        behind = [self._name(one.after) for one in carried]
        once = self._constant(f"{label}/iterations", np.array(1, np.int64))
        axis = self._constant(f"{label}/axis", np.array([0], np.int64))
        loop = helper.make_node(
            "Loop",
            [once, "", *(one.outside for one in carried)],
            [*behind, *stacked.values()],
            label,
            body=body,
        )
        squeezes = []
        for name in made:
            squeeze = helper.make_node("Squeeze", [stacked[name], axis], [name], f"{name}/squeeze")
            squeezes.append(squeeze)
        return [loop, *squeezes]

    def _loop_inputs(self, label: str) -> list[ValueInfoProto]:
        """Return what a body of a Loop takes first: the iteration and the condition."""
        iteration = helper.make_tensor_value_info(
            self._name(f"{label}/iteration"), TensorProto.INT64, []
        )
        goes = helper.make_tensor_value_info(self._name(f"{label}/goes"), TensorProto.BOOL, [])
        return [iteration, goes]

    def _carried(self, label: str, names: Sequence[str]) -> list[_Carried]:
        found = []
        for name in names:
            inside = self._name(f"{label}/in/{name}")
            found.append(_Carried(name, inside, self._name(f"{label}/out/{name}")))
        return found

    def _carry(
        self, body: onnx.GraphProto, carried: Sequence[_Carried], first: int, behind: int
    ) -> None:
        """Let a body hand captured tensors on, as inputs and outputs from these places on."""
        inputs = [self._info(one.inside, one.outside) for one in carried]
        outputs = [self._info(one.after, one.outside) for one in carried]
        for one in carried:
            body.node.append(helper.make_node("Identity", [one.inside], [one.after]))
        _insert(body.input, first, inputs)
        _insert(body.output, behind, outputs)

    def _info(self, name: str, like: str) -> ValueInfoProto:
        """Declare a tensor by the type of another; its sizes are left open, its rank is told."""
        given = self.types[like].tensor_type
        shape = [None] * len(given.shape.dim) if given.HasField("shape") else None
        return helper.make_tensor_value_info(name, given.elem_type, shape)

    def _is_tensor(self, name: str) -> bool:
        kind = self.types.get(name)
        return kind is not None and kind.HasField("tensor_type") and kind.tensor_type.elem_type > 0

    def _constant(self, label: str, values: Array) -> str:
        name = self._name(label)
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def _name(self, label: str) -> str:
        """Return a name that is free, in subgraphs too."""
        name = label
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def _types(proto: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Return the types of a model's own tensors, inferred where they are not declared."""
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    return {value.name: value.type for value in values}


def _names(graph: onnx.GraphProto) -> set[str]:
    names: set[str] = set()
    for inner in graphs(graph):
        names.update(value.name for value in [*inner.input, *inner.output])
        names.update(tensor.name for tensor in inner.initializer)
        for node in inner.node:
            names.update([*node.input, *node.output])
    return names


def _rename(body: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Read some tensors under other names, in a body and those inside it."""
    made = {name for node in body.node for name in node.output}
    for node in body.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for inner in bodies(node):
            _rename(inner, names)
    for value in body.output:
        if value.name in names and value.name not in made:
            # an output has to be made inside
            copy = f"{names[value.name]}/copy"
            body.node.append(helper.make_node("Identity", [names[value.name]], [copy]))
            value.name = copy


def _insert(values: MutableSequence[_Item], place: int, more: Sequence[_Item]) -> None:
    for offset, item in enumerate(more):
        values.insert(place + offset, item)


def _unsupported(node: NodeProto, why: str) -> UnsupportedGraphError:
    reason = f"{why}; export the model without control flow"
    return UnsupportedGraphError(node.name or node.output[0], node.op_type, reason)
