"""Runs of a few time-steps as a whole, held against the step graph in a plain loop."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, inputs_for
from numpy.typing import NDArray

from onnx2snn import SpikingSession, UsageError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime import whole
from onnx2snn.runtime.runs import Answered
from onnx2snn.settings import Settings

Array = NDArray[Any]
BATCH = 5
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet, differential": ("resnet", {"preset": "differential", "timesteps": 2}),
    "segmenter, differential": ("segmenter", {"preset": "differential", "timesteps": 1}),
    "vgg, rate": ("vgg", {"method": "max", "timesteps": 3, "delay": 1}),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, Array]:
    """Return a spiking model, and inputs for it."""
    name, options = CASES[request.param]
    data = inputs_for(name, 20)
    model = run_conversion(NETWORKS[name](), data, Settings(**options)).model
    return model, inputs_for(name, BATCH, seed=1)


@pytest.fixture(scope="module")
def differential() -> tuple[onnx.ModelProto, Array]:
    settings = Settings(preset="differential", timesteps=2)
    model = run_conversion(NETWORKS["mlp"](), inputs_for("mlp", 20), settings).model
    return model, inputs_for("mlp", BATCH, seed=1)


def step_by_step(model: onnx.ModelProto, x: Array, timesteps: int) -> list[Array]:
    """Return the outputs of the step graph after some steps, without optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    states = SpikingSession(model).metadata["states"]
    values = {state["input"]: np.zeros([1] * state["rank"], np.float32) for state in states}
    found: Mapping[str, Array] = {}
    for _ in range(timesteps):
        found = dict(zip(names, session.run(None, {"input": x, **values}), strict=True))
        values = {state["input"]: found[state["output"]] for state in states}
    return [found[spec.name] for spec in SpikingSession(model).outputs]


def assert_close(found: list[Array], wanted: list[Array]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert np.linalg.norm(one - other) <= 1e-6 * np.linalg.norm(other)


def is_whole(session: SpikingSession) -> bool:
    """Return whether the last run of a session has no states yet."""
    return isinstance(session._simulation._runs.of_thread().last, Answered)


def test_a_whole_run_answers_as_the_step_graph_does(case: tuple[onnx.ModelProto, Array]) -> None:
    model, x = case
    timesteps = SpikingSession(model).metadata["timesteps"]
    session = SpikingSession(model)
    assert_close(session.run(None, {"input": x}), step_by_step(model, x, timesteps))
    assert is_whole(session)


def test_the_samples_of_a_batch_run_in_chunks(
    case: tuple[onnx.ModelProto, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = case
    monkeypatch.setattr(whole, "CHUNK_NEURONS", 1)
    timesteps = SpikingSession(model).metadata["timesteps"]
    session = SpikingSession(model, threads=2)
    assert_close(session.run(None, {"input": x}), step_by_step(model, x, timesteps))
    assert is_whole(session)


def test_a_run_without_reset_goes_on_from_a_whole_run(
    differential: tuple[onnx.ModelProto, Array],
) -> None:
    model, x = differential
    session, stepped = (SpikingSession(model, schedule=s) for s in ("auto", "stepped"))
    given = x.copy()
    session.run(None, {"input": given}, timesteps=2)
    # the next inputs may be written into the same memory
    given[:] = 0
    stepped.run(None, {"input": x}, timesteps=2)
    for timesteps in (1, 2):
        found = session.run(None, {"input": x}, timesteps, reset=False)
        assert_close(found, stepped.run(None, {"input": x}, timesteps, reset=False))


def test_potentials_after_a_whole_run_are_those_of_its_steps() -> None:
    settings = Settings(method="max", timesteps=3)
    model = run_conversion(NETWORKS["mlp"](), inputs_for("mlp", 20), settings).model
    feed = {"input": inputs_for("mlp", BATCH, seed=1)}
    session, stepped = (SpikingSession(model, schedule=s) for s in ("auto", "stepped"))
    session.run(None, feed)
    assert is_whole(session)
    stepped.run(None, feed)
    wanted = stepped.potentials()
    assert wanted
    for site, potential in session.potentials().items():
        np.testing.assert_allclose(potential, wanted[site], atol=1e-5)


def test_threads_go_on_from_their_own_whole_runs(
    differential: tuple[onnx.ModelProto, Array],
) -> None:
    model, x = differential
    session = SpikingSession(model)
    stepped = SpikingSession(model, schedule="stepped")
    feeds = [{"input": sample[None]} for sample in x[:2]]
    ready = threading.Barrier(2)
    found: dict[int, list[Array]] = {}

    def work(number: int) -> None:
        session.run(None, feeds[number], timesteps=1)
        ready.wait()
        found[number] = session.run(None, feeds[number], timesteps=1, reset=False)

    threads = [threading.Thread(target=work, args=[number]) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, feed in enumerate(feeds):
        assert_close(found[number], stepped.run(None, feed, timesteps=2))


def test_a_step_is_over_when_a_whole_run_has_begun(
    differential: tuple[onnx.ModelProto, Array],
) -> None:
    model, x = differential
    session = SpikingSession(model)
    step = next(session.steps({"input": x}, timesteps=2))
    session.run(None, {"input": x})
    with pytest.raises(UsageError, match="step 1 is over"):
        _ = step.outputs


def test_few_windows_have_a_session_of_their_own(
    differential: tuple[onnx.ModelProto, Array],
) -> None:
    model, x = differential
    session = SpikingSession(model)
    session.run(None, {"input": x}, timesteps=1)
    assert is_whole(session)
    # the weights are held once for each: T = 2, the model's own, and T = 1
    assert_close(session.run(None, {"input": x}, timesteps=3), step_by_step(model, x, timesteps=3))
    assert not is_whole(session)


def test_very_many_layers_are_not_written_out(
    differential: tuple[onnx.ModelProto, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = differential
    layers = len(SpikingSession(model).neurons)
    monkeypatch.setattr(whole, "MOST_LAYERS", layers)
    session = SpikingSession(model)
    session.run(None, {"input": x}, timesteps=2)
    assert not is_whole(session)
    session.run(None, {"input": x}, timesteps=1)
    assert is_whole(session)


@pytest.mark.parametrize("options", [{"schedule": "batched"}, {"count_activity": True}])
def test_runs_are_simulated_where_more_than_the_answer_is_wanted(
    differential: tuple[onnx.ModelProto, Array], options: dict[str, Any]
) -> None:
    model, x = differential
    session = SpikingSession(model, **options)
    assert_close(session.run(None, {"input": x}), step_by_step(model, x, timesteps=2))
    assert not is_whole(session)
