"""A rollout is the session's run in one model that stock onnxruntime runs in place of the ANN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.architectures import inputs_of, squeeze_and_excite
from helpers.networks import NETWORKS, Builder, assemble, inputs_for
from helpers.neurons import neurons_in
from numpy.typing import NDArray

from onnx2snn import ModelFileError, SpikingSession, UsageError, convert, inspect, rollout
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime import rollout_folded as module
from onnx2snn.runtime.plan import Schedule
from onnx2snn.settings import Settings

Array = NDArray[Any]
MODELS = Path(__file__).parents[2] / "models"
UNFOLDED = ("fashion_vit",)
"""Those whose shapes are computed from their inputs: time has no room in their batch axis."""


def spiking(name: str, **options: Any) -> onnx.ModelProto:
    return run_conversion(
        NETWORKS[name](), inputs_for(name, 40), Settings(method="max", **options)
    ).model


def stock(model: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feed))


def assert_close(found: list[Array], wanted: list[Array]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def models() -> dict[str, onnx.ModelProto]:
    return {name: spiking(name, delay=3) for name in NETWORKS}


@pytest.mark.parametrize(
    ("timesteps", "delay"), [(10, None), (11, "half"), (12, "auto"), (7, 0), (2, None)]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_rollout_answers_as_the_session_does(
    name: str, timesteps: int, delay: Any, models: dict[str, onnx.ModelProto]
) -> None:
    x = inputs_for(name, 3, seed=2)
    unrolled = rollout(models[name], timesteps, delay)
    onnx.checker.check_model(unrolled, full_check=True)
    wanted = SpikingSession(models[name], schedule="stepped").run(
        None, {"input": x}, timesteps, delay
    )
    assert_close(stock(unrolled, {"input": x}), wanted)


@pytest.mark.parametrize("passes", [32, 1], ids=["passes written out", "passes in a Loop"])
@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_long_stretches_are_cut_into_passes(
    name: str, passes: int, models: dict[str, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = inputs_for(name, 3, seed=2)
    session = SpikingSession(models[name], schedule="stepped")
    neurons = neurons_in(session)
    monkeypatch.setattr(module, "NEURON_STEPS", 3 * neurons)
    monkeypatch.setattr(module, "MOST_PASSES", passes)
    unrolled = rollout(models[name], 17, 3)
    assert any(node.op_type == "Loop" for node in unrolled.graph.node) == (passes == 1)
    assert_close(stock(unrolled, {"input": x}), session.run(None, {"input": x}, 17, 3))


def test_inputs_and_outputs_are_the_anns_own(models: dict[str, onnx.ModelProto]) -> None:
    ann, unrolled = NETWORKS["segmenter"](), rollout(models["segmenter"], 4)
    assert list(unrolled.graph.input) == list(ann.graph.input)
    assert list(unrolled.graph.output) == list(ann.graph.output)


# --- the form with a Loop over time-steps ---


@pytest.fixture(scope="module")
def looped() -> onnx.ModelProto:
    """A network whose operators keep time out of the batch axis."""
    return run_conversion(assemble(["einsum"]), samples(40), Settings(method="max", delay=3)).model


def samples(count: int) -> Array:
    return np.random.default_rng(1).standard_normal((count, 2, 6, 5)).astype(np.float32)


@pytest.mark.parametrize("delay", [None, 0, 4, "half", "auto"])
@pytest.mark.parametrize("timesteps", [None, 3, 9])
def test_the_number_of_time_steps_may_be_given_where_a_loop_runs_them(
    timesteps: int | None, delay: Any, looped: onnx.ModelProto
) -> None:
    unrolled = rollout(looped, 12, delay)
    onnx.checker.check_model(unrolled, full_check=True)
    given = {} if timesteps is None else {"timesteps": np.array([timesteps])}
    x = samples(3)
    # a delay that would leave no step leaves out none, as a stored one does
    asked = 0 if isinstance(delay, int) and timesteps is not None and delay >= timesteps else delay
    wanted = SpikingSession(looped).run(None, {"input": x}, timesteps or 12, asked)
    assert_close(stock(unrolled, {"input": x, **given}), wanted)


def test_an_input_called_timesteps_keeps_its_name() -> None:
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("timesteps", ["batch", 10]), 10, 8))
    x = b.node("Einsum", x, b.const(np.eye(8, dtype=np.float32)), equation="bi,ij->bj")
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 8, 8)), 8, 3), "logits")
    inputs = {"timesteps": np.random.default_rng(0).standard_normal((20, 10)).astype(np.float32)}
    snn = run_conversion(b.model({"logits": ["batch", 3]}), inputs, Settings(method="max")).model
    unrolled = rollout(snn, 6)
    assert [v.name for v in unrolled.graph.input] == ["timesteps", "onnx2snn/timesteps"]
    assert_close(stock(unrolled, inputs), SpikingSession(snn).run(None, inputs, 6))


def test_telescoped_operators_roll_out() -> None:
    ann = squeeze_and_excite()
    x = inputs_of(ann, 30)
    snn = run_conversion(ann, x, Settings(method="max")).model
    wanted = SpikingSession(snn, schedule="stepped").run(None, {ann.graph.input[0].name: x[:3]}, 9)
    assert_close(stock(rollout(snn, 9), {ann.graph.input[0].name: x[:3]}), wanted)


# --- what it is, and what is refused ---


def test_a_rollout_says_what_it_is(models: dict[str, onnx.ModelProto]) -> None:
    unrolled = rollout(models["mlp"], 9, 2)
    about = inspect(unrolled)
    assert about["kind"] == "rollout"
    assert about["metadata"]["timesteps"] == 9
    assert about["metadata"]["delay"] == 2
    source = json.loads(next(p.value for p in models["mlp"].metadata_props if p.key == "onnx2snn"))
    assert about["metadata"]["source_sha256"] == source["source_sha256"]


def test_a_rollout_is_no_spiking_model_and_no_ann(models: dict[str, onnx.ModelProto]) -> None:
    unrolled = rollout(models["mlp"], 4)
    with pytest.raises(ModelFileError, match="is a rollout"):
        SpikingSession(unrolled)
    with pytest.raises(UsageError, match="already"):
        convert(unrolled)


@pytest.mark.parametrize(("timesteps", "delay"), [(0, None), (4, 4), (4, "soon")])
def test_impossible_steps_are_usage_errors(
    timesteps: int, delay: Any, models: dict[str, onnx.ModelProto]
) -> None:
    with pytest.raises(UsageError):
        rollout(models["mlp"], timesteps, delay)


@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.onnx")))
def test_the_example_models_agree_in_every_schedule(name: str) -> None:
    data = np.load(MODELS / f"{name.split('_')[0]}_test.npz")["input"]
    snn = run_conversion(
        onnx.load(MODELS / f"{name}.onnx"), data[:30], Settings(method="max")
    ).model
    folded: Schedule = "batched"
    if name in UNFOLDED:
        with pytest.raises(UsageError, match="cannot be folded"):
            SpikingSession(snn, schedule=folded)
        folded = "auto"
    schedules: tuple[Schedule, ...] = ("stepped", folded)
    sessions = [SpikingSession(snn, schedule=schedule) for schedule in schedules]
    (one, *_), (other, *_) = [session.run(None, {"input": data[30:40]}, 32) for session in sessions]
    for answer in (other, stock(rollout(snn, 32), {"input": data[30:40]})[0]):
        assert np.mean(np.abs(answer - one).reshape(len(one), -1).max(axis=1) <= 1e-4) >= 0.8
        assert np.mean(answer.argmax(axis=1) == one.argmax(axis=1)) >= 0.99


@pytest.mark.parametrize("coding", ["differential", "rate"])
@pytest.mark.parametrize("margin", [0.0, 0.64, 1.0])
@pytest.mark.parametrize("probabilities", [False, True], ids=["scores", "probabilities"])
def test_a_rollout_stops_each_sample_where_the_session_does(
    coding: Any, margin: float, probabilities: bool
) -> None:
    ann = classifier(probabilities)
    data = inputs_for("resnet", 40)
    delay = 2 if coding == "rate" else 0
    options: dict[str, Any] = {"coding": "differential", "timesteps": 4}
    if coding == "rate":
        options = {"method": "max", "timesteps": 12}
    model = run_conversion(ann, data, Settings(**options)).model
    unrolled = rollout(model, None, delay, exit_margin=margin)
    onnx.checker.check_model(unrolled, full_check=True)
    x = inputs_for("resnet", 9, seed=2)

    *outputs, steps = stock(unrolled, {"input": x})

    session = SpikingSession(model, schedule="stepped")
    assert_close(outputs, session.run(None, {"input": x}, None, delay, exit_margin=margin))
    assert steps.tolist() == session.exit_steps().tolist()
    assert len(set(steps.tolist())) > 1 or margin != 0.64


def classifier(probabilities: bool) -> onnx.ModelProto:
    """Return a network whose scores differ enough for some samples to be stable early."""
    ann = NETWORKS["resnet"]()
    (scores,) = ann.graph.output
    last = "probabilities" if probabilities else "wider"
    wider = onnx.helper.make_node("Mul", [scores.name, "gain"], ["wider"])
    ann.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.4, np.float32), "gain"))
    ann.graph.node.append(wider)
    if probabilities:
        ann.graph.node.append(onnx.helper.make_node("Softmax", ["wider"], [last]))
    shape = [dim.dim_param or dim.dim_value for dim in scores.type.tensor_type.shape.dim]
    ann.graph.output.append(onnx.helper.make_tensor_value_info(last, 1, shape))
    del ann.graph.output[0]
    return ann


def test_a_rollout_that_may_end_early_runs_for_as_many_steps_as_are_asked_for() -> None:
    model = run_conversion(
        classifier(False), inputs_for("resnet", 40), Settings(coding="differential")
    ).model
    unrolled = rollout(model, exit_margin=1.0)
    feed = {"input": inputs_for("resnet", 3), "timesteps": np.array([2])}
    scores, steps = stock(unrolled, feed)
    assert steps.tolist() == [2, 2, 2]
    assert_close([scores], SpikingSession(model).run(None, {"input": feed["input"]}, 2))


@pytest.mark.parametrize(
    ("network", "options", "sentence"),
    [
        ("resnet", {"delay": "half"}, "delay of 'half'"),
        ("resnet", {"exit_margin": 1.5}, "from 0 to 1"),
        ("segmenter", {"delay": 0}, "one output of class scores"),
    ],
)
def test_early_exit_that_cannot_be_is_refused(
    network: str, options: dict[str, Any], sentence: str, models: dict[str, onnx.ModelProto]
) -> None:
    with pytest.raises(UsageError, match=sentence):
        rollout(models[network], **{"exit_margin": 0.5, **options})
