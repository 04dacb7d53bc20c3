"""The arranged ANN cut at its neuron sites into segments.

A segment computes one layer's input current from the activations before it; the last one is the
readout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx

from onnx2snn.graph.editing import constant, is_output, submodel
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Partition, Site
from onnx2snn.protos.nodes import MAX_POOLS
from onnx2snn.protos.reach import spread

Names = Sequence[str]
"""Names of tensors."""


@dataclass(frozen=True)
class Response:
    """A weighted operator between two sites: `x` goes in, and its weights can change `y`, by name.

    `y` is its output, or the sum its output goes into where no weighted operator behind it has a
    part in the same sum.
    """

    node: str
    x: str
    y: str


@dataclass(frozen=True)
class Segment:
    """The operators between one site and those before it; `site` is None in the readout.

    `takes`: the site tensors it reads; `current`: the input current of its site; `responses`: the
    weighted operators whose input depends on spikes, in order; `analog`: whether a telescoped
    operator is part of it; `pools`: whether a max-pool is. Where neither is, the current is an
    affine function of the spikes.
    """

    site: Site | None
    takes: Names
    current: str | None
    responses: tuple[Response, ...]
    analog: bool = False
    pools: bool = False

    @property
    def tensors(self) -> Names:
        """The tensors that can be compared with the ANN: the input current and the responses."""
        names = [response.y for response in self.responses]
        if self.current:
            names.insert(0, self.current)
        return tuple(dict.fromkeys(names))


def segments(graph: Graph, parts: Partition) -> list[Segment]:
    """Return one segment a site, in order, and the readout last.

    Args:
        graph: The arranged ANN, its nodes sorted.
        parts: Its partition.
    """
    by_name = {node.name: node for node in graph.nodes}
    ends = {site.tensor for site in parts.sites}
    analog = parts.names("analog")
    found = []
    for site in parts.sites:
        current = by_name[site.name].inputs[0]
        nodes, takes = _nodes_between(graph, [current], ends)
        names = {node.name for node in nodes}
        operators = {node.op for node in nodes}
        segment = Segment(
            site=site,
            takes=takes,
            current=current.name,
            responses=_responses(graph, nodes, takes),
            analog=not names.isdisjoint(analog),
            pools=not operators.isdisjoint(MAX_POOLS),
        )
        found.append(segment)
    found.append(_readout(graph, parts, ends))
    return found


def _readout(graph: Graph, parts: Partition, ends: set[str]) -> Segment:
    names = parts.names("readout")
    inside = [node for node in graph.nodes if node.name in names]
    weighted = [node for node in inside if is_weighted(node)]
    inputs = [node.inputs[0] for node in weighted]
    targets = inputs + graph.outputs
    nodes, takes = _nodes_between(graph, targets, ends)
    own = [node for node in nodes if node.name in names]
    responses = _responses(graph, own, takes)
    return Segment(None, takes, None, responses)


def segment_model(graph: Graph, segment: Segment, outputs: Names) -> onnx.ModelProto:
    """Return the model that computes some tensors of a segment.

    Args:
        graph: The arranged ANN.
        segment: Its site tensors are inputs of the model, beside the ANN's own inputs.
        outputs: The names of the tensors.
    """
    tensors = graph.tensors()
    targets = [tensors[name] for name in outputs]
    ends = set(segment.takes)
    nodes, takes = _nodes_between(graph, targets, ends)
    inputs = [tensors[name] for name in takes]
    return submodel(graph, nodes, inputs, targets)


def _nodes_between(
    graph: Graph, targets: Iterable[Tensor], ends: set[str]
) -> tuple[list[Node], Names]:
    """Return the nodes that compute some tensors from site tensors and the ANN's inputs.

    Args:
        graph: The arranged ANN, its nodes sorted.
        targets: The tensors that are computed.
        ends: The names of the site tensors; nodes before them are left out.

    Returns:
        The nodes in order, and the names of the site tensors they read.
    """

    def made(node: Node) -> set[str]:
        return _names(node.outputs) - ends

    def read(node: Node) -> set[str]:
        computed = [tensor for tensor in node.inputs if constant(tensor) is None]
        return _names(computed)

    # from the targets up to the sites
    backwards = reversed(graph.nodes)
    found = spread(backwards, _names(targets), made, read)
    nodes = found.nodes[::-1]
    takes = [name for name in ends if name in found.tensors]
    return nodes, tuple(sorted(takes))


def _names(tensors: Iterable[Tensor]) -> set[str]:
    return {tensor.name for tensor in tensors}


def _responses(graph: Graph, nodes: Sequence[Node], takes: Names) -> tuple[Response, ...]:
    """Return the weighted operators, of some sorted nodes, whose input depends on spikes."""
    inside = {node.name for node in nodes}
    claimed: set[str] = set()
    found = []
    # the last operator before a sum claims it; those before it answer for their own output
    for node in reversed(_driven_by_spikes(nodes, takes)):
        y = _sum_behind(graph, node, inside)
        if y.name in claimed:
            y = node.outputs[0]
        claimed.add(y.name)
        x = node.inputs[0]
        found.append(Response(node.name, x.name, y.name))
    return tuple(reversed(found))


def _driven_by_spikes(nodes: Sequence[Node], takes: Names) -> list[Node]:
    """Return the weighted operators, of some sorted nodes, whose first input depends on spikes."""

    def read(node: Node) -> set[str]:
        return _names(node.inputs)

    def made(node: Node) -> set[str]:
        return _names(node.outputs)

    time_varying = spread(nodes, takes, read, made).tensors
    weighted = [node for node in nodes if is_weighted(node)]
    # a matrix product of a constant with spikes has its weights on the left: it is not fitted
    return [node for node in weighted if node.inputs[0].name in time_varying]


def _sum_behind(graph: Graph, node: Node, inside: set[str]) -> Tensor:
    """Return a node's output, followed through Adds that alone read it and keep its shape."""
    y = node.outputs[0]
    while not is_output(graph, y):
        if len(y.outputs) != 1:
            break
        (behind,) = y.outputs
        if behind.op != "Add":
            break
        total = behind.outputs[0]
        if behind.name not in inside or total.shape != y.shape:
            break
        y = total
    return y
