"""A layer of neurons fires: its spikes over all time-steps, by the neuron function of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Gathered
from onnx2snn.correct.currents import currents
from onnx2snn.correct.layer_simulation import LayerSimulation
from onnx2snn.correct.segments import Segment
from onnx2snn.correct.spike_trains import spike_train_model, state_input
from onnx2snn.protos.sessions import open_session
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


def fire(
    simulation: LayerSimulation,
    session: ort.InferenceSession,
    segment: Segment,
    neurons: LayerNeurons,
    count: int,
) -> tuple[Array, Array]:
    """Let a layer fire.

    Args:
        simulation: The work so far.
        session: Computes the layer's input current.
        segment: The segment that leads to it.
        neurons: Its neurons.
        count: How many samples it answers to, the first ones.

    Returns:
        The spikes [T, N, ...] and their sum over time [N, ...], in threshold units.
    """
    steps = simulation.job.settings.steps
    layer = _open_layer(neurons, simulation.job.settings)
    count = min(count, simulation.count)
    totals = Gathered(count)
    spikes: Array | None = None
    for chunk in simulation.chunks(segment, count, steps):
        total: Array | None = None
        start = 0
        for sent, summed in layer.trains(currents(simulation, session, segment, chunk)):
            each = chunk.rows_each(summed)
            if spikes is None:
                shape = (steps, count * each, *summed.shape[1:])
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
class _Layer:
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
                for name in self.states:
                    states[name] = np.zeros(current.shape[1:], np.float32)
            feed = {"currents": current, **self.units, **states}
            spikes, total, *after = self.session.run(None, feed)
            states = dict(zip(self.states, after, strict=True))
            yield spikes, total


def _open_layer(neurons: LayerNeurons, settings: Settings) -> _Layer:
    theta = neurons.theta
    kind = neuron_for(settings.neuron_kind, settings.height)
    model = spike_train_model(kind, settings.height, neurons.potential, theta.ndim)
    # in threshold units: x / θ + b / θ
    scale = 1.0 / theta
    shift = neurons.offset / theta
    units = {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}
    names = tuple(state_input(label) for label, _ in kind.states)
    return _Layer(open_session(model, settings.threads), units, names)
