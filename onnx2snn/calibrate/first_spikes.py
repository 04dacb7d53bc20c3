"""Steps left out of the answer, and how long the first spikes take to cross the network: the `auto` delay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.partition import Site


def automatic_delay(
    graph: Graph, sites: Sequence[Site], thresholds: Sequence[Array], means: Sequence[Array]
) -> int:
    """Steps until spikes have come through every layer on the slowest path (rounded).

    A site's first spike comes after the minimum over its channels of (θ_c / 2) / mean(a_c) steps, both in ANN units,
    since its neurons start at half their threshold; the delay is the largest sum of these over a path.
    """
    first = {
        site.name: _first_spike(theta, mean)
        for site, theta, mean in zip(sites, thresholds, means, strict=True)
    }
    arrival: dict[int, float] = {}
    latest = 0.0
    for node in graph.nodes:  # sorted
        before = max((arrival.get(id(t), 0.0) for t in node.inputs), default=0.0)
        time = before + first.get(node.name, 0.0)
        latest = max(latest, time)
        arrival.update((id(t), time) for t in node.outputs)
    return round(latest)


def _first_spike(theta: Array, mean: Array) -> float:
    awake = mean > 0
    return float(np.min(theta[awake] / 2.0 / mean[awake])) if np.any(awake) else 0.0
