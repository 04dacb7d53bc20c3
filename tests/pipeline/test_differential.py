"""Conversions to differential coding, from Python and through what they emit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for, mobilenet

import onnx2snn
from onnx2snn import GateError, SpikingSession, UnsupportedGraphError, UsageError
from onnx2snn.pipeline.convert import Conversion, run_conversion
from onnx2snn.protos.sessions import open_session
from onnx2snn.settings import Settings

SAMPLES = 24


def converted(name: str, **options: Any) -> Conversion:
    settings = Settings(**{"preset": "differential", **options})
    return run_conversion(NETWORKS[name](), inputs_for(name, SAMPLES), settings)


def description(model: onnx.ModelProto) -> Any:
    (text,) = [entry.value for entry in model.metadata_props if entry.key == "onnx2snn"]
    return json.loads(text)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_four_steps_come_near_the_ann(name: str) -> None:
    model = converted(name).model
    x = inputs_for(name, 8, seed=4)
    (wanted,) = open_session(NETWORKS[name](), 1).run(None, {"input": x})
    (found,) = SpikingSession(model, threads=1).run(None, {"input": x}, timesteps=4)
    assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)


@pytest.mark.parametrize("options", [{"digits": 1}, {"digits": 2}, {}, {"later_digits": 2}])
def test_session_schedules_rollout_and_plain_host_agree(
    options: dict[str, int], tmp_path: Path
) -> None:
    model = converted("mobilenet", **options).model
    x = inputs_for("mobilenet", 5, seed=4)
    answers = []
    for schedule in ("stepped", "batched"):
        session = SpikingSession(model, threads=1, schedule=schedule)
        answers.append(session.run(None, {"input": x}, timesteps=3)[0])
    path = tmp_path / "rollout.onnx"
    onnx.save(onnx2snn.rollout(model, timesteps=3), path)
    answers.append(ort.InferenceSession(path).run(None, {"input": x})[0])
    host = open_session(model, 1)
    names = [value.name for value in host.get_outputs()]
    states = {
        s["input"]: np.zeros([1] * s["rank"], np.float32) for s in description(model)["states"]
    }
    for _ in range(3):
        made = dict(zip(names, host.run(None, {"input": x, **states}), strict=True))
        states = {s["input"]: made[s["output"]] for s in description(model)["states"]}
    answers.append(made[names[0]])
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"digits": 1}, {"digits": 2}])
def test_activity_is_the_same_in_one_pass_over_all_steps(options: dict[str, int]) -> None:
    model = converted("mobilenet", **options).model
    x = inputs_for("mobilenet", 3, seed=4)
    counted = []
    for schedule in ("stepped", "batched"):
        session = SpikingSession(model, threads=1, schedule=schedule, count_activity=True)
        session.run(None, {"input": x}, timesteps=3)
        counted.append(session.activity())
    for site, wanted in counted[0].items():
        # a spike may flip
        np.testing.assert_allclose(counted[1][site].sum(), wanted.sum(), rtol=5e-3)


def test_a_run_without_a_reset_goes_on_from_the_estimates() -> None:
    model = converted("resnet").model
    frames = inputs_for("resnet", 1, seed=4)
    later = frames + 0.05 * inputs_for("resnet", 1, seed=5)
    session = SpikingSession(model, threads=1, count_activity=True)
    session.run(None, {"input": frames}, timesteps=12)
    session.run(None, {"input": later}, timesteps=12, reset=False)
    went_on = sum(values.sum() for values in session.activity().values())
    (answer,) = session.run(None, {"input": later}, timesteps=12)
    afresh = sum(values.sum() for values in session.activity().values())
    session.run(None, {"input": frames}, timesteps=12)
    (streamed,) = session.run(None, {"input": later}, timesteps=12, reset=False)
    assert went_on < 0.8 * afresh
    assert np.linalg.norm(streamed - answer) < 0.05 * np.linalg.norm(answer)


def test_without_data_ladders_are_wide_and_four_steps_are_near() -> None:
    settings = Settings(preset="differential")
    conversion = run_conversion(mobilenet(), None, settings)
    assert not conversion.report.calibrated
    assert description(conversion.model)["octaves"] == 16
    assert any("16 octaves" in text for text in conversion.report.warnings)
    x = 5 * inputs_for("mobilenet", 8, seed=4)
    (wanted,) = open_session(mobilenet(), 1).run(None, {"input": x})
    (found,) = SpikingSession(conversion.model, threads=1).run(None, {"input": x}, timesteps=8)
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


def test_a_method_that_needs_data_is_refused_without_them() -> None:
    settings = Settings(preset="differential", method="mmse")
    with pytest.raises(UsageError, match="'mmse' needs calibration data"):
        run_conversion(mobilenet(), None, settings)


def test_the_network_decides_the_coding_and_one_line_says_why() -> None:
    fed = run_conversion(NETWORKS["vgg"](), inputs_for("vgg", SAMPLES), Settings(timesteps=4))
    assert fed.report.settings["preset"] == "paper"
    unfed = run_conversion(mobilenet(), inputs_for("mobilenet", SAMPLES), Settings())
    assert unfed.report.settings["preset"] == "differential"
    assert unfed.report.timesteps == 4
    (line,) = [text for text in unfed.report.warnings if text.startswith("differential coding")]
    assert "would not be fed by spikes" in line


def test_every_weighted_operator_is_told_what_drives_it() -> None:
    weighted = description(converted("mobilenet").model)["weighted"]
    drives = [entry["drive"] for entry in weighted]
    assert drives == ["encoder"] + ["spiking"] * (len(drives) - 1)
    whole = description(converted("mobilenet", encode_input=True).model)["weighted"]
    assert {entry["drive"] for entry in whole} == {"spiking"}


def recurrent() -> onnx.ModelProto:
    """Two dense layers, an LSTM over 4 steps of them, and another dense layer."""
    b = Builder(2)
    x = b.input("input", ["batch", 4, 6])
    x = b.node("Tanh", b.node("MatMul", x, b.const(b.rng.standard_normal((6, 8)))))
    x = b.node("Tanh", b.node("MatMul", x, b.const(b.rng.standard_normal((8, 8)))))
    x = b.node("Transpose", x, perm=[1, 0, 2])
    w, r = (b.const(b.rng.standard_normal((1, 20, width)) / 4) for width in (8, 5))
    x = b.node("LSTM", x, w, r, name="memory", hidden_size=5)
    x = b.node("Squeeze", x, b.const([1], np.int64))
    x = b.node("Transpose", x, perm=[1, 0, 2])
    b.name_output(b.node("MatMul", x, b.const(b.rng.standard_normal((5, 3)))), "output")
    return b.model({"output": ["batch", 4, 3]})


def test_recurrent_layers_compute_on_estimates_and_are_named() -> None:
    x = np.random.default_rng(0).standard_normal((SAMPLES, 4, 6)).astype(np.float32)
    conversion = run_conversion(recurrent(), x, Settings())
    drives = {e["node"]: e["drive"] for e in description(conversion.model)["weighted"]}
    assert drives["memory"] == "analog"
    assert conversion.report.analog == ["memory"]
    (wanted,) = open_session(recurrent(), 1).run(None, {"input": x})
    (found,) = SpikingSession(conversion.model).run(None, {"input": x}, timesteps=8)
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)
    with pytest.raises(GateError, match=r"'memory' \(LSTM\) would be analog"):
        run_conversion(recurrent(), x, Settings(strict=True))


def test_what_draws_random_numbers_is_refused() -> None:
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 16))
    noise = b.node("RandomUniformLike", x, name="noise")
    b.name_output(b.gemm(b.node("Add", x, noise), 16, 3), "output")
    model = b.model({"output": ["batch", 3]})
    with pytest.raises(UnsupportedGraphError, match="random numbers"):
        run_conversion(model, inputs_for("mlp", SAMPLES), Settings(preset="differential"))


def test_a_network_of_one_weighted_operator_asks_for_the_input_as_spikes() -> None:
    b = Builder()
    b.name_output(b.gemm(b.input("input", ["batch", 10]), 10, 3), "output")
    model = b.model({"output": ["batch", 3]})
    x = inputs_for("mlp", SAMPLES)
    with pytest.raises(UnsupportedGraphError, match="--encode-input"):
        run_conversion(model, x, Settings(preset="differential"))
    made = run_conversion(model, x, Settings(preset="differential", encode_input=True)).model
    (wanted,) = open_session(model, 1).run(None, {"input": x})
    (found,) = SpikingSession(made).run(None, {"input": x}, timesteps=6)
    assert np.linalg.norm(found - wanted) < 0.02 * np.linalg.norm(wanted)


def test_ladders_are_kept_and_used_again(tmp_path: Path) -> None:
    first = converted("mobilenet")
    path = tmp_path / "ladders.npz"
    first.save_thresholds(path)
    again = converted("mobilenet", thresholds=str(path))
    assert again.to_bytes() == first.to_bytes()


def test_a_percentile_is_a_method_too() -> None:
    found = converted("resnet", method="percentile", percentile=99.0, timesteps=2)
    assert found.report.settings["percentile"] == 99.0
    assert found.report.agreement["value"] > 0.9


def test_thresholds_do_not_depend_on_the_time_steps(tmp_path: Path) -> None:
    # they have the least squared error after the first step
    converted("resnet", timesteps=2).save_thresholds(tmp_path / "few.npz")
    again = converted("resnet", timesteps=6, thresholds=str(tmp_path / "few.npz"))
    assert not again.report.warnings
    assert again.to_bytes() == converted("resnet", timesteps=6).to_bytes()


def test_a_delay_has_no_place_in_differential_coding() -> None:
    session = SpikingSession(converted("vgg").model)
    with pytest.raises(UsageError, match="delay"):
        session.run(None, {"input": inputs_for("vgg", 2)}, timesteps=4, delay=2)
