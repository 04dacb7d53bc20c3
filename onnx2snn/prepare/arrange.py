"""The order in which operators move or split before statistics are taken.

First bounds become Clips, then max-pools move to the front of their activation, at last activations
split into the ones that fire.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx2snn.graph.editing import tidy
from onnx2snn.graph.shape_inference import infer_shapes
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.activations import split_activations
from onnx2snn.prepare.clips import make_clips
from onnx2snn.prepare.max_pools import move_pools


@dataclass
class Arrangement:
    """What `arrange` did.

    `moved_pools`: names of the ANN's max-pools that moved; `sources`: of each activation named
    otherwise than the ANN node it came from, that node.
    """

    moved_pools: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)


def arrange(graph: Graph) -> tuple[Graph, Arrangement]:
    """Bring every activation into the form that fires, and every max-pool before one that it can
    get to.

    The graph is changed; what computes the same is returned, with inferred shapes.
    """
    done = Arrangement()
    make_clips(graph)
    done.moved_pools = move_pools(graph, done.sources)
    if done.moved_pools:
        graph = tidy(graph)
        infer_shapes(graph)
    split_activations(graph, done.sources)
    graph = tidy(graph)
    infer_shapes(graph)
    return graph, done
