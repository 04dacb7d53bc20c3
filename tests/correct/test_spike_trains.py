"""Behaviour of correct.spike_trains: a layer over all steps, as its neurons' twins step it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.neurons import graded_if_step, if_step, signed_graded_if_step, signed_if_step
from helpers.stages import Array

from onnx2snn.correct.spike_trains import spike_train_model, spike_type, state_input
from onnx2snn.snn.neurons import GRADED_IF, IF, SIGNED_GRADED_IF, SIGNED_IF, neuron_for

T, N, SHAPE = 6, 4, (3, 5, 2)
TWINS: dict[str, Any] = {
    IF: if_step,
    SIGNED_IF: signed_if_step,
    GRADED_IF: graded_if_step,
    SIGNED_GRADED_IF: signed_graded_if_step,
}


@pytest.mark.parametrize(
    "v_init", [np.full((1, 1, 1, 1), 0.5), np.linspace(0, 0.9, 30).reshape(1, *SHAPE)]
)
@pytest.mark.parametrize("levels", [1, 2, 5])
@pytest.mark.parametrize("kind", ["if", "signed"])
def test_a_train_is_what_the_twin_sends_step_by_step(kind: str, levels: int, v_init: Array) -> None:
    neuron = neuron_for(kind, levels)
    twin = partial(
        TWINS[neuron.op],
        v_init=v_init.astype(np.float32),
        **({"levels": levels} if levels > 1 else {}),
    )
    model = spike_train_model(neuron, levels, v_init, rank=4)
    onnx.checker.check_model(model, full_check=True)
    rng = np.random.default_rng(levels)
    currents = rng.normal(0.6, 1.5, (T, N, *SHAPE)).astype(np.float32)
    scale = rng.uniform(0.5, 2, (1, 3, 1, 1)).astype(np.float32)
    shift = rng.normal(0, 0.2, (1, 3, 1, 1)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString())
    states = [np.zeros((N, *SHAPE), np.float32) for _ in neuron.states]
    before, trains = [state_input(label) for label, _ in neuron.states], []
    after = states
    for part in (slice(0, 4), slice(4, T)):  # the states go on
        feed = {"currents": currents[part], "scale": scale, "shift": shift}
        spikes, total, *after = session.run(None, feed | dict(zip(before, after, strict=True)))
        np.testing.assert_array_equal(total, spikes.sum(axis=0))
        trains.append(spikes)
    spikes = np.concatenate(trains)
    for t in range(T):
        sent, *states = twin(currents[t] * scale + shift, *states)
        np.testing.assert_array_equal(spikes[t], sent)
    for found, state in zip(after, states, strict=True):
        np.testing.assert_array_equal(found, state)
    assert spikes.dtype == np.int8
    assert spikes.max() == levels
    assert spikes.min() == (-1 if kind == "signed" else 0)


def test_high_spikes_get_a_type_that_holds_them() -> None:
    model = spike_train_model(neuron_for("if", 200), 200, np.full((1, 1), 0.5), rank=2)
    one = np.ones((1, 1), np.float32)
    feed = {"currents": np.full((1, 3, 2), 150.0, np.float32), "scale": one, "shift": 0 * one}
    spikes, *_ = ort.InferenceSession(model.SerializeToString()).run(
        ["spikes"], feed | {state_input("potential"): np.zeros((3, 2), np.float32)}
    )
    assert spikes.tolist() == [[[150, 150]] * 3]
    assert [spike_type(levels) for levels in (1, 127, 128)] == [np.int8, np.int8, np.int32]
