"""The order in which operators move or split before statistics are taken.

First bounds become Clips, then max-pools move to the front of their activation, at last activations
split into the ones that fire. What core and readout both compute from shapes comes apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx2snn.graph.editing import tidy
from onnx2snn.graph.shape_inference import Trial, infer_shapes
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.activations import split_activations
from onnx2snn.prepare.clips import make_clips
from onnx2snn.prepare.feeding import feeding
from onnx2snn.prepare.max_pools import move_pools
from onnx2snn.prepare.shapes_apart import separate_shapes
from onnx2snn.prepare.turning_pools import turn_pools


@dataclass
class Arrangement:
    """What `arrange` did.

    `moved_pools`: names of the ANN's max-pools that moved; `sources`: of each activation named
    otherwise than the ANN node it came from, that node.
    """

    moved_pools: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)


def arrange(graph: Graph, trial: Trial | None = None) -> tuple[Graph, Arrangement]:
    """Bring every activation into the form that fires, and every max-pool before one that it can
    get to.

    The graph is changed; what computes the same is returned, with its shapes. Those that are
    inferred are confirmed by `trial`.
    """
    done = Arrangement()
    candidates = feeding(list(graph.nodes)).candidates
    make_clips(graph, candidates)
    turned = turn_pools(graph, done.sources)
    if turned:
        graph = tidy(graph)
    done.moved_pools = [*turned, *move_pools(graph, done.sources)]
    if done.moved_pools:
        graph = tidy(graph)
        infer_shapes(graph, trial)
    candidates = feeding(list(graph.nodes)).candidates
    split_activations(graph, candidates, done.sources)
    graph = tidy(graph)
    if separate_shapes(graph):
        graph = tidy(graph)
    infer_shapes(graph, trial, confirm=True)
    return graph, done
