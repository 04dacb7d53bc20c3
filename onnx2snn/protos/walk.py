"""Every graph, node and tensor of a model: subgraphs and functions included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from onnx2snn.protos.nodes import attribute


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all subgraphs in it."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def bodies(node: NodeProto) -> list[GraphProto]:
    """The subgraphs a node has as attributes (If, Loop, Scan)."""
    return [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]


def nodes(model: onnx.ModelProto) -> Iterator[NodeProto]:
    """All nodes of a model."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """All tensors whose values a model holds: initializers and attributes."""
    for graph in graphs(model.graph):
        yield from graph.initializer
    for node in nodes(model):
        yield from (a.t for a in node.attribute if a.type == AttributeProto.TENSOR)


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Return the constant tensors of a graph by name: initializers, and values of Constant nodes."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Constant":
            continue
        value = attribute(node, "value")
        if value is not None:
            found[node.output[0]] = value
    return found
