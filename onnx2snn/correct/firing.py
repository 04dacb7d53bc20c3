"""A layer of neurons fires: its spikes over all time-steps, by the neuron function of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk
from onnx2snn.correct.currents import InputCurrent
from onnx2snn.correct.layer_simulation import CACHED_STEPS
from onnx2snn.correct.spike_trains import spike_train_model, state_input
from onnx2snn.protos.sessions import open_own_session
from onnx2snn.settings import Settings
from onnx2snn.snn.neurons import neuron_for

States = dict[str, Array]
"""States of neurons by name."""

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
    """What a layer sent for a chunk of samples, in threshold units.

    `spikes` [n, T, ...], and `total` [n, ...]: their sum over time.
    """

    chunk: Chunk
    spikes: Array
    total: Array


def fire(current: InputCurrent, neurons: LayerNeurons, count: int) -> Iterator[Fired]:
    """Let a layer fire, chunk by chunk.

    Args:
        current: Its input current.
        neurons: Its neurons.
        count: How many samples it answers to, the first ones.
    """
    simulation = current.simulation
    steps = simulation.steps
    layer = _open_layer(neurons, simulation.job.settings)
    for chunk in simulation.chunks(current.segment, count, steps):
        start = 0
        spikes = total = np.zeros(0)
        for sent, summed in layer.trains(current.blocks(chunk)):
            if not start:
                shape = (len(summed), steps, *summed.shape[1:])
                spikes = np.empty(shape, sent.dtype)
                total = np.zeros(summed.shape, np.float32)
            stop = start + len(sent)
            spikes[:, start:stop] = sent.swapaxes(0, 1)
            total += summed
            start = stop
        yield Fired(chunk, spikes, total)


@dataclass(frozen=True)
class _SpikingLayer:
    """A session of a layer of neurons; `units` turn currents into threshold units.

    `divisible`: neurons along an axis can be computed apart, since all start alike.
    """

    session: ort.InferenceSession
    units: dict[str, Array]
    states: tuple[str, ...]
    divisible: bool

    def trains(self, blocks: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
        """Yield spikes [k, n, ...] and their sum [n, ...] for each block of k steps.

        States are zeros before the first block and go on from one to the next.
        """
        parts: list[slice] = []
        states: dict[int, States] = {}
        for current in blocks:
            if not parts:
                parts = self._parts(current)
            spikes = total = np.zeros(0)
            for index, part in enumerate(parts):
                sent, summed, states[index] = self._train(current, part, states.get(index))
                if part == ALL:
                    spikes, total = sent, summed
                    continue
                if not index:
                    spikes = np.empty(current.shape, sent.dtype)
                    total = np.empty(current.shape[1:], summed.dtype)
                spikes[:, :, part] = sent
                total[:, part] = summed
            yield spikes, total

    def _parts(self, current: Array) -> list[slice]:
        """Return parts of axis 2 of a current [k, n, ...] that stay in a processor's cache."""
        if current.ndim < 3 or not self.divisible:
            return [ALL]
        size = current.shape[2]
        each = max(1, current.size // max(1, size))
        width = max(1, CACHED_STEPS // each)
        if width >= size:
            return [ALL]
        return [slice(start, start + width) for start in range(0, size, width)]

    def _train(
        self, current: Array, part: slice, before: States | None
    ) -> tuple[Array, Array, States]:
        """Return spikes, their sum and the states behind them, of a part of the neurons."""
        own = current
        units = self.units
        if part != ALL:
            own = np.ascontiguousarray(current[:, :, part])
            units = {name: _of_part(values, part) for name, values in units.items()}
        if before is None:
            # v is counted from the initial potential, which the neuron function holds
            zero = np.zeros(own.shape[1:], np.float32)
            before = dict.fromkeys(self.states, zero)
        feed = {"currents": own, **units, **before}
        spikes, total, *after = self.session.run(None, feed)
        return spikes, total, dict(zip(self.states, after, strict=True))


def _of_part(values: Array, part: slice) -> Array:
    """Return a part of axis 1 of what broadcasts to [n, ...]."""
    return values if values.shape[1] == 1 else values[:, part]


def _open_layer(neurons: LayerNeurons, settings: Settings) -> _SpikingLayer:
    theta = neurons.theta
    levels = settings.height
    kind = neuron_for(settings.neuron_kind, levels)
    potential = neurons.potential
    divisible = np.unique(potential).size == 1
    if divisible:
        # one number for any part of the layer
        potential = np.full([1] * potential.ndim, potential.flat[0])
    model = spike_train_model(kind, levels, potential, theta.ndim)
    session = open_own_session(model, settings.threads)
    # in threshold units: x / θ + b / θ
    scale = 1.0 / theta
    shift = neurons.offset / theta
    units = {
        "scale": scale.astype(np.float32),
        "shift": shift.astype(np.float32),
    }
    names = [state_input(label) for label, _ in kind.states]
    return _SpikingLayer(session, units, tuple(names), divisible)
