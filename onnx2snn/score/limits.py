"""Limits of neurons: activations that bound what a neuron can tell, and nothing else.

A Relu, or a Clip, that only neurons read says that what they tell lies at 0 or above, or between
two bounds. It compares with constants, as a neuron does at its thresholds, and multiplies nothing:
it is a part of the neuron, as the ReLU is in rate coding. Cases: Relu, Clip, Max and Min with
constants, followed by nothing but these and additions of constants on the way to the neurons.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set

from onnx import GraphProto, NodeProto

from onnx2snn.protos.nodes import standard
from onnx2snn.protos.walk import subgraphs
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import ESTIMATING

COMPARING = ("Relu", "Clip", "Max", "Min")

SHIFTING = ("Add", "Sub")


def neuron_limits(graph: GraphProto, varying: Set[str]) -> set[str]:
    """Return the tensors that limits make, of which all readers are neurons or such tensors' nodes.

    Args:
        graph: A step graph, its nodes sorted.
        varying: The tensors that depend on a spike; all others are constants.
    """
    readers = _readers(graph)
    kept = {value.name for value in graph.output}
    before: set[str] = set()
    found = set()
    for node in reversed(graph.node):
        if not _may_lead(node, varying):
            continue
        (name,) = node.output
        if name in kept or not readers[name]:
            continue
        if all(_goes_on(reader, name, before) for reader in readers[name]):
            before.add(name)
            if node.op_type in COMPARING:
                found.add(name)
    return found


def _readers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """Return the nodes that read each tensor; a node reads what graphs inside it read."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        names = set(node.input)
        for inner in subgraphs([node]):
            names.update(name for reader in inner.node for name in reader.input)
        for name in names:
            readers[name].append(node)
    return readers


def _may_lead(node: NodeProto, varying: Set[str]) -> bool:
    """Return whether a node compares a tensor with constants, or shifts it by one."""
    if not standard(node) or node.op_type not in (*COMPARING, *SHIFTING):
        return False
    moving = [name for name in node.input if name in varying]
    return moving == [node.input[0]]


def _goes_on(reader: NodeProto, name: str, before: Set[str]) -> bool:
    """Return whether a reader is a neuron that is told of the tensor, or leads to neurons alone."""
    if reader.domain == SNN_DOMAIN and reader.op_type in ESTIMATING:
        return bool(reader.input[0] == name)
    return any(made in before for made in reader.output)
