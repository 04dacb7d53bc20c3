"""Walks over a model: every graph, node and tensor, those of subgraphs and functions included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from onnx2snn.protos.nodes import attribute


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and all subgraphs in it."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def bodies(node: NodeProto) -> list[GraphProto]:
    """Return the subgraphs a node has as attributes (If, Loop, Scan)."""
    return [held.g for held in node.attribute if held.type == AttributeProto.GRAPH]


def nodes(model: onnx.ModelProto) -> Iterator[NodeProto]:
    """Yield all nodes of a model."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield all tensors whose values a model holds: initializers and attributes."""
    for graph in graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for held in node.attribute:
            if held.type == AttributeProto.TENSOR:
                yield held.t


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Return a graph's constant tensors by name: initializers and the values of Constant nodes."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Constant":
            continue
        value = attribute(node, "value")
        if value is not None:
            found[node.output[0]] = value
    return found
