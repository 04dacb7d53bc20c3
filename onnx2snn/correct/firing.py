"""A layer of neurons fires: its spikes over all time-steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk
from onnx2snn.correct.currents import InputCurrent
from onnx2snn.correct.layer_simulation import CACHED_STEPS, LayerSimulation, Made
from onnx2snn.correct.spike_trains import spike_train_model
from onnx2snn.snn.neurons import neuron_for

States = tuple[Array, Array]
"""The potential of neurons and what they have sent, in threshold units."""

ALL = slice(None)


@dataclass(frozen=True)
class LayerNeurons:
    """The neurons of one site; all arrays broadcast to its tensor.

    `theta`: thresholds θ in ANN units; `offset`: added to their input current, in ANN units;
    `potential`: initial potentials, in threshold units.
    """

    theta: Array
    offset: Array
    potential: Array


@dataclass(frozen=True)
class Fired:
    """What a layer sent for some samples, in threshold units.

    `spikes` [n, T, ...], and `total` [n, ...]: their sum over time.
    """

    spikes: Array
    total: Array


def fire(
    current: InputCurrent,
    neurons: LayerNeurons,
    count: int,
    use: Callable[[Chunk, Fired], Made],
) -> Iterator[Made]:
    """Let a layer fire, chunk by chunk, and yield what a function makes of each.

    Args:
        current: Its input current.
        neurons: Its neurons.
        count: How many samples it answers to, the first ones.
        use: Takes a chunk and what was sent for it; several threads call it at once.
    """
    simulation = current.simulation
    steps = simulation.steps
    layer = _open_layer(neurons, simulation)
    # in threshold units: x / θ + b / θ
    scaled = current.scaled(1.0 / neurons.theta, neurons.offset / neurons.theta)

    def fired(chunk: Chunk) -> Made:
        start = 0
        spikes = total = np.zeros(0)
        for sent, total in layer.trains(scaled.blocks(chunk)):
            if not start:
                shape = (len(total), steps, *total.shape[1:])
                spikes = np.empty(shape, sent.dtype)
            stop = start + len(sent)
            spikes[:, start:stop] = sent.swapaxes(0, 1)
            start = stop
        return use(chunk, Fired(spikes, total))

    return simulation.each(fired, simulation.chunks(current.segment, count, steps))


@dataclass(frozen=True)
class _SpikingLayer:
    """A session of a layer of neurons, and their initial potential, in threshold units."""

    session: ort.InferenceSession
    start: Array

    def trains(self, blocks: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
        """Yield spikes [k, n, ...] for each block of k steps, and the sum [n, ...] of all so far.

        Args:
            blocks: Input currents [k, n, ...] in threshold units; states go on from one block to
                the next.
        """
        parts: list[slice] = []
        states: list[States] = []
        for current in blocks:
            if not parts:
                parts = _parts(current)
                states = [self._first(current, part) for part in parts]
            trains = []
            for index, part in enumerate(parts):
                sent, states[index] = self._train(current, part, states[index])
                trains.append(sent)
            yield _joined(trains, 2), _joined([sent for _, sent in states], 1)

    def _first(self, current: Array, part: slice) -> States:
        """Return the states of a part of the neurons before the first step."""
        own = current[0] if part == ALL else current[0, :, part]
        potential = np.empty(own.shape, np.float32)
        potential[...] = _of_part(self.start, part)
        return potential, np.zeros_like(potential)

    def _train(self, current: Array, part: slice, before: States) -> tuple[Array, States]:
        """Return the spikes of a part of the neurons, and their states behind them."""
        own = current if part == ALL else np.ascontiguousarray(current[:, :, part])
        potential, sent = before
        feed = {"inputs": own, "potential": potential, "sent": sent}
        spikes, potential, sent = self.session.run(None, feed)
        return spikes, (potential, sent)


def _parts(current: Array) -> list[slice]:
    """Return parts of axis 2 of a current [k, n, ...] that stay in a processor's cache."""
    if current.ndim < 3:
        return [ALL]
    size = current.shape[2]
    each = max(1, current.size // max(1, size))
    width = max(1, CACHED_STEPS // each)
    if width >= size:
        return [ALL]
    return [slice(start, start + width) for start in range(0, size, width)]


def _of_part(values: Array, part: slice) -> Array:
    """Return a part of axis 1 of what broadcasts to [n, ...]."""
    if part == ALL or values.shape[1] == 1:
        return values
    return values[:, part]


def _joined(parts: list[Array], axis: int) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


def _open_layer(neurons: LayerNeurons, simulation: LayerSimulation) -> _SpikingLayer:
    settings = simulation.job.settings
    levels = settings.height
    kind = neuron_for(settings.neuron_kind, levels)
    model = spike_train_model(-kind.signed, levels, neurons.theta.ndim)
    return _SpikingLayer(simulation.open_model(model), neurons.potential)
