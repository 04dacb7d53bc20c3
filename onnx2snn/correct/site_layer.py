"""One site corrected and fired: weights, bias, initial potentials, then its spikes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk, Gathered
from onnx2snn.correct.correction import within_threshold
from onnx2snn.correct.currents import InputCurrent
from onnx2snn.correct.firing import Fired, LayerNeurons, fire
from onnx2snn.correct.layer_simulation import LayerSimulation
from onnx2snn.correct.means import RunningMean, broadcast_axes, lacking
from onnx2snn.correct.operator_fits import fit_operator
from onnx2snn.correct.segments import Segment
from onnx2snn.correct.sent import Sent
from onnx2snn.correct.spike_trains import spike_type
from onnx2snn.prepare.partition import Site
from onnx2snn.snn.neurons import INITIAL_POTENTIAL

OUTPUT_ROUNDS = 1
"""Times a bias is corrected by the lack of mean output, after the mean input current has been."""

OUTPUT_SAMPLES = 50
"""Samples this takes; potentials, of which each neuron has its own, are corrected from all."""


def correct_site(simulation: LayerSimulation, segment: Segment, theta: Array) -> LayerNeurons:
    """Correct one site and let it fire; return its neurons with their offset and potential."""
    site = segment.site
    assert site is not None
    corrections = simulation.job.settings.corrections
    wanted = simulation.wanted(segment)
    # 1. W so that the mean input current is the ANN's
    if "weights" in corrections:
        for response in segment.responses:
            fit_operator(simulation, segment, response, wanted)
    current = InputCurrent(simulation, segment)
    z = wanted.pop(current.name)
    for other in wanted.values():
        other.discard()
    layer = SiteLayer(site, current, z)
    neurons = layer.uncorrected(theta)
    # 2. b so that current and output are, in the mean over samples and positions
    if "bias" in corrections:
        neurons = layer.with_current(neurons)
    layer.activate()
    if "bias" in corrections:
        neurons = layer.with_output(neurons)
    # 3. v(0) so that the output of each neuron is, in the mean over samples
    if "potential" in corrections:
        neurons = layer.with_potential(neurons)
    simulation.sent[site.tensor] = layer.sent(neurons)
    return neurons


@dataclass(frozen=True)
class SiteLayer:
    """A site at work.

    `wanted` [N, ...] is the ANN's current there, and its activation once it is activated.
    """

    site: Site
    current: InputCurrent
    wanted: Gathered

    def uncorrected(self, theta: Array) -> LayerNeurons:
        """Return neurons without an offset, at half their threshold."""
        shape = self.site.threshold_shape("channel")
        offset = np.zeros(shape)
        potential = np.full(shape, INITIAL_POTENTIAL)
        return LayerNeurons(theta, offset, potential)

    def activate(self) -> None:
        """Put a = clip(z, 0, u) in the place of z."""
        for chunk in self.current.simulation.chunks(self.current.segment):
            z = self.wanted.read(chunk)
            activation = np.clip(z, 0, self.site.upper).astype(np.float32)
            self.wanted.write(activation, chunk)

    def with_current(self, neurons: LayerNeurons) -> LayerNeurons:
        """Return neurons whose offset per channel makes up for what their current lacks."""
        # b = mean(z - mean current)
        lacks = RunningMean(self._other_axes())

        def lack(chunk: Chunk, mean: Array) -> Array:
            return lacking(self.wanted.read(chunk), mean)

        for part in self.current.means(lack):
            lacks.add(part)
        return replace(neurons, offset=lacks.value())

    def with_output(self, neurons: LayerNeurons) -> LayerNeurons:
        """Return neurons whose offset per channel makes up for what their output lacks, too."""
        # b += mean(a - r(T))
        axes = self._other_axes()
        for _ in range(OUTPUT_ROUNDS):
            lacks = self._output_lacks(neurons, OUTPUT_SAMPLES, axes)
            neurons = replace(neurons, offset=neurons.offset + lacks)
        return neurons

    def with_potential(self, neurons: LayerNeurons) -> LayerNeurons:
        """Return neurons whose initial potentials make up for what their output lacks.

        Each has a potential of its own, or each channel where a size is not static.
        """
        simulation = self.current.simulation
        sizes = self.site.shape[1:]
        axes = self._other_axes()
        if all(isinstance(size, int) for size in sizes):
            axes = (0,)
        # v(0) += (T / θ) mean(a - r(T))
        factor = simulation.steps / neurons.theta
        mean = self._output_lacks(neurons, simulation.count, axes)
        potential = neurons.potential + factor * mean
        return replace(neurons, potential=within_threshold(potential))

    def sent(self, neurons: LayerNeurons) -> Sent:
        """Let the neurons fire; return what they send."""
        simulation = self.current.simulation
        steps = simulation.steps
        spikes, total = simulation.gathered(), simulation.gathered()
        # sums of whole numbers, as small as they may be
        highest = simulation.job.settings.height * steps
        kind = spike_type(highest)

        def keep(chunk: Chunk, fired: Fired) -> None:
            spikes.write(fired.spikes, chunk)
            total.write(fired.total.astype(kind), chunk)

        for _ in fire(self.current, neurons, simulation.count, keep):
            pass
        return Sent(self.wanted, spikes, total, neurons.theta, steps)

    def _output_lacks(self, neurons: LayerNeurons, count: int, axes: tuple[int, ...]) -> Array:
        """Return the mean of a - r(T) over the first `count` samples, in ANN units."""
        # r(T) = (θ / T) Σ s(t)
        unit = neurons.theta / self.current.simulation.steps
        lacks = RunningMean(axes)

        def lack(chunk: Chunk, fired: Fired) -> Array:
            rates = fired.total * unit.astype(np.float32)
            return lacking(self.wanted.read(chunk), rates)

        for part in fire(self.current, neurons, count, lack):
            lacks.add(part)
        return lacks.value()

    def _other_axes(self) -> tuple[int, ...]:
        """Return the axes along which thresholds do not vary."""
        return broadcast_axes(self.site.threshold_shape("channel"))
