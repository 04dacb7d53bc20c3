"""The part of a model that no input has a part in: its tensors are computed once.

Nodes that draw random numbers or are of another domain are left as they are, and so is what lies
behind them.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import NodeProto, helper

from onnx2snn.aliases import Array
from onnx2snn.protos.apart import values_of
from onnx2snn.protos.nodes import RANDOM, standard
from onnx2snn.protos.reach import downstream
from onnx2snn.protos.sessions import open_own_session


def constants_and_rest(proto: onnx.ModelProto) -> tuple[dict[str, Array], list[NodeProto]]:
    """Return the constant tensors that are read behind the constant part, and all other nodes.

    Constants are initializers and the results of nodes that depend on no input. No node of the
    model may hold a subgraph, which could read tensors unseen.

    Raises:
        ComputationError: onnxruntime cannot compute the constant part.
    """
    graph = proto.graph
    varying = [value.name for value in graph.input]
    for node in graph.node:
        if not _is_computable(node):
            varying.extend(node.output)
    behind = downstream(graph.node, varying).tensors
    constant = [node for node in graph.node if behind.isdisjoint(node.output)]
    rest = [node for node in graph.node if not behind.isdisjoint(node.output)]

    read = {name for node in rest for name in node.input}
    read.update(value.name for value in graph.output)
    known = {tensor.name: tensor for tensor in graph.initializer}
    found = {name: values_of(tensor) for name, tensor in known.items() if name in read}
    made = [name for node in constant for name in node.output if name in read]
    found |= _computed(proto, constant, made)
    return found, rest


def _is_computable(node: NodeProto) -> bool:
    return standard(node) and node.op_type not in RANDOM


def _computed(
    proto: onnx.ModelProto, nodes: Sequence[NodeProto], names: Sequence[str]
) -> dict[str, Array]:
    """Return tensors that nodes make of initializers alone."""
    if not names:
        return {}
    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    graph = helper.make_graph(nodes, proto.graph.name, [], outputs)
    part = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)
    read = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    part.graph.initializer.extend(weights)
    values = open_own_session(part, None).run(list(names), {})
    return dict(zip(names, values, strict=True))
