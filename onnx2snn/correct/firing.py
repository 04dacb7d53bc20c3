"""A layer of neurons fires: its spikes over all time-steps, by the neuron function of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Gathered
from onnx2snn.correct.currents import InputCurrent
from onnx2snn.correct.spike_trains import spike_train_model, state_input
from onnx2snn.protos.sessions import open_own_session
from onnx2snn.settings import Settings
from onnx2snn.snn.neurons import neuron_for


@dataclass(frozen=True)
class LayerNeurons:
    """The neurons of one site; all arrays broadcast to its tensor.

    `theta`: thresholds θ in ANN units; `offset`: added to their input current, in ANN units;
    `potential`: initial potentials, in threshold units.
    """

    theta: Array
    offset: Array
    potential: Array


def fire(current: InputCurrent, neurons: LayerNeurons, count: int) -> tuple[Array, Array]:
    """Let a layer fire.

    Args:
        current: Its input current.
        neurons: Its neurons.
        count: How many samples it answers to, the first ones.

    Returns:
        The spikes [T, N, ...] and their sum over time [N, ...], in threshold units.
    """
    simulation = current.simulation
    steps = simulation.steps
    layer = _open_layer(neurons, simulation.job.settings)
    count = min(count, simulation.count)
    # [T, N, ...] is made once the first chunk has told how many rows a sample has
    totals = Gathered(count)
    spikes: Array | None = None
    for chunk in simulation.chunks(current.segment, count, steps):
        total: Array | None = None
        start = 0
        blocks = current.blocks(chunk)
        for sent, summed in layer.trains(blocks):
            each = chunk.rows_each(summed)
            if spikes is None:
                rows = count * each
                shape = (steps, rows, *summed.shape[1:])
                spikes = np.empty(shape, sent.dtype)
            stop = start + len(sent)
            spikes[start:stop, chunk.rows(each)] = sent
            total = summed if total is None else total + summed
            start = stop
        assert total is not None
        totals.write(total, chunk)
    assert spikes is not None
    return spikes, totals.values


@dataclass(frozen=True)
class _SpikingLayer:
    """A session of a layer of neurons; `units` turn currents into threshold units."""

    session: ort.InferenceSession
    units: dict[str, Array]
    states: tuple[str, ...]

    def trains(self, blocks: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
        """Yield spikes [k, n, ...] and their sum [n, ...] for each block of k steps.

        States are zeros before the first block and go on from one to the next.
        """
        states: dict[str, Array] = {}
        for current in blocks:
            if not states:
                # v is counted from the initial potential, which the neuron function holds
                zero = np.zeros(current.shape[1:], np.float32)
                states = dict.fromkeys(self.states, zero)
            feed = {"currents": current, **self.units, **states}
            spikes, total, *after = self.session.run(None, feed)
            states = dict(zip(self.states, after, strict=True))
            yield spikes, total


def _open_layer(neurons: LayerNeurons, settings: Settings) -> _SpikingLayer:
    theta = neurons.theta
    levels = settings.height
    kind = neuron_for(settings.neuron_kind, levels)
    model = spike_train_model(kind, levels, neurons.potential, theta.ndim)
    session = open_own_session(model, settings.threads)
    # in threshold units: x / θ + b / θ
    scale = 1.0 / theta
    shift = neurons.offset / theta
    units = {
        "scale": scale.astype(np.float32),
        "shift": shift.astype(np.float32),
    }
    names = [state_input(label) for label, _ in kind.states]
    return _SpikingLayer(session, units, tuple(names))
