"""Corrections fitted with the SNN's own answers: what thresholds alone cannot mend (Li et al. 2021).

A correction changes the biases of the ANN's layers, their weights, or the neurons' initial potentials. It is found
layer by layer (`correct.layerwise`) or for all layers at once (`correct_in_rounds`), and applied here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import (
    add_node,
    constant,
    is_output,
    make_constant,
    names_in,
    producer,
    redirect,
    tidy,
    unique_name,
    variable,
)
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.nodes import MAX_POOLS, standard
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.session import SpikingSession
from onnx2snn.snn.neurons import INITIAL_POTENTIAL

DAMPING = 0.5
MOST_SAMPLES, BATCH = 300, 50


@dataclass(frozen=True)
class Correction:
    """The arranged ANN with corrected weights and biases, and the neurons' initial potentials.

    `potentials`: per site in threshold units, broadcastable to its tensor (None: half a threshold everywhere);
    `skipped`: the weighted nodes whose weights could not be fitted, with the reason.
    """

    graph: Graph
    potentials: tuple[Array, ...] | None = None
    skipped: tuple[tuple[str, str], ...] = ()


def correct_in_rounds(
    job: Job,
    build: Callable[[Correction], onnx.ModelProto],
    thresholds: Sequence[Array],
    activations: Sequence[Array],
) -> Correction:
    """Correct bias and potential of all layers at once, in a few simulated rounds (light calibration).

    `build` makes the spiking model of a correction; `activations` are the ANN's means per site, in ANN units. Each
    round adds to the bias what the mean output over all T steps still lacks of the mean activation, damped since all
    layers move at once, b += (mean(a) - mean(r(T))) / 2, or the same to the initial potential, T / θ as much.
    """
    graph, sites, settings = job.graph, job.sites, job.settings
    rounds, timesteps = settings.rounds, settings.steps
    offsets: list[Array] = [np.zeros_like(theta) for theta in thresholds]
    potentials: list[Array] = [np.full(theta.shape, INITIAL_POTENTIAL) for theta in thresholds]

    def kept() -> tuple[Array, ...] | None:
        return tuple(potentials) if "potential" in settings.corrections else None

    for done in range(1, rounds + 1):
        now = Correction(with_offsets(graph, sites, offsets), kept())
        session = SpikingSession(build(now), threads=job.threads, count_spikes=True)
        rates = mean_outputs(job, session, thresholds)
        lacking = [DAMPING * (mean - rate) for mean, rate in zip(activations, rates, strict=True)]
        if "bias" in settings.corrections:
            offsets = [b + step for b, step in zip(offsets, lacking, strict=True)]
        if "potential" in settings.corrections:
            steps = [
                timesteps * step / theta for step, theta in zip(lacking, thresholds, strict=True)
            ]
            potentials = [
                within_threshold(v + step) for v, step in zip(potentials, steps, strict=True)
            ]
        job.progress("corrections", done, rounds)
    return Correction(with_offsets(graph, sites, offsets), kept())


def within_threshold(potential: Array) -> Array:
    """Initial potentials between 0 and the threshold: a neuron without input never fires."""
    return np.clip(potential, 0.0, np.nextafter(np.float32(1), np.float32(0)))


def mean_outputs(job: Job, session: SpikingSession, thresholds: Sequence[Array]) -> list[Array]:
    """Mean of r(T) per site over (at most 300) samples and positions, in ANN units and of the thresholds' shapes."""
    sites, samples, timesteps, fixed = job.sites, job.samples, job.settings.steps, job.fixed_batch
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
            total += (
                theta
                / timesteps
                * counts[site.name].mean(axis=axes, keepdims=True, dtype=np.float64)
            )
    return [total / len(starts) for total in totals]


def with_offsets(graph: Graph, sites: Sequence[Site], offsets: Sequence[Array]) -> Graph:
    """A copy of the ANN in which each activation gets z + b; b goes into a bias before it where one can take it."""
    by_name = {node.name: node for node in graph.nodes}
    pairs = zip(sites, offsets, strict=True)
    return with_shifts(
        graph, {(by_name[site.name].inputs[0].name, site.name): offset for site, offset in pairs}
    )


def with_shifts(graph: Graph, shifts: dict[tuple[str, str | None], Array]) -> Graph:
    """A copy of the ANN in which tensors are shifted by a constant, for one consumer or (None) for all.

    Keys are (tensor name, consumer's name); values broadcast to the tensor. A bias before it takes the shift where one
    can, else an Add does.
    """
    graph = graph.copy()
    taken = names_in(graph)
    tensors = graph.tensors()
    for (name, reader), shift in shifts.items():
        tensor = tensors[name]
        if not np.any(shift) or _into_bias(graph, tensor, shift, taken):
            continue
        consumers: Collection[Node] | None = (
            None if reader is None else [n for n in tensor.outputs if n.name == reader]
        )
        label = reader or name
        shifted = variable(unique_name(taken, f"{label}/corrected"), like=tensor)
        redirect(graph, tensor, shifted, consumers)
        if is_output(graph, shifted):  # the output keeps its name
            shifted.name, tensor.name = tensor.name, shifted.name
        fixed = make_constant(
            unique_name(taken, f"{label}/offset"), shift.astype(tensor.dtype or np.float32)
        )
        add_node(graph, "Add", unique_name(taken, f"{label}/correct"), [tensor, fixed], [shifted])
    return tidy(graph)


def _into_bias(graph: Graph, tensor: Tensor, offset: Array, taken: set[str]) -> bool:
    """Add an offset per channel to the bias that reaches a tensor alone.

    Cases: a weighted operator with a constant bias or none takes it; a max-pool lets it through, since
    max(x) + b = max(x + b); of a sum one term takes it. Refused: whatever else, or feeds others too.
    """
    node = producer(tensor)
    if (
        node is None
        or not standard(node)
        or len(tensor.outputs) > 1
        or (is_output(graph, tensor) and tensor.outputs)
    ):
        return False
    if node.op in MAX_POOLS:
        return _into_bias(graph, node.inputs[0], offset, taken)
    if node.op == "Add":
        terms = [t for t in node.inputs if constant(t) is None and t.shape == tensor.shape]
        return any(_into_bias(graph, term, offset, taken) for term in terms)
    return is_weighted(node) and _extend_bias(node, offset, taken)


def _extend_bias(node: Node, offset: Array, taken: set[str]) -> bool:
    if (
        node.op == "MatMul"
        or node.attrs.get("beta", 1.0) != 1.0
        or constant(node.inputs[1]) is None
    ):
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
    if bias is not None and constant(bias) is None:
        return False
    shape = node.outputs[0].shape
    channels = None if shape is None else shape[1]
    if not isinstance(channels, int):
        return False
    old = np.zeros(1) if bias is None else np.asarray(constant(bias), np.float64)
    new = (
        np.broadcast_to(old.ravel() if old.size in (1, channels) else old, (channels,))
        + offset.ravel()
    )
    dtype = np.asarray(constant(node.inputs[1])).dtype
    tensor = make_constant(unique_name(taken, f"{node.name}/corrected_bias"), new.astype(dtype))
    if len(node.inputs) > 2:
        node.inputs[2] = tensor
    else:
        node.inputs.append(tensor)
    return True


def with_weights(graph: Graph, node: Node, change: Array) -> None:
    """Add to a node's weights, in place: as a constant of its own, which no other node shares."""
    old = np.asarray(constant(node.inputs[1]))
    name = unique_name(names_in(graph), f"{node.name}/corrected_weights")
    node.inputs[1] = make_constant(name, (old.astype(np.float64) + change).astype(old.dtype))
