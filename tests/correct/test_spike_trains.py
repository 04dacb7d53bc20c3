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

from onnx2snn.correct.spike_trains import spike_train_model, spike_type
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
    model = spike_train_model(-neuron.signed, levels, rank=4)
    onnx.checker.check_model(model, full_check=True)
    rng = np.random.default_rng(levels)
    inputs = rng.normal(0.6, 1.5, (T, N, *SHAPE)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString())
    potential = np.broadcast_to(v_init, (N, *SHAPE)).astype(np.float32)
    sent, trains = np.zeros((N, *SHAPE), np.float32), []
    for part in (slice(0, 4), slice(4, T)):  # the states go on
        feed = {"inputs": inputs[part], "potential": potential, "sent": sent}
        spikes, potential, sent = session.run(None, feed)
        trains.append(spikes)
    spikes = np.concatenate(trains)
    np.testing.assert_array_equal(sent, spikes.sum(axis=0))
    states = [np.zeros((N, *SHAPE), np.float32) for _ in neuron.states]
    for t in range(T):
        wanted, *states = twin(inputs[t], *states)
        np.testing.assert_array_equal(spikes[t], wanted)
    # the twin's potential is what came in less what was sent
    np.testing.assert_allclose(potential - sent - v_init, states[0], atol=1e-5)
    assert spikes.dtype == np.int8
    assert spikes.max() == levels
    assert spikes.min() == (-1 if kind == "signed" else 0)


def test_high_spikes_get_a_type_that_holds_them() -> None:
    model = spike_train_model(0, 200, rank=2)
    zero = np.zeros((3, 2), np.float32)
    feed = {"inputs": np.full((1, 3, 2), 150.0, np.float32), "potential": zero, "sent": zero}
    spikes, *_ = ort.InferenceSession(model.SerializeToString()).run(["spikes"], feed)
    assert spikes.tolist() == [[[150, 150]] * 3]
    assert [spike_type(levels) for levels in (1, 127, 128)] == [np.int8, np.int8, np.int32]
