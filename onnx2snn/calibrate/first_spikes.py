"""First-spike times, summed over the slowest path through the network: the delay `auto`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.partition import Site


def automatic_delay(
    graph: Graph, sites: Sequence[Site], thresholds: Sequence[Array], means: Sequence[Array]
) -> int:
    """Return the time-steps until spikes have come through every layer on the slowest path.

    Args:
        graph: The arranged ANN, its nodes sorted.
        sites: Its neuron sites.
        thresholds: The neurons' thresholds per site, in ANN units.
        means: Mean activations per site, in ANN units and of the thresholds' shapes.

    Returns:
        The largest sum of first-spike times over a path from input to output, rounded.
    """
    first: dict[str, float] = {}
    for site, theta, mean in zip(sites, thresholds, means, strict=True):
        first[site.name] = _first_spike(theta, mean)
    arrival: dict[int, float] = {}
    latest = 0.0
    for node in graph.nodes:
        # longest path: a node's spikes leave once those of its slowest input have come
        time = 0.0
        for tensor in node.inputs:
            before = arrival.get(id(tensor), 0.0)
            time = max(time, before)
        time += first.get(node.name, 0.0)
        for tensor in node.outputs:
            arrival[id(tensor)] = time
        latest = max(latest, time)
    return round(latest)


def _first_spike(theta: Array, mean: Array) -> float:
    """Return a site's first-spike time in steps, 0 where it is silent.

    It is the minimum over its channels of (θ_c / 2) / mean(a_c): neurons start at half their
    threshold.
    """
    awake = mean > 0
    if not np.any(awake):
        return 0.0
    steps = theta[awake] / 2.0 / mean[awake]
    return float(np.min(steps))
