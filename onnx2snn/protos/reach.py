"""Reachability: which of some sorted nodes, and which tensors, lie downstream or upstream of others.

One walk serves graphs of either kind. A tensor is anything that can be hashed and compared: a name, or the identity
of a graph's tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import onnx

Node = TypeVar("Node")
Ends = Callable[[Node], Iterable[Hashable]]
"""The tensors at one end of a node."""


@dataclass(frozen=True)
class Reached(Generic[Node]):
    """The nodes that a walk reached, in its order, and the tensors: those it started from and those it passed."""

    nodes: list[Node]
    tensors: set[Hashable]


def spread(
    nodes: Iterable[Node],
    tensors: Collection[Hashable],
    entering: Ends[Node],
    leaving: Ends[Node],
    starts: Callable[[Node], bool] | None = None,
) -> Reached[Node]:
    """Walk nodes in order and follow tensors from node to node.

    Args:
        nodes: Sorted, so that a node comes after those its entering tensors leave.
        tensors: Where the walk starts.
        entering: The tensors by which a node is reached.
        leaving: The tensors by which the walk goes on from a node.
        starts: Nodes from which the walk starts, too. Such a node counts as reached only if it lies behind another.

    Returns:
        What was reached.
    """
    lit = set(tensors)
    reached = []
    for node in nodes:
        hit = not lit.isdisjoint(entering(node))
        if hit:
            reached.append(node)
        if hit or (starts is not None and starts(node)):
            lit.update(leaving(node))
    return Reached(reached, lit)


def downstream(
    nodes: Iterable[onnx.NodeProto], tensors: Collection[str]
) -> Reached[onnx.NodeProto]:
    """Follow tensors of sorted nodes to all that depend on them."""
    return spread(nodes, tensors, lambda node: node.input, lambda node: filter(None, node.output))


def upstream(
    nodes: Sequence[onnx.NodeProto], tensors: Collection[str], stop: Collection[str] = ()
) -> Reached[onnx.NodeProto]:
    """Follow tensors of sorted nodes back to all they are made of, but not beyond those in `stop`.

    The nodes come in reverse order.
    """
    ends = set(stop)

    def entering(node: onnx.NodeProto) -> list[str]:
        return [tensor for tensor in node.output if tensor not in ends]

    return spread(reversed(nodes), tensors, entering, lambda node: filter(None, node.input))
