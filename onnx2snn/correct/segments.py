"""The arranged ANN cut at its neuron sites: what computes one layer's input current from the activations before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from onnx2snn.graph.editing import constant, is_output, submodel
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Partition, Site
from onnx2snn.protos.nodes import MAX_POOLS


@dataclass(frozen=True)
class Response:
    """A weighted operator between two sites: `x` goes in, and its weights can change `y`, all by name.

    `y` is its output, or the sum its output goes into where no weighted operator behind it has a part in the same sum.
    """

    node: str
    x: str
    y: str


@dataclass(frozen=True)
class Segment:
    """What lies between the sites before and one site; `site` None: the readout.

    `takes`: the site tensors it reads; `current`: the input current of its site; `responses`: the operators with
    weights whose input depends on spikes, in order; `analog`: whether a telescoped operator is part of it; `pools`:
    whether a max-pool is. Where neither is, the current is an affine function of the spikes.
    """

    site: Site | None
    takes: tuple[str, ...]
    current: str | None
    responses: tuple[Response, ...]
    analog: bool = False
    pools: bool = False

    @property
    def tensors(self) -> tuple[str, ...]:
        """What can be compared with the ANN: the input current and the responses."""
        return tuple(
            dict.fromkeys(
                [*([self.current] if self.current else []), *(r.y for r in self.responses)]
            )
        )


def segments(graph: Graph, parts: Partition) -> list[Segment]:
    """One segment a site, in order, and the readout last."""
    by_name = {node.name: node for node in graph.nodes}
    ends = {site.tensor for site in parts.sites}
    readout, analog = parts.names("readout"), parts.names("analog")
    found = []
    for site in parts.sites:
        current = by_name[site.name].inputs[0]
        nodes, takes = _before(graph, [current], ends)
        telescoped = any(node.name in analog for node in nodes)
        pools = any(node.op in MAX_POOLS for node in nodes)
        found.append(
            Segment(site, takes, current.name, _responses(graph, nodes, takes), telescoped, pools)
        )
    tops = [node.inputs[0] for node in graph.nodes if node.name in readout and is_weighted(node)]
    nodes, takes = _before(graph, [*tops, *graph.outputs], ends)
    found.append(
        Segment(
            None, takes, None, _responses(graph, [n for n in nodes if n.name in readout], takes)
        )
    )
    return found


def segment_model(graph: Graph, segment: Segment, outputs: Sequence[str]) -> onnx.ModelProto:
    """The model from the ANN's inputs and the sites' tensors to some of a segment's tensors."""
    tensors = graph.tensors()
    nodes, takes = _before(graph, [tensors[name] for name in outputs], set(segment.takes))
    return submodel(
        graph, nodes, [tensors[name] for name in takes], [tensors[name] for name in outputs]
    )


def _before(
    graph: Graph, targets: Sequence[Tensor], ends: set[str]
) -> tuple[list[Node], tuple[str, ...]]:
    """The nodes that compute some tensors from site tensors (and model inputs), in order, and those site tensors."""
    wanted = {t.name for t in targets}
    nodes = []
    for node in reversed(graph.nodes):
        if any(t.name in wanted and t.name not in ends for t in node.outputs):
            nodes.append(node)
            wanted.update(t.name for t in node.inputs if constant(t) is None)
    return nodes[::-1], tuple(sorted(wanted & ends))


def _responses(graph: Graph, nodes: Sequence[Node], takes: Sequence[str]) -> tuple[Response, ...]:
    inside = {node.name for node in nodes}
    varying = set(takes)
    claimed: set[str] = set()
    weighted = []
    for node in nodes:
        if any(t.name in varying for t in node.inputs):
            varying.update(t.name for t in node.outputs)
            if is_weighted(node) and node.inputs[0].name in varying:
                weighted.append(node)
    found = []
    for node in reversed(weighted):
        y = _sum_behind(graph, node, inside)
        y = node.outputs[0] if y.name in claimed else y
        claimed.add(y.name)
        found.append(Response(node.name, node.inputs[0].name, y.name))
    return tuple(reversed(found))


def _sum_behind(graph: Graph, node: Node, inside: set[str]) -> Tensor:
    """A node's output, followed through Adds as long as it feeds nothing else and keeps its shape."""
    y = node.outputs[0]
    while not is_output(graph, y) and len(y.outputs) == 1:
        behind = y.outputs[0]
        if behind.op != "Add" or behind.name not in inside or behind.outputs[0].shape != y.shape:
            break
        y = behind.outputs[0]
    return y
