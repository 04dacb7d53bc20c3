"""Corrections layer by layer, in one simulation of the network over all T steps.

Layers are taken in order, each with the spike trains that the corrected layers before it really
send. First its weights and its bias are fitted so that the mean input current is the ANN's, then
bias and initial potential so that the mean output is. Then it fires, with the neuron function that
the model is emitted with. That minimises the error bound of the paper's theorem 1 term by term: an
error is corrected before it is handed down and a layer adds its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.correction import (
    Correction,
    change_weights,
    with_offsets,
    with_shifts,
    within_threshold,
)
from onnx2snn.correct.currents import InputCurrent
from onnx2snn.correct.firing import LayerNeurons, fire
from onnx2snn.correct.layer_simulation import ByTensor, LayerSimulation
from onnx2snn.correct.means import broadcast_axes, mean_over
from onnx2snn.correct.ridge import fit_weights
from onnx2snn.correct.sample_order import in_sample_order
from onnx2snn.correct.segments import Response, Segment, segments
from onnx2snn.correct.sent import Sent
from onnx2snn.graph.types import Node
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.snn.neurons import INITIAL_POTENTIAL

MOST_SAMPLES = 200
"""Samples that are simulated."""

OUTPUT_ROUNDS = 1
"""Times a bias is corrected by the lack of mean output, after the mean input current has been."""

OUTPUT_SAMPLES = 50
"""Samples this takes; potentials, of which each neuron has its own, are corrected from all."""

MOST_VALUES = 2**28
"""Spikes of one layer over all steps and samples (int8)."""


def correct_layerwise(job: Job, thresholds: Sequence[Array], delay: int) -> Correction:
    """Correct what `settings.corrections` names, layer by layer.

    At most 200 samples are simulated, fewer where T steps of a large layer would not fit into
    memory.

    Args:
        job: The conversion.
        thresholds: Per site, in ANN units.
        delay: Steps left out of the answer.

    Raises:
        UsageError: A tensor does not hold its samples along axis 0.
    """
    simulation = LayerSimulation(job, _chosen(job), delay)
    found = in_sample_order(simulation, segments(job.graph, job.partition))
    last = _last_readers(found)
    count = len(found)
    offsets = []
    potentials = []
    for index, theta in enumerate(thresholds):
        neurons = _correct_site(simulation, found[index], theta)
        offsets.append(neurons.offset)
        potentials.append(neurons.potential)
        # spike trains are large: each goes with its last reader
        for name in list(simulation.sent):
            if last.get(name, -1) <= index:
                del simulation.sent[name]
        job.progress("corrections", index + 1, count)
    _correct_readout(simulation, found[-1])
    job.progress("corrections", count, count)
    graph = with_offsets(simulation.graph, job.sites, offsets)
    skipped = tuple(simulation.skipped)
    if "potential" in job.settings.corrections:
        return Correction(graph, tuple(potentials), skipped)
    return Correction(graph, skipped=skipped)


def _chosen(job: Job) -> Array:
    """Return the numbers of the samples that are simulated, in order."""
    available = len(job.samples)
    largest = max(site.neurons for site in job.sites)
    affordable = MOST_VALUES // (largest * job.settings.steps)
    most = min(available, MOST_SAMPLES)
    count = int(np.clip(affordable, 1, most))
    # random ones, in the order they are stored in
    rng = np.random.default_rng(job.settings.seed)
    order = rng.permutation(available)
    return np.sort(order[:count])


def _last_readers(found: Sequence[Segment]) -> dict[str, int]:
    """Return, by the name of a site's tensor, the number of the last segment that takes it."""
    last = {}
    for index, segment in enumerate(found):
        for name in segment.takes:
            last[name] = index
    return last


def _correct_site(simulation: LayerSimulation, segment: Segment, theta: Array) -> LayerNeurons:
    """Correct one site and let it fire; return its neurons with their offset and potential."""
    site = segment.site
    assert site is not None
    corrections = simulation.job.settings.corrections
    wanted = simulation.wanted(segment)
    means = simulation.means(segment, 0)
    # 1. W so that the mean input current is the ANN's
    if "weights" in corrections:
        for response in segment.responses:
            _fit(simulation, segment, response, wanted, means)
    current = InputCurrent(simulation, segment)
    # a = clip(z, 0, u)
    z = wanted[current.name]
    activation = np.clip(z, 0, site.upper).astype(np.float32)
    layer = _Layer(site, current, activation)
    neurons = layer.uncorrected(theta)
    # 2. b so that current and output are, in the mean over samples and positions
    if "bias" in corrections:
        lacks = _lacking(z, current.mean(means))
        neurons = layer.with_bias(neurons, lacks)
    # 3. v(0) so that the output of each neuron is, in the mean over samples
    if "potential" in corrections:
        neurons = layer.with_potential(neurons)
    spikes, total = fire(current, neurons, simulation.count)
    simulation.sent[site.tensor] = Sent(activation, spikes, total, theta)
    return neurons


@dataclass(frozen=True)
class _Layer:
    """A site at work, and the ANN's activation [N, ...] there."""

    site: Site
    current: InputCurrent
    activation: Array

    def uncorrected(self, theta: Array) -> LayerNeurons:
        """Return neurons without an offset, at half their threshold."""
        shape = self.site.threshold_shape("channel")
        offset = np.zeros(shape)
        potential = np.full(shape, INITIAL_POTENTIAL)
        return LayerNeurons(theta, offset, potential)

    def with_bias(self, neurons: LayerNeurons, current_lacks: Array) -> LayerNeurons:
        """Return neurons whose offset per channel makes up for current, then for output."""
        # b = mean(z - mean current), then b += mean(a - r(T))
        axes = self._other_axes()
        offset = mean_over(current_lacks, axes)
        for _ in range(OUTPUT_ROUNDS):
            now = replace(neurons, offset=offset)
            lacks = self._output_lacks(now, OUTPUT_SAMPLES)
            offset = offset + mean_over(lacks, axes)
        return replace(neurons, offset=offset)

    def with_potential(self, neurons: LayerNeurons) -> LayerNeurons:
        """Return neurons whose initial potentials make up for what their output lacks.

        Each has a potential of its own, or each channel where a size is not static.
        """
        simulation = self.current.simulation
        lacks = self._output_lacks(neurons, simulation.count)
        sizes = self.site.shape[1:]
        axes = self._other_axes()
        if all(isinstance(size, int) for size in sizes):
            axes = (0,)
        # v(0) += (T / θ) mean(a - r(T))
        factor = simulation.steps / neurons.theta
        mean = lacks.mean(axis=axes, keepdims=True)
        potential = neurons.potential + factor * mean
        return replace(neurons, potential=within_threshold(potential))

    def _output_lacks(self, neurons: LayerNeurons, count: int) -> Array:
        """Return a - r(T) of the first `count` samples, in ANN units."""
        _, total = fire(self.current, neurons, count)
        # r(T) = (θ / T) Σ s(t)
        unit = neurons.theta / self.current.simulation.steps
        rates = total * unit.astype(np.float32)
        activation = self.activation[: len(total)]
        return _lacking(activation, rates)

    def _other_axes(self) -> tuple[int, ...]:
        """Return the axes along which thresholds do not vary."""
        return broadcast_axes(self.site.threshold_shape("channel"))


def _fit(
    simulation: LayerSimulation,
    segment: Segment,
    response: Response,
    wanted: ByTensor,
    means: ByTensor,
) -> None:
    """Fit an operator's weights, once: a site it has served has fired.

    Args:
        simulation: The work so far.
        segment: The segment the operator is part of.
        response: The operator.
        wanted: The ANN's tensors.
        means: The mean outputs of the sites before the segment.
    """
    name, y = response.node, response.y
    if name in simulation.fitted:
        return
    simulation.fitted.add(name)
    node = simulation.node(name)
    x = node.inputs[0].name
    found = simulation.corrected(segment, [x, y], means)
    lacking = _lacking(wanted[y], found[y])
    inputs = found[x]
    # behind a telescoped operator an input may be no number until the first spike
    if segment.analog:
        inputs = np.nan_to_num(inputs, posinf=0.0, neginf=0.0)
    # where biases are corrected, the mean is theirs to mend
    centred = "bias" in simulation.job.settings.corrections
    change = fit_weights(node, inputs, lacking, centred=centred)
    if isinstance(change, str):
        reason = change
        simulation.skipped.append((name, reason))
        return
    change_weights(simulation.editor, node, change)


def _correct_readout(simulation: LayerSimulation, segment: Segment) -> None:
    """Fit weights and biases of the readout's operators in order, after the delay."""
    corrections = simulation.job.settings.corrections
    weights = "weights" in corrections
    bias = "bias" in corrections
    if not segment.responses or not (weights or bias):
        return
    wanted = simulation.wanted(segment)
    means = simulation.means(segment, simulation.delay)
    for response in segment.responses:
        if weights:
            _fit(simulation, segment, response, wanted, means)
        if bias:
            y = response.y
            found = simulation.corrected(segment, [y], means)
            lacking = _lacking(wanted[y], found[y])
            node = simulation.node(response.node)
            shift = mean_over(lacking, _other_axes(node, lacking.ndim))
            # the next operator is fitted to what this one now makes
            graph = with_shifts(simulation.graph, {(y, None): shift})
            simulation.replace_graph(graph)


def _other_axes(node: Node, ndim: int) -> tuple[int, ...]:
    """Return all axes of a weighted operator's output but that of its channels."""
    axes = list(range(ndim))
    channels = ndim - 1
    if node.op.startswith("Conv"):
        channels = 1
    axes.remove(channels)
    return tuple(axes)


def _lacking(wanted: Array, found: Array) -> Array:
    """Return how much the SNN's answer lacks of the ANN's, 0 where either is no number."""
    difference: Array = wanted - found
    total = difference.sum()
    if not np.isfinite(total):
        missing = ~np.isfinite(difference)
        difference[missing] = 0.0
    return difference
