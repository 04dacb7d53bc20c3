"""Batches too large to be simulated at once: their samples run in pieces, with the same answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import NETWORKS, inputs_for
from numpy.typing import NDArray

from onnx2snn import DataError, SpikingSession
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime import pieces
from onnx2snn.runtime.plan import neurons_of
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.settings import Settings
from onnx2snn.snn.step_model import read_step_model

Array = NDArray[Any]
BATCH = 7
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vgg, rate, a delay": ("vgg", {"method": "max", "timesteps": 8, "delay": 3}),
    "resnet, differential": ("resnet", {"preset": "differential", "timesteps": 6}),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, Array]:
    """Return a spiking model, and inputs for it."""
    name, options = CASES[request.param]
    model = run_conversion(NETWORKS[name](), inputs_for(name, 20), Settings(**options)).model
    return model, inputs_for(name, BATCH, seed=1)


def allow(samples: int, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let so many samples be simulated together; return the sizes of the batches that are."""
    of_sample = neurons_of(read_step_model(model, "net"))
    assert of_sample is not None
    monkeypatch.setattr(pieces, "MOST_NEURONS", samples * of_sample)
    sizes = []
    begin = Simulation._answer_alone

    def noted(self: Simulation, feed: dict[str, Array], span: Any) -> list[Array]:
        sizes.append(len(feed["input"]))
        return begin(self, feed, span)

    monkeypatch.setattr(Simulation, "_answer_alone", noted)
    return sizes


@pytest.mark.parametrize("samples", [1, 3])
def test_pieces_answer_as_the_batch_does(
    case: tuple[onnx.ModelProto, Array], samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = case
    wanted = SpikingSession(model).run(None, {"input": x})
    sizes = allow(samples, model, monkeypatch)
    found = SpikingSession(model).run(None, {"input": x})
    assert sizes == {1: [1] * 7, 3: [3, 3, 1]}[samples]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_states_are_had_when_they_are_asked_for(
    case: tuple[onnx.ModelProto, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = case
    whole, divided = SpikingSession(model), SpikingSession(model)
    whole.run(None, {"input": x})
    wanted = whole.run(None, {"input": x}, reset=False)
    sizes = allow(2, model, monkeypatch)
    divided.run(None, {"input": x})
    assert sizes == [2, 2, 2, 1]
    # it goes on from the states of all samples
    found = divided.run(None, {"input": x}, reset=False)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert len(sizes) == 4


def test_a_batch_that_fits_and_one_that_is_counted_stay_whole(
    case: tuple[onnx.ModelProto, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = case
    sizes = allow(BATCH, model, monkeypatch)
    SpikingSession(model).run(None, {"input": x})
    allow(1, model, monkeypatch)
    counted = Simulation(model, count_spikes=True)
    counted.run({"input": x})
    assert not sizes


def test_inputs_that_do_not_fit_are_refused_first(
    case: tuple[onnx.ModelProto, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = case
    sizes = allow(1, model, monkeypatch)
    with pytest.raises(DataError, match="input"):
        SpikingSession(model).run(None, {"input": x[:, :0]})
    assert not sizes
