"""Half- and double-precision networks -> float32 ones with the inputs and outputs they declare.

onnxruntime's CPU kernels know no Conv in float16, bfloat16 or float64, and spiking layers need none.
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
GROUPS = (
    frozenset({int(TensorProto.FLOAT16), int(TensorProto.BFLOAT16)}),
    frozenset({int(TensorProto.DOUBLE)}),
)
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
    """The same model with its layers in float32; the model itself where they are already.

    Inputs and outputs keep their declared types, with a Cast behind and before each. A type that no layer computes in
    stays: sizes are often computed in float64.
    """
    if not _present(proto) & frozenset.union(*GROUPS):
        return proto
    graph = large.infer_model_shapes(proto).graph
    types = {v.name: _type(v) for v in [*graph.input, *graph.value_info, *graph.output]}
    computed = {
        types.get(n.output[0]) for n in proto.graph.node if n.op_type in LAYERS and n.output
    }
    moved = frozenset(t for group in GROUPS if computed & group for t in group)
    return _converted(proto, moved) if moved else proto


def _present(proto: onnx.ModelProto) -> set[int]:
    """Every element type that a model's inputs, constants and casts bring in."""
    attributes = [a for node in walk.nodes(proto) for a in node.attribute]
    return {
        *(_type(v) for v in proto.graph.input),
        *(t.data_type for t in walk.tensors(proto)),
        *(a.i for a in attributes if a.name in TYPE_ATTRIBUTES),
    }


def _type(value: ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type)


def _converted(proto: onnx.ModelProto, moved: frozenset[int]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    graph = model.graph
    given = {t.name for t in graph.initializer}
    entering = {v.name: _type(v) for v in graph.input if _type(v) in moved and v.name not in given}
    leaving = {
        v.name: _type(v) for v in graph.output if _type(v) in moved and v.name not in entering
    }
    taken = {t for n in walk.nodes(model) for t in [*n.input, *n.output]}
    inside = {name: _free(f"{name}/float32", taken) for name in [*entering, *leaving]}
    for tensor in [*walk.tensors(model)]:
        _convert_tensor(tensor, moved)
    for part in walk.graphs(graph):
        for value in [*part.input, *part.output, *part.value_info]:
            if _type(value) in moved and not (part is graph and value.name in inside):
                value.type.tensor_type.elem_type = FLOAT
    _convert_attributes(walk.nodes(model), moved)
    _rename(graph, inside)
    casts = [_cast(name, inside[name], FLOAT) for name in entering]
    body = [NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend(
        [*casts, *body, *(_cast(inside[name], name, kind) for name, kind in leaving.items())]
    )
    return model


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], f"{target}/cast", to=kind)


def _free(name: str, taken: set[str]) -> str:
    return _free(f"{name}_", taken) if name in taken else name


def _convert_attributes(nodes: Iterable[NodeProto], moved: frozenset[int]) -> None:
    for attribute in [a for node in nodes for a in node.attribute]:
        if (
            attribute.type == AttributeProto.INT
            and attribute.name in TYPE_ATTRIBUTES
            and attribute.i in moved
        ):
            attribute.i = FLOAT


def _convert_tensor(tensor: TensorProto, moved: frozenset[int]) -> None:
    if tensor.data_type in moved:
        with np.errstate(
            over="ignore"
        ):  # what masks with the lowest double then masks with -infinity
            values = np.asarray(numpy_helper.to_array(tensor)).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename what nodes read and make, subgraphs included; the graph's own inputs and outputs stay."""
    for part in walk.graphs(graph):
        for node in part.node:
            node.input[:] = [names.get(t, t) for t in node.input]
            node.output[:] = [names.get(t, t) for t in node.output]
        for value in [*part.value_info, *(part.output if part is not graph else ())]:
            value.name = names.get(value.name, value.name)
        for tensor in part.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
