"""Sorting of a graph's nodes, and which of them are needed, in linear time.

Order and choice are those of onnx-graphsurgeon, whose own sort recurses along a chain of nodes,
which Python allows for a thousand at most, and which looks for each input in a list of all tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx2snn.errors import StageMismatchError
from onnx2snn.graph.types import Graph, Node, Tensor


def by_level(graph: Graph) -> list[Node]:
    """Return the nodes, each behind those it takes tensors from.

    A node's level is one more than the highest of those; within a level the nodes come as a walk
    from each node back to its inputs meets them.

    Raises:
        StageMismatchError: They form a cycle.
    """
    known = _names(graph)
    levels: dict[int, int] = {}
    met: list[Node] = []
    for start in graph.nodes:
        if id(start) not in levels:
            _visit(start, known, levels, met)
    return sorted(met, key=lambda node: levels[id(node)])


def _visit(start: Node, known: set[str], levels: dict[int, int], met: list[Node]) -> None:
    """Give a node and all that it depends on a level, those it depends on first."""
    # a stack of our own: chains are longer than Python's
    open_nodes = {id(start)}
    makers = _makers(start, known)
    stack = [(start, makers, iter(makers))]
    while stack:
        node, makers, coming = stack[-1]
        following = next((maker for maker in coming if id(maker) not in levels), None)
        if following is None:
            before = [levels[id(maker)] for maker in makers]
            levels[id(node)] = max(before, default=-1) + 1
            met.append(node)
            open_nodes.discard(id(node))
            stack.pop()
            continue
        if id(following) in open_nodes:
            raise StageMismatchError(
                f"node '{following.name}' depends on itself; please report this model"
            )
        open_nodes.add(id(following))
        makers = _makers(following, known)
        stack.append((following, makers, iter(makers)))


def needed(graph: Graph) -> list[Node]:
    """Return the nodes that outputs of the graph depend on, in the graph's order."""
    known = _names(graph)
    found: dict[int, Node] = {}
    waiting = [maker for tensor in graph.outputs for maker in tensor.inputs]
    while waiting:
        node = waiting.pop()
        if id(node) not in found:
            found[id(node)] = node
            waiting.extend(_makers(node, known))
    return [node for node in graph.nodes if id(node) in found]


def _makers(node: Node, known: set[str]) -> list[Node]:
    """Return the nodes that make what a node or a graph inside it reads, each once."""
    read = node.inputs
    if node.attrs:
        read = [*read, *_read_inside(node)]
    # constants and most inputs have no maker
    makers = [maker for tensor in read for maker in tensor.inputs if tensor.name in known]
    return makers if len(makers) < 2 else list({id(maker): maker for maker in makers}.values())


def _read_inside(node: Node) -> Iterator[Tensor]:
    for graph in subgraphs(node):
        yield from graph._foreign_tensors().values()


def subgraphs(node: Node) -> list[Any]:
    """Return the graphs inside a control-flow node."""
    return [value for value in node.attrs.values() if hasattr(value, "toposort")]


def _names(graph: Graph) -> set[str]:
    """Return the names of all tensors that nodes of this graph make or that are its inputs."""
    names = {tensor.name for node in graph.nodes for tensor in node.outputs}
    names.update(tensor.name for tensor in graph.inputs)
    names.discard("")
    return names
