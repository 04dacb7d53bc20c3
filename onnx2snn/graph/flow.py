"""Reachability in a graph: nodes up- or downstream of others, and tensors that vary in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.types import Node
from onnx2snn.protos.nodes import SHAPE_ONLY, standard
from onnx2snn.protos.reach import spread


def between_weights(nodes: Sequence[Node]) -> set[str]:
    """Return the names of the nodes that have weighted operators on both sides.

    One lies on a path before such a node, another on a path after it. The nodes have to be sorted.
    """
    behind = nodes_behind(nodes, is_weighted)
    before = nodes_before(nodes, is_weighted)
    return behind & before


def nodes_behind(nodes: Sequence[Node], start: Callable[[Node], bool]) -> set[str]:
    """Return the names of the sorted nodes strictly downstream of those for which `start` holds."""
    found = spread(nodes, (), _inputs, _outputs, start)
    return {node.name for node in found.nodes}


def nodes_before(nodes: Sequence[Node], start: Callable[[Node], bool]) -> set[str]:
    """Return the names of the sorted nodes strictly upstream of those for which `start` holds."""
    found = spread(reversed(nodes), (), _outputs, _inputs, start)
    return {node.name for node in found.nodes}


def time_varying(nodes: Sequence[Node], sites: set[str]) -> set[str]:
    """Return the names of the tensors whose values change from one time-step to the next.

    Args:
        nodes: Sorted.
        sites: Names of the nodes that fire.
    """

    def fires(node: Node) -> bool:
        return node.name in sites

    def read(node: Node) -> list[str]:
        # the shape of a tensor is the same at each step, so that nothing is carried on through it
        if shape_only(node):
            return []
        return [tensor.name for tensor in node.inputs]

    def made(node: Node) -> list[str]:
        return [tensor.name for tensor in node.outputs if tensor.name]

    found = spread(nodes, (), read, made, fires)
    return {str(name) for name in found.tensors}


def shape_only(node: Node) -> bool:
    """Return whether a node's value does not depend on the values of its inputs."""
    return node.op in SHAPE_ONLY and standard(node)


# tensors by identity: one that is left out has an empty name, which several nodes share


def _inputs(node: Node) -> list[int]:
    return [id(tensor) for tensor in node.inputs]


def _outputs(node: Node) -> list[int]:
    return [id(tensor) for tensor in node.outputs]
