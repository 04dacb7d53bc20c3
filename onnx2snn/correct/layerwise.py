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
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.correction import (
    Correction,
    change_weights,
    with_offsets,
    with_shifts,
    within_threshold,
)
from onnx2snn.correct.currents import mean_current
from onnx2snn.correct.firing import LayerNeurons, fire
from onnx2snn.correct.layer_simulation import ByTensor, LayerSimulation
from onnx2snn.correct.ridge import fit_weights
from onnx2snn.correct.sample_order import require_order
from onnx2snn.correct.segments import Response, Segment, segments
from onnx2snn.correct.sent import Sent
from onnx2snn.graph.types import Node
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.snn.neurons import INITIAL_POTENTIAL

MOST_SAMPLES = 200
"""Samples that are simulated."""

OUTPUT_ROUNDS = 1
"""Times a bias is corrected by what the mean output lacks, after the mean input current has been.
"""

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
    settings = job.settings
    *layers, readout = segments(job.graph, job.partition)
    simulation = LayerSimulation(job, _chosen(job), delay)
    require_order(simulation, [*layers, readout])
    last = _last_readers([*layers, readout])
    corrected = []
    for index, segment in enumerate(layers):
        neurons = _correct_site(simulation, segment, thresholds[index])
        corrected.append(neurons)
        # spike trains are large: each goes with its last reader
        for name in list(simulation.sent):
            if last.get(name, -1) <= index:
                del simulation.sent[name]
        job.progress("corrections", index + 1, len(layers) + 1)
    _correct_readout(simulation, readout)
    job.progress("corrections", len(layers) + 1, len(layers) + 1)
    offsets = [neurons.offset for neurons in corrected]
    graph = with_offsets(simulation.graph, job.sites, offsets)
    potentials = None
    if "potential" in settings.corrections:
        potentials = tuple(neurons.potential for neurons in corrected)
    return Correction(graph, potentials, tuple(simulation.skipped))


def _chosen(job: Job) -> Array:
    """Return the numbers of the samples that are simulated."""
    neurons = max(site.neurons for site in job.sites)
    affordable = MOST_VALUES // (neurons * job.settings.steps)
    most = min(len(job.samples), MOST_SAMPLES)
    count = int(np.clip(affordable, 1, most))
    order = np.random.default_rng(job.settings.seed).permutation(len(job.samples))
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
    site, current = segment.site, segment.current
    assert site is not None and current is not None
    corrections = simulation.job.settings.corrections
    activations = simulation.activations(segment)
    wanted = simulation.run(simulation.original, segment, segment.tensors, activations)
    means = simulation.means(segment, 0)
    if "weights" in corrections:
        for response in segment.responses:
            _fit(simulation, segment, response, wanted, means)
    session = simulation.open(simulation.graph, segment, [current])
    # a = clip(z, 0, u)
    activation = np.clip(wanted[current], 0, site.upper).astype(np.float32)
    layer = _Layer(simulation, segment, site, session, activation)
    shape = site.threshold_shape("channel")
    neurons = LayerNeurons(theta, np.zeros(shape), np.full(shape, INITIAL_POTENTIAL))
    if "bias" in corrections:
        found = mean_current(simulation, session, segment, means)
        neurons = layer.with_bias(neurons, _lacking(wanted[current], found))
    if "potential" in corrections:
        neurons = layer.with_potential(neurons)
    spikes, total = layer.fire(neurons, simulation.count)
    simulation.sent[site.tensor] = Sent(activation, spikes, total, theta)
    return neurons


@dataclass(frozen=True)
class _Layer:
    """A site at work: `session` computes its input current, `activation` is the ANN's [N, ...]."""

    simulation: LayerSimulation
    segment: Segment
    site: Site
    session: ort.InferenceSession
    activation: Array

    def fire(self, neurons: LayerNeurons, count: int) -> tuple[Array, Array]:
        """Return the spikes of its first `count` samples and their sum over time."""
        return fire(self.simulation, self.session, self.segment, neurons, count)

    def output_lacks(self, neurons: LayerNeurons, count: int) -> Array:
        """Return a - r(T) of the first `count` samples, in ANN units."""
        _, total = self.fire(neurons, count)
        # r(T) = (θ / T) Σ s(t)
        unit = neurons.theta / self.simulation.job.settings.steps
        rates = total * unit.astype(np.float32)
        return _lacking(self.activation[: len(total)], rates)

    def with_bias(self, neurons: LayerNeurons, current_lacks: Array) -> LayerNeurons:
        """Return neurons whose offset per channel makes up for current, then for output."""
        # b = mean(z - mean current), then b += mean(a - r(T))
        offset = self._by_channel(current_lacks)
        for _ in range(OUTPUT_ROUNDS):
            now = replace(neurons, offset=offset)
            lacks = self.output_lacks(now, OUTPUT_SAMPLES)
            offset = offset + self._by_channel(lacks)
        return replace(neurons, offset=offset)

    def with_potential(self, neurons: LayerNeurons) -> LayerNeurons:
        """Return neurons whose initial potentials make up for what their output lacks.

        Each has a potential of its own, or each channel where a size is not static.
        """
        lacks = self.output_lacks(neurons, self.simulation.count)
        static = all(isinstance(size, int) for size in self.site.shape[1:])
        axes = 0 if static else self._other_axes()
        # v(0) += (T / θ) mean(a - r(T))
        factor = self.simulation.job.settings.steps / neurons.theta
        potential = neurons.potential + factor * lacks.mean(axis=axes, keepdims=True)
        return replace(neurons, potential=within_threshold(potential))

    def _by_channel(self, values: Array) -> Array:
        mean: Array = values.mean(axis=self._other_axes(), keepdims=True, dtype=np.float64)
        return mean

    def _other_axes(self) -> tuple[int, ...]:
        """Return the axes along which thresholds do not vary."""
        shape = self.site.threshold_shape("channel")
        return tuple(axis for axis, size in enumerate(shape) if size == 1)


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
    if response.node in simulation.fitted:
        return
    simulation.fitted.add(response.node)
    node = simulation.node(response.node)
    x = node.inputs[0].name
    found = simulation.run(simulation.graph, segment, [x, response.y], means)
    lacking = _lacking(wanted[response.y], found[response.y])
    inputs = found[x]
    if segment.analog:
        inputs = np.nan_to_num(inputs, posinf=0.0, neginf=0.0)
    centred = "bias" in simulation.job.settings.corrections
    change = fit_weights(node, inputs, lacking, centred=centred)
    if isinstance(change, str):
        simulation.skipped.append((response.node, change))
    else:
        change_weights(simulation.editor, node, change)


def _correct_readout(simulation: LayerSimulation, segment: Segment) -> None:
    """Fit weights and biases of the readout's operators in order, after the delay."""
    corrections = simulation.job.settings.corrections
    if not segment.responses or not {"bias", "weights"}.intersection(corrections):
        return
    activations = simulation.activations(segment)
    wanted = simulation.run(simulation.original, segment, segment.tensors, activations)
    means = simulation.means(segment, simulation.delay)
    for response in segment.responses:
        if "weights" in corrections:
            _fit(simulation, segment, response, wanted, means)
        if "bias" in corrections:
            found = simulation.run(simulation.graph, segment, [response.y], means)
            lacking = _lacking(wanted[response.y], found[response.y])
            shift = _by_output_channel(simulation.node(response.node), lacking)
            shifted = with_shifts(simulation.graph, {(response.y, None): shift})
            simulation.replace_graph(shifted)


def _lacking(wanted: Array, found: Array) -> Array:
    """Return how much the SNN's answer lacks of the ANN's, 0 where either is no number."""
    difference: Array = wanted - found
    if not np.isfinite(difference.sum()):
        difference[~np.isfinite(difference)] = 0.0
    return difference


def _by_output_channel(node: Node, values: Array) -> Array:
    """Return the means of a weighted operator's output over all axes but that of its channels."""
    channels = 1 if node.op.startswith("Conv") else values.ndim - 1
    others = tuple(axis for axis in range(values.ndim) if axis != channels)
    mean: Array = values.mean(axis=others, keepdims=True, dtype=np.float64)
    return mean
