"""Steps left out of the answer, and how long the first spikes take to cross the network: the `auto` delay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.errors import UsageError
from onnx2snn.graph.editing import Array, Graph
from onnx2snn.prepare.partition import Site

Delay = int | str | None
"""Steps left out of the answer: a number, "half", "auto", or None for the number stored in the model."""


def resolve_delay(delay: Delay, timesteps: int, stored: int, auto: int) -> int:
    """Steps left out at the start of a run (paper, section 5: delayed evaluation).

    None is the model's own number; a run no longer than that averages from the start, as the step graph does.
    Raises UsageError for a delay that leaves no step.
    """
    if timesteps < 1:
        raise UsageError(f"timesteps is {timesteps}; it has to be 1 or more")
    if delay is None:
        return stored if stored < timesteps else 0
    named = {"half": timesteps // 2, "auto": min(auto, timesteps // 2)}
    steps = named.get(delay, delay) if isinstance(delay, str) else delay
    if not isinstance(steps, int) or not 0 <= steps < timesteps:
        raise UsageError(
            f"delay is {delay!r}; it has to be 'auto', 'half' or a number from 0 to {timesteps - 1} "
            f"at {timesteps} time-steps"
        )
    return steps


def automatic_delay(graph: Graph, sites: Sequence[Site], thresholds: Sequence[Array], means: Sequence[Array]) -> int:
    """Steps until spikes have come through every layer on the slowest path (rounded).

    A site's first spike comes after the minimum over its channels of (θ_c / 2) / mean(a_c) steps, both in ANN units,
    since its neurons start at half their threshold; the delay is the largest sum of these over a path.
    """
    first = {site.name: _first_spike(theta, mean) for site, theta, mean in zip(sites, thresholds, means, strict=True)}
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
