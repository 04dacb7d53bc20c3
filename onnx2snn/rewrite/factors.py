"""Constant factors in a graph: Mul nodes whose constant scales a tensor along some of its axes.

A factor's scale is a float64 array of its tensor's rank; float32 constants are made of it when
folding is done.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import keeps_shape, rank
from onnx2snn.graph.editing import Editor, constant, consumers, detach, is_output, make_constant
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.rewrite.fold_rules.tables import KNOWN_DOMAINS


def is_factor(node: Node) -> bool:
    """Return whether a node is a float tensor times a constant that keeps its shape."""
    if node.op != "Mul" or node.domain not in KNOWN_DOMAINS:
        return False
    if len(node.inputs) != 2:
        return False
    x, factor = node.inputs
    values = constant(factor)
    if values is None or constant(x) is not None:
        return False
    if not np.issubdtype(values.dtype, np.floating):
        return False
    if not keeps_shape(x, values):
        return False
    return rank(node.outputs[0]) == rank(x)


def scale_of(node: Node) -> Array:
    """Return the scale of a factor, in float64 and with its tensor's rank."""
    values = constant(node.inputs[1])
    ndim = rank(node.inputs[0])
    assert values is not None
    assert ndim is not None
    # a constant of lower rank broadcasts along leading axes
    missing = [1] * (ndim - values.ndim)
    scale = values.astype(np.float64)
    return scale.reshape([*missing, *values.shape])


def scale_edge(editor: Editor, source: Tensor, scale: Array, target: Tensor) -> Node:
    """Append target = source * scale; the constant stays in float64 until folding is done."""
    name = editor.name(f"{target.name}/scale")
    values = np.asarray(scale, np.float64)
    factor = editor.constant(f"{name}/factor", values)
    return editor.append("Mul", name, [source, factor], [target])


def places(reader: Node, tensor: Tensor) -> list[int]:
    """Return the indices of a node's inputs that are a tensor."""
    return [index for index, read in enumerate(reader.inputs) if read is tensor]


class Factors:
    """The factors of a graph that may move; those named in `fixed` stay where they are."""

    def __init__(self, graph: Graph, fixed: Collection[str]) -> None:
        """Take a graph, which is changed."""
        self.graph = graph
        self.editor = Editor(graph)
        self.fixed = fixed
        self._products = [node for node in graph.nodes if node.op == "Mul"]
        """Nodes that may be factors, in the graph's order: a look at all nodes would take long."""

    def movable(self, node: Node) -> bool:
        """Return whether a node is a factor that may move."""
        return node.name not in self.fixed and is_factor(node)

    def nodes(self) -> list[Node]:
        """Return the factors that may move, in the graph's order."""
        # those that were dropped have no outputs
        self._products = [node for node in self._products if node.outputs]
        return [node for node in self._products if self.movable(node)]

    def insert(self, source: Tensor, scale: Array, reader: Node, indices: list[int]) -> None:
        """Let some inputs of a node read a tensor times a scale; ones need no factor."""
        # x times 1 is x
        scaled = source
        if np.any(scale != 1.0):
            label = f"{reader.name}/in{indices[0]}"
            scaled = self.editor.variable(label, like=source)
            self._products.append(scale_edge(self.editor, source, scale, scaled))
        for index in indices:
            reader.inputs[index] = scaled

    def split(self) -> None:
        """Give every reader of a factor its own, so that each can move alone."""
        # the last ones first, since a factor before them gets new readers by it
        for node in reversed(self.nodes()):
            out = node.outputs[0]
            source = node.inputs[0]
            scale = scale_of(node)
            first = 0 if is_output(self.graph, out) else 1
            for reader in consumers(out)[first:]:
                indices = places(reader, out)
                self.insert(source, scale, reader, indices)

    def merge(self) -> list[Node]:
        """Let equal factors of one tensor be one, and return those that are left."""
        seen: dict[object, Node] = {}
        left = []
        for node in self.nodes():
            x = node.inputs[0]
            scale = scale_of(node)
            key = (id(x), scale.shape, scale.tobytes())
            twin = seen.get(key)
            out = node.outputs[0]
            if twin is None or is_output(self.graph, out):
                seen[key] = node
                left.append(node)
            else:
                self._replace(node, twin)
        return left

    def _replace(self, node: Node, twin: Node) -> None:
        out = node.outputs[0]
        for reader in consumers(out):
            for index in places(reader, out):
                reader.inputs[index] = twin.outputs[0]
        detach(node)

    def retype(self) -> None:
        """Bring the constants of all factors, fixed ones too, to the type of what they scale."""
        for node in self.graph.nodes:
            if is_factor(node):
                x, factor = node.inputs
                values = scale_of(node).astype(x.dtype or np.float32)
                node.inputs[1] = make_constant(factor.name, values)
