"""Half- and double-precision networks become float32 ones, but for their inputs and outputs.

onnxruntime's CPU kernels know no Conv in float16, bfloat16 or float64; spiking layers need none.

* Types move in groups: all types of a group become float32 where a layer computes in one of them.
* A type that no layer computes in stays: sizes are often computed in float64.
* Inputs and outputs keep their declared types, with a Cast behind or before each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from onnx2snn.protos import large, walk

FLOAT = int(TensorProto.FLOAT)

HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
DOUBLE = frozenset({TensorProto.DOUBLE})
GROUPS = (HALVES, DOUBLE)
"""Types that become float32 together, where one layer computes in one of them."""

LAYERS = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Relu", "Clip", "Sigmoid"}
)
"""Operators that tell in which type a network computes."""

TYPE_ATTRIBUTES = frozenset(
    {"to", "dtype", "output_datatype", "output_dtype", "stash_type", "softmax_precision"}
)
"""Attributes that name an element type."""


def in_float32(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same model with its layers in float32; the model itself where they are already."""
    convertible = frozenset.union(*GROUPS)
    if not _present_types(proto) & convertible:
        return proto  # most models: no need to infer types
    computed = _computed_types(proto)
    moved: set[int] = set()
    for group in GROUPS:
        if computed & group:
            moved |= group
    if not moved:
        return proto
    return _converted(proto, frozenset(moved))


def _present_types(proto: onnx.ModelProto) -> set[int]:
    """Return every element type that a model's inputs, constants and casts bring in."""
    present = {_type(value) for value in proto.graph.input}
    for tensor in walk.tensors(proto):
        present.add(tensor.data_type)
    for node in walk.nodes(proto):
        for attribute in node.attribute:
            if attribute.name in TYPE_ATTRIBUTES:
                present.add(attribute.i)
    return present


def _computed_types(proto: onnx.ModelProto) -> set[int | None]:
    """Return the element types that layers compute in."""
    graph = large.infer_model_shapes(proto).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {value.name: _type(value) for value in values}
    computed = set()
    for node in proto.graph.node:
        if node.op_type in LAYERS and node.output:
            computed.add(types.get(node.output[0]))
    return computed


def _type(value: ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type)


def _converted(proto: onnx.ModelProto, moved: frozenset[int]) -> onnx.ModelProto:
    """Return a copy in which the types `moved` are float32, but for its own inputs and outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    graph = model.graph
    entering = _entering(graph, moved)
    leaving = _leaving(graph, moved, entering)
    # the nodes get new names for these: the old ones stay with the inputs and outputs outside
    inside = _inner_names(model, [*entering, *leaving])
    for tensor in list(walk.tensors(model)):
        _convert_tensor(tensor, moved)
    _convert_declarations(graph, moved, inside)
    _convert_attributes(walk.nodes(model), moved)
    _rename(graph, inside)
    _cast_at_border(graph, entering, leaving, inside)
    return model


def _entering(graph: GraphProto, moved: frozenset[int]) -> list[str]:
    """Return the inputs of types that move; those with an initializer are constants, and move."""
    given = {tensor.name for tensor in graph.initializer}
    names = [value.name for value in graph.input if _type(value) in moved]
    return [name for name in names if name not in given]


def _leaving(graph: GraphProto, moved: frozenset[int], entering: Iterable[str]) -> dict[str, int]:
    """Return the declared types of the outputs that move; an input handed through needs no Cast."""
    leaving = {}
    for value in graph.output:
        if _type(value) in moved and value.name not in entering:
            leaving[value.name] = _type(value)
    return leaving


def _inner_names(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, str]:
    """Return names for the float32 twins of inputs and outputs, none of which is taken."""
    taken: set[str] = set()
    for node in walk.nodes(model):
        taken.update(node.input)
        taken.update(node.output)
    return {name: _free(f"{name}/float32", taken) for name in names}


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _convert_tensor(tensor: TensorProto, moved: frozenset[int]) -> None:
    """Convert a tensor's values in place."""
    if tensor.data_type not in moved:
        return
    values = np.asarray(numpy_helper.to_array(tensor))
    # a mask made of the lowest double becomes one of -infinity, which masks as well
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(single, tensor.name))


def _convert_declarations(
    graph: GraphProto, moved: frozenset[int], border: Mapping[str, str]
) -> None:
    """Declare float32 for every tensor of a type that moves, but for the inputs and outputs."""
    for part in walk.graphs(graph):
        for value in [*part.input, *part.output, *part.value_info]:
            at_border = part is graph and value.name in border
            if _type(value) in moved and not at_border:
                value.type.tensor_type.elem_type = FLOAT


def _convert_attributes(nodes: Iterable[NodeProto], moved: frozenset[int]) -> None:
    """Let attributes that name a type that moves name float32."""
    for node in nodes:
        for attribute in node.attribute:
            names_type = attribute.name in TYPE_ATTRIBUTES
            is_int = attribute.type == AttributeProto.INT
            if names_type and is_int and attribute.i in moved:
                attribute.i = FLOAT


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors of a graph and its subgraphs; the graph's own inputs and outputs stay."""
    for part in walk.graphs(graph):
        # a subgraph reads the tensors of the graphs around it by name
        for node in part.node:
            node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
            node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
        values = list(part.value_info)
        if part is not graph:
            values += part.output
        for value in values:
            value.name = names.get(value.name, value.name)
        for tensor in part.initializer:
            tensor.name = names.get(tensor.name, tensor.name)


def _cast_at_border(
    graph: GraphProto,
    entering: Iterable[str],
    leaving: Mapping[str, int],
    inside: Mapping[str, str],
) -> None:
    """Put a Cast to float32 behind inputs, and one to the declared type before outputs."""
    first = [_cast_node(name, inside[name], FLOAT) for name in entering]
    last = [_cast_node(inside[name], name, kind) for name, kind in leaving.items()]
    # copies: deleting the nodes empties the messages
    body = [NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*first, *body, *last])


def _cast_node(source: str, target: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], f"{target}/cast", to=kind)
