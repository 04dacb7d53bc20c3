"""Reachability: the nodes and tensors that lie downstream or upstream of others.

One walk over sorted nodes serves graphs of either kind. A tensor is anything that can be hashed and
compared: a name, or the identity of a graph's tensor.
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
    """The nodes that a walk reached, in its order, and the tensors it started from or passed."""

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
        starts: Nodes from which the walk starts, too. Such a node counts as reached only if it lies
            behind another.

    Returns:
        The nodes and tensors that were reached.
    """
    lit = set(tensors)
    reached = []
    for node in nodes:
        hit = not lit.isdisjoint(entering(node))
        if hit:
            reached.append(node)
        goes_on = hit or (starts is not None and starts(node))
        if goes_on:
            lit.update(leaving(node))
    return Reached(reached, lit)


def downstream(
    nodes: Iterable[onnx.NodeProto], tensors: Collection[str]
) -> Reached[onnx.NodeProto]:
    """Follow tensors of sorted nodes to all that depend on them."""
    return spread(nodes, tensors, _tensors_read, _named_outputs)


def upstream(
    nodes: Sequence[onnx.NodeProto], tensors: Collection[str], stop: Collection[str] = ()
) -> Reached[onnx.NodeProto]:
    """Follow tensors of sorted nodes back to all they are made of, but not beyond those in `stop`.

    The nodes come in reverse order.
    """
    ends = set(stop)

    def entering(node: onnx.NodeProto) -> list[str]:
        return [tensor for tensor in node.output if tensor not in ends]

    return spread(reversed(nodes), tensors, entering, _named_inputs)


def _tensors_read(node: onnx.NodeProto) -> list[str]:
    return list(node.input)


def _named_inputs(node: onnx.NodeProto) -> Iterable[str]:
    # an optional input that is left out has the name ""
    return filter(None, node.input)


def _named_outputs(node: onnx.NodeProto) -> Iterable[str]:
    return filter(None, node.output)
