"""Corrections fitted with the SNN's own answers: what thresholds alone cannot mend.

Bias (Li et al. 2021, light calibration): per channel, the mean of a - r(T) is added to the input current, for all
sites at once, in a few rounds; the SNN is simulated again after each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from ._data import Samples
from ._graph import (
    Array,
    Graph,
    Node,
    Tensor,
    add_node,
    constant,
    is_output,
    make_constant,
    names_in,
    producer,
    tidy,
    unique_name,
    variable,
)
from ._operators import MAX_POOLS, is_weighted, standard
from ._ort import session_options
from ._partition import Site
from ._progress import Progress
from ._session import SpikingSession, affordable_batch
from ._settings import Settings
from ._specs import TensorSpec, fixed_batch
from ._thresholds import Calibration

ROUNDS, DAMPING = 8, 0.5
MOST_SAMPLES, BATCH = 300, 50


def correct_bias(
    build: Callable[[Sequence[Array]], onnx.ModelProto],
    sites: Sequence[Site],
    calibration: Calibration,
    thresholds: Sequence[Array],
    samples: Samples,
    specs: Sequence[TensorSpec],
    settings: Settings,
    progress: Progress,
) -> list[Array]:
    """Offsets b per site, in ANN units and of its threshold shape, to be added to its input current z.

    `build` makes the spiking model with given offsets. Each round adds what the mean output over all T steps still
    lacks of the ANN's mean activation, damped, since all sites move at once: b += (mean(a) - mean(r(T))) / 2.
    """
    offsets: list[Array] = [np.zeros_like(theta) for theta in thresholds]
    for done in range(1, ROUNDS + 1):
        session = SpikingSession(build(offsets), session_options(settings.threads), count_spikes=True)
        rates = mean_outputs(session, sites, thresholds, samples, specs, settings.timesteps)
        offsets = [b + DAMPING * (mean - rate) for b, mean, rate in zip(offsets, calibration.means, rates, strict=True)]
        progress("bias correction", done, ROUNDS)
    return offsets


def mean_outputs(
    session: SpikingSession,
    sites: Sequence[Site],
    thresholds: Sequence[Array],
    samples: Samples,
    specs: Sequence[TensorSpec],
    timesteps: int,
) -> list[Array]:
    """Mean of r(T) per site over (at most 300) samples and positions, in ANN units and of the thresholds' shapes."""
    fixed = fixed_batch(specs)
    count = min(len(samples), MOST_SAMPLES)
    size = fixed or affordable_batch(session, samples.batch([0]), min(count, BATCH))
    starts = range(0, max(count - size + 1, 1), size)
    totals: list[Array] = [np.zeros_like(theta) for theta in thresholds]
    for start in starts:
        feed = samples.batch(np.arange(start, start + size) % len(samples))
        session.run([], feed, timesteps, 0)
        counts = session.spike_counts()
        for total, site, theta in zip(totals, sites, thresholds, strict=True):
            axes = tuple(a for a in range(theta.ndim) if theta.shape[a] == 1)
            total += theta / timesteps * counts[site.name].mean(axis=axes, keepdims=True, dtype=np.float64)
    return [total / len(starts) for total in totals]


def with_offsets(graph: Graph, sites: Sequence[Site], offsets: Sequence[Array]) -> Graph:
    """A copy of the ANN in which each activation gets z + b; b goes into a bias before it where one can take it."""
    graph = graph.copy()
    taken = names_in(graph)
    by_name = {node.name: node for node in graph.nodes}
    for site, offset in zip(sites, offsets, strict=True):
        node = by_name[site.name]
        if np.any(offset) and not _into_bias(graph, node.inputs[0], offset, taken):
            z = node.inputs[0]
            shifted = variable(unique_name(taken, f"{node.name}/corrected"), like=z)
            fixed = make_constant(unique_name(taken, f"{node.name}/offset"), offset.astype(z.dtype or np.float32))
            add_node(graph, "Add", unique_name(taken, f"{node.name}/correct"), [z, fixed], [shifted])
            node.inputs[0] = shifted
    return tidy(graph)


def _into_bias(graph: Graph, tensor: Tensor, offset: Array, taken: set[str]) -> bool:
    """Add an offset per channel to the bias that reaches a tensor alone.

    Cases: a weighted operator with a constant bias or none takes it; a max-pool lets it through, since
    max(x) + b = max(x + b); of a sum one term takes it. Refused: whatever else, or feeds others too.
    """
    node = producer(tensor)
    if node is None or not standard(node) or len(tensor.outputs) != 1 or is_output(graph, tensor):
        return False
    if node.op in MAX_POOLS:
        return _into_bias(graph, node.inputs[0], offset, taken)
    if node.op == "Add":
        terms = [t for t in node.inputs if constant(t) is None and t.shape == tensor.shape]
        return any(_into_bias(graph, term, offset, taken) for term in terms)
    return is_weighted(node) and _extend_bias(node, offset, taken)


def _extend_bias(node: Node, offset: Array, taken: set[str]) -> bool:
    if node.op == "MatMul" or node.attrs.get("beta", 1.0) != 1.0 or constant(node.inputs[1]) is None:
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
    if bias is not None and constant(bias) is None:
        return False
    channels = node.outputs[0].shape[1]
    if not isinstance(channels, int):
        return False
    old = np.zeros(1) if bias is None else np.asarray(constant(bias), np.float64)
    new = np.broadcast_to(old.ravel() if old.size in (1, channels) else old, (channels,)) + offset.ravel()
    dtype = np.asarray(constant(node.inputs[1])).dtype
    tensor = make_constant(unique_name(taken, f"{node.name}/corrected_bias"), new.astype(dtype))
    if len(node.inputs) > 2:
        node.inputs[2] = tensor
    else:
        node.inputs.append(tensor)
    return True
