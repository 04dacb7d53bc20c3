"""What drives each weighted operator where neurons stand in place of activations, and why.

- encoder: no neuron stands before it; it computes once an input.
- spiking: all it takes are spikes, moved and added by linear operators; behind the last neurons it
  takes their mean over time, which is one, too.
- analog: it takes real numbers at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnx2snn.graph.editing import constant
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Partition
from onnx2snn.prepare.weighted_sites import WeightedPartition, holds_weights
from onnx2snn.snn.format import Drive, WeightedEntry

PRODUCTS = ("MatMul", "Gemm", "Einsum")
"""Operators that may multiply two tensors that change."""


@dataclass(frozen=True)
class OperatorDrive:
    """A node that multiplies, and what drives it.

    `behind`: a weighted operator stands before it; `fed`: all it takes are spikes; `product`: it
    multiplies two tensors that weighted operators stand before.
    """

    node: Node
    drive: Drive
    reason: str
    behind: bool
    fed: bool
    product: bool


def drives_of(graph: Graph, parts: Partition) -> list[WeightedEntry]:
    """Return what drives the weighted operators of a graph, wherever its neurons stand.

    Args:
        graph: The graph that neurons are put into, its nodes sorted.
        parts: Its partition.
    """
    if isinstance(parts, WeightedPartition):
        return list(parts.weighted)
    return _activation_drives(graph, parts)


def _activation_drives(graph: Graph, parts: Partition) -> list[WeightedEntry]:
    """Return what drives the weighted operators of an arranged graph, in topological order."""
    entries = []
    for found in operator_drives(graph, parts):
        node = found.node
        entry = WeightedEntry(node=node.name, op=node.op, drive=found.drive, reason=found.reason)
        entries.append(entry)
    return entries


def operator_drives(graph: Graph, parts: Partition) -> Iterator[OperatorDrive]:
    """Yield what drives each weighted operator and each product of two tensors.

    Args:
        graph: The arranged graph, its nodes sorted.
        parts: Its partition for rate coding.
    """
    spikes: set[int] = set()
    behind: set[int] = set()
    for node in graph.nodes:
        taken = [tensor for tensor in node.inputs if constant(tensor) is None]
        weighted = holds_weights(node) and bool(taken)
        from_weights = any(id(tensor) in behind for tensor in taken)
        product = from_weights and _multiplies(node, behind)
        fed = _all_in(taken, spikes)
        role = parts.role(node)
        if weighted:
            drive, reason = _drive(parts, node, fed=fed, product=product)
            yield OperatorDrive(node, drive, reason, from_weights, fed, product)
        fires = role == "neuron"
        passes = role in ("linear", "pooled", "readout") and not is_weighted(node) and fed
        for tensor in node.outputs:
            if fires or passes:
                spikes.add(id(tensor))
            if is_weighted(node) or from_weights:
                behind.add(id(tensor))


def _drive(parts: Partition, node: Node, *, fed: bool, product: bool) -> tuple[Drive, str]:
    role = parts.role(node)
    if role == "encoder":
        return "encoder", "it takes the input itself, once"
    if product:
        return "analog", "it multiplies two tensors"
    if not is_weighted(node):
        return "analog", "its weights are not constant, or it computes on means"
    if not fed:
        return "analog", "it takes numbers that are no spikes"
    if role == "readout":
        return "spiking", "its operand is a mean of spikes"
    return "spiking", "its operand arrives as spikes"


def _multiplies(node: Node, behind: set[int]) -> bool:
    """Return whether both operands of a product are behind weighted operators."""
    if node.op not in PRODUCTS:
        return False
    return sum(id(tensor) in behind for tensor in node.inputs) > 1


def _all_in(tensors: Sequence[Tensor], known: set[int]) -> bool:
    moving = [tensor for tensor in tensors if not tensor.is_empty()]
    return bool(moving) and all(id(tensor) in known for tensor in moving)
