"""Walks over a model: every graph, node and tensor, those of subgraphs and functions included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from onnx2snn.protos.nodes import attribute

GRAPH = int(AttributeProto.GRAPH)
"""The type of an attribute that holds a graph."""

GRAPHS = int(AttributeProto.GRAPHS)
"""The type of an attribute that holds several graphs."""


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and all subgraphs in it."""
    yield graph
    yield from subgraphs(graph.node)


def subgraphs(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    """Yield all graphs inside nodes, at every depth."""
    for node in nodes:
        if not node.attribute:
            continue
        for body in bodies(node):
            yield from graphs(body)


def bodies(node: NodeProto) -> list[GraphProto]:
    """Return the subgraphs a node has as attributes (If, Loop, Scan)."""
    found = []
    for held in node.attribute:
        kind = held.type
        if kind == GRAPH:
            found.append(held.g)
        elif kind == GRAPHS:
            found.extend(held.graphs)
    return found


def read_by(node: NodeProto) -> set[str]:
    """Return the tensors that a node reads, and all that its subgraphs read and hand out."""
    read = {name for name in node.input if name}
    for part in subgraphs([node]):
        for inner in part.node:
            read.update(filter(None, inner.input))
        read.update(value.name for value in part.output)
    return read


def all_graphs(model: onnx.ModelProto) -> Iterator[GraphProto]:
    """Yield all graphs of a model: its own, and those inside its nodes and its functions' nodes."""
    yield from graphs(model.graph)
    for function in model.functions:
        yield from subgraphs(function.node)


def nodes(model: onnx.ModelProto) -> Iterator[NodeProto]:
    """Yield all nodes of a model."""
    for graph in all_graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield all tensors whose values a model holds: initializers and attributes."""
    for graph in all_graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        yield from _held_tensors(node.attribute)
    for function in model.functions:
        yield from _held_tensors(function.attribute_proto)


def _held_tensors(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    """Yield the tensors that attributes hold, sparse ones as the two they consist of."""
    for held in attributes:
        if held.ref_attr_name:  # its value is given where the function is called
            continue
        if held.type == AttributeProto.TENSOR:
            yield held.t
        elif held.type == AttributeProto.TENSORS:
            yield from held.tensors
        elif held.type == AttributeProto.SPARSE_TENSOR:
            yield from (held.sparse_tensor.values, held.sparse_tensor.indices)
        elif held.type == AttributeProto.SPARSE_TENSORS:
            for sparse in held.sparse_tensors:
                yield from (sparse.values, sparse.indices)


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
