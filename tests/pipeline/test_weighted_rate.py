"""Rate coding with neurons in front of weighted operators, against a NumPy twin and the ANN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for

import onnx2snn
from onnx2snn import SpikingSession, UsageError, evaluate
from onnx2snn.pipeline.convert import Conversion, run_conversion
from onnx2snn.pipeline.inspection import inspect
from onnx2snn.protos.sessions import open_session
from onnx2snn.settings import Settings

WIDTH = 8


def sample(count: int, seed: int = 0, *shape: int) -> Any:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *(shape or (WIDTH,)))).astype(np.float32)


def conv(b: Builder, x: str, size: int = 1) -> str:
    weights = b.const(b.rng.standard_normal((4, 4, size, size)) / (2 * size))
    pads = [size // 2] * 4
    return b.node("Conv", x, weights, b.const(b.rng.standard_normal(4) / 4), pads=pads)


def bottleneck() -> onnx.ModelProto:
    """Four dense layers without an activation between them."""
    b = Builder(1)
    x = b.input("input", ["batch", WIDTH])
    for _ in range(3):
        x = b.gemm(x, WIDTH, WIDTH)
    b.name_output(b.gemm(x, WIDTH, 3), "output")
    return b.model({"output": ["batch", 3]})


def swish() -> onnx.ModelProto:
    """Three convolutions with SiLU between them."""
    b = Builder(2)
    x = b.input("input", ["batch", 4, 6, 6])
    for _ in range(2):
        x = conv(b, x, 3)
        x = b.node("Mul", x, b.node("Sigmoid", x))
    b.name_output(conv(b, x), "output")
    return b.model({"output": ["batch", 4, 6, 6]})


def lateral() -> onnx.ModelProto:
    """A pyramid: the coarse map, scaled up, and a lateral convolution are summed."""
    b = Builder(3)
    x = b.input("input", ["batch", 4, 6, 6])
    fine = b.node("Relu", conv(b, x, 3))
    pooled = b.node("MaxPool", fine, kernel_shape=[2, 2], strides=[2, 2])
    coarse = conv(b, pooled)
    scales = b.const([1, 1, 2, 2])
    wide = b.node("Resize", coarse, "", scales, mode="nearest")
    b.name_output(conv(b, b.node("Add", conv(b, fine), wide), 3), "output")
    return b.model({"output": ["batch", 4, 6, 6]})


def product() -> onnx.ModelProto:
    """Scores of attention: two projections of a hidden layer, one times the other."""
    b = Builder(4)
    x = b.input("input", ["batch", 5, WIDTH])
    w = [b.const(b.rng.standard_normal((WIDTH, WIDTH)) / 3) for _ in range(3)]
    x = b.node("Tanh", b.node("MatMul", x, w[0]))
    q, k = (b.node("MatMul", x, weights) for weights in w[1:])
    scores = b.node("MatMul", q, b.node("Transpose", k, perm=[0, 2, 1]))
    b.name_output(b.node("Softmax", scores, axis=-1), "output")
    return b.model({"output": ["batch", 5, 5]})


CASES = {
    "bottleneck": (bottleneck, (WIDTH,)),
    "swish": (swish, (4, 6, 6)),
    "lateral": (lateral, (4, 6, 6)),
    "product": (product, (5, WIDTH)),
}


def converted(name: str, count: int = 64, **options: Any) -> Conversion:
    make, shape = CASES[name]
    chosen = {"method": "max", "timesteps": 8, **options}
    settings = Settings(coding="rate", sites="weighted", threads=1, **chosen)
    return run_conversion(make(), sample(count, 0, *shape), settings)


def description(model: onnx.ModelProto) -> Any:
    (text,) = [entry.value for entry in model.metadata_props if entry.key == "onnx2snn"]
    return json.loads(text)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_spikes_are_of_the_alphabet_and_the_error_falls_as_one_over_t(
    name: str, levels: int
) -> None:
    conversion = converted(name, levels=levels)
    about = description(conversion.model)
    assert (about["format"], about["coding"], about["levels"]) == (2, "rate", levels)
    assert {entry["drive"] for entry in about["weighted"]} == {"encoder", "spiking"}
    make, shape = CASES[name]
    # within the range that thresholds are fitted to: a rate cannot tell more
    x = 0.5 * sample(16, 1, *shape)
    (wanted,) = open_session(make(), 1).run(None, {"input": x})
    session = SpikingSession(conversion.model, threads=1)
    heights = set()
    errors = {}
    for step in session.steps({"input": x}, 64):
        for spikes in step.spikes.values():
            heights.update(np.unique(spikes).tolist())
        errors[step.t] = np.linalg.norm(step.outputs[0] - wanted) / np.linalg.norm(wanted)
    assert heights <= set(range(-levels, levels + 1))
    assert -1 in heights
    # 1/T: eight times the steps, an eighth of the error, with some room for its sign
    assert errors[64] < errors[8] / 4
    assert errors[64] < 0.08


def test_the_step_graph_computes_what_a_numpy_twin_does() -> None:
    model = bottleneck()
    x = sample(8, 1)
    conversion = converted("bottleneck", levels=2, granularity="layer")
    thetas = [site["threshold"]["max"] / 2 for site in conversion.report.sites]
    gemm = [node for node in model.graph.node if node.op_type == "Gemm"]
    named = {value.name: onnx.numpy_helper.to_array(value) for value in model.graph.initializer}
    layers = []
    for node in gemm:
        weights = named[node.input[1]].astype(np.float64)
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        layers.append((weights.T if transposed else weights, named[node.input[2]]))
    first = x @ layers[0][0] + layers[0][1]
    sent = [np.zeros((8, WIDTH)) for _ in thetas]
    found = SpikingSession(conversion.model, threads=1)
    for step in found.steps({"input": x}, 6):
        y = first
        for index, theta in enumerate(thetas):
            due = step.t * y / theta
            sent[index] += np.clip(np.round(due - sent[index]), -2, 2)
            weights, bias = layers[index + 1]
            y = theta * sent[index] / step.t @ weights + bias
        np.testing.assert_allclose(step.outputs[0], y, atol=1e-4)


@pytest.mark.parametrize("name", ["lateral", "product"])
def test_schedules_rollout_and_plain_host_agree(name: str, tmp_path: Path) -> None:
    model = converted(name).model
    x = sample(5, 1, *CASES[name][1])
    answers = []
    for schedule in ("stepped", "batched"):
        session = SpikingSession(model, threads=1, schedule=schedule)
        answers.append(session.run(None, {"input": x}, timesteps=5)[0])
    path = tmp_path / "rollout.onnx"
    onnx.save(onnx2snn.rollout(model, timesteps=5), path)
    answers.append(ort.InferenceSession(path).run(None, {"input": x})[0])
    host = open_session(model, 1)
    names = [value.name for value in host.get_outputs()]
    about = description(model)["states"]
    states = {s["input"]: np.zeros([1] * s["rank"], np.float32) for s in about}
    for _ in range(5):
        made = dict(zip(names, host.run(None, {"input": x, **states}), strict=True))
        states = {s["input"]: made[s["output"]] for s in about}
    answers.append(made[names[0]])
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=1e-3, atol=1e-3)


def test_a_sample_stops_when_its_answer_is_stable_in_session_and_rollout(tmp_path: Path) -> None:
    model = converted("bottleneck").model
    x = sample(6, 1)
    wanted = SpikingSession(model, threads=1).run(None, {"input": x}, exit_margin=0.3)
    path = tmp_path / "rollout.onnx"
    onnx.save(onnx2snn.rollout(model, exit_margin=0.3), path)
    found = ort.InferenceSession(path).run(["output"], {"input": x})
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-4, atol=1e-4)


def test_every_network_converts_and_evaluates_with_energy(tmp_path: Path) -> None:
    x = inputs_for("mobilenet", 24)
    options = Settings(coding="rate", sites="weighted", timesteps=8, strict=True, threads=1)
    conversion = run_conversion(NETWORKS["mobilenet"](), x, options)
    assert conversion.report.analog == []
    assert conversion.report.agreement["value"] > 0.5
    path = tmp_path / "snn.onnx"
    conversion.save(path)
    ann = tmp_path / "ann.onnx"
    onnx.save(NETWORKS["mobilenet"](), ann)
    labels = np.zeros(24, np.int64)
    result = evaluate(ann, path, {"input": x, "labels": labels}, timesteps=[2, 8], threads=1)
    rows = result["snn"]
    assert rows[1]["sops"] > rows[0]["sops"] > 0


def test_the_input_arrives_as_spikes_where_that_is_asked_for() -> None:
    about = description(converted("swish", encode_input=True).model)
    assert {entry["drive"] for entry in about["weighted"]} == {"spiking"}


def test_a_run_on_the_same_input_goes_on_and_another_input_starts_afresh() -> None:
    session = SpikingSession(converted("swish").model, threads=1)
    x, other = (sample(3, seed, *CASES["swish"][1]) for seed in (1, 2))
    whole = session.run(None, {"input": x}, timesteps=8)
    session.run(None, {"input": x}, timesteps=3)
    parts = session.run(None, {"input": x}, timesteps=5, reset=False)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-4, atol=1e-4)
    afresh = session.run(None, {"input": other}, timesteps=5)
    session.run(None, {"input": x}, timesteps=3)
    after = session.run(None, {"input": other}, timesteps=5, reset=False)
    np.testing.assert_array_equal(after[0], afresh[0])
    with pytest.raises(UsageError, match="delay"):
        session.run(None, {"input": x}, timesteps=4, delay=2)
    with pytest.raises(UsageError, match="streams need"):
        session.stream([{"input": x}])


def test_inspect_tells_the_drives_of_both_kinds_of_file() -> None:
    ann = inspect(bottleneck(), "rate", "weighted")
    assert ann["coding"] == "rate"
    drives = [entry["drive"] for entry in ann["driven"]]
    assert drives == ["encoder", "spiking", "spiking", "spiking"]
    snn = inspect(converted("bottleneck").model)
    assert snn["weighted"]["spiking"] == 3


def test_without_data_thresholds_are_maxima_and_thresholds_are_kept(tmp_path: Path) -> None:
    settings = Settings(coding="rate", sites="weighted", timesteps=8, threads=1)
    conversion = run_conversion(swish(), None, settings)
    assert conversion.report.settings["method"] == "max"
    path = tmp_path / "thresholds.npz"
    first = converted("swish")
    first.save_thresholds(path)
    again = converted("swish", thresholds=str(path))
    assert again.to_bytes() == first.to_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"coding": "differential", "sites": "activations"}, "sites is 'activations'"),
        ({"sites": "weighted", "neuron": "if"}, "neuron is an option of neurons in place of"),
        ({"sites": "weighted", "delay": 2}, "delay is an option of neurons in place of"),
        ({"sites": "weighted", "method": "local"}, "method is an option of neurons in place of"),
        ({"sites": "weighted", "correct": "weights"}, "correct is an option of neurons"),
        ({"sites": "weighted", "coding": "rate", "octaves": 4}, "octaves is an option of diff"),
        ({"sites": "layers"}, "sites is 'layers'; it has to be one of activations, weighted"),
    ],
)
def test_options_of_other_sites_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Settings(**options)
