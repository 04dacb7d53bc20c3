"""What lies before and behind what in a graph, and what changes in time."""

from __future__ import annotations

from collections.abc import Callable

from onnx2snn.graph.editing import Node, Tensor
from onnx2snn.graph.operators import SHAPE_ONLY, is_weighted, standard


def between_weights(nodes: list[Node]) -> set[str]:
    """Names of the nodes with a weighted operator on a path before and another on a path after (nodes sorted)."""
    return reach(nodes, is_weighted) & reach_back(nodes, is_weighted)


def reach(nodes: list[Node], start: Callable[[Node], bool]) -> set[str]:
    """Names of the nodes strictly downstream of those for which `start` holds (nodes sorted)."""
    return _spread(nodes, start, lambda n: n.inputs, lambda n: n.outputs)


def reach_back(nodes: list[Node], start: Callable[[Node], bool]) -> set[str]:
    """Names of the nodes strictly upstream of those for which `start` holds (nodes sorted)."""
    return _spread(nodes[::-1], start, lambda n: n.outputs, lambda n: n.inputs)


Ends = Callable[[Node], list[Tensor]]


def _spread(nodes: list[Node], start: Callable[[Node], bool], entering: Ends, leaving: Ends) -> set[str]:
    lit: set[int] = set()
    reached: set[str] = set()
    for node in nodes:
        hit = any(id(t) in lit for t in entering(node))
        if hit:
            reached.add(node.name)
        if hit or start(node):
            lit.update(id(t) for t in leaving(node))
    return reached


def varying(nodes: list[Node], sites: set[str]) -> set[str]:
    """Names of the tensors whose values change from one time-step to the next (nodes sorted)."""
    found: set[str] = set()
    for node in nodes:
        moves = any(t.name in found for t in node.inputs) and not shape_only(node)
        if node.name in sites or moves:
            found.update(t.name for t in node.outputs if t.name)
    return found


def shape_only(node: Node) -> bool:
    """Whether a node's value does not depend on the values of its inputs."""
    return node.op in SHAPE_ONLY and standard(node)
