"""Behaviour of calibrate.batchnorm and gaussians: thresholds from recorded statistics, no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.stages import Array, staged
from onnx import TensorProto, helper, numpy_helper

from onnx2snn import SpikingSession, convert
from onnx2snn.calibrate.batchnorm import recorded_statistics, thresholds_for
from onnx2snn.calibrate.gaussians import Gaussian, site_statistics

MODELS = Path(__file__).parents[2] / "models"
RNG = np.random.default_rng(3)


def two_branches() -> onnx.ModelProto:
    """Conv-BN-Relu, then Conv-BN plus the shortcut, Relu, global average, Gemm, Relu, Gemm."""
    shapes = {
        "w1": (6, 3, 3, 3),
        "w2": (6, 6, 3, 3),
        "fc": (6, 5),
        "fcb": (5,),
        "last": (5, 2),
    }
    fixed = {
        name: RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) + 1)
        for name, shape in shapes.items()
    }
    for bn in ("a", "b"):
        fixed |= {
            f"{bn}{p}": v
            for p, v in zip(
                "gbmv", (*RNG.uniform(0.5, 1.5, (2, 6)), np.zeros(6), np.ones(6)), strict=True
            )
        }
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["c1"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c1", "ag", "ab", "am", "av"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["a1"]),
        helper.make_node("Conv", ["a1", "w2"], ["c2"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c2", "bg", "bb", "bm", "bv"], ["n2"]),
        helper.make_node("Add", ["n2", "a1"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["a2"]),
        helper.make_node("GlobalAveragePool", ["a2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc", "fcb"], ["z3"]),
        helper.make_node("Relu", ["z3"], ["a3"]),
        helper.make_node("Gemm", ["a3", "last"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in fixed.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_mean_and_variance_pass_through_activations_and_sums_like_those_of_samples() -> None:
    proto = two_branches()
    model = staged(proto)
    found = site_statistics(model.arranged, model.parts.sites, recorded_statistics(proto))
    assert all(z is not None for z in found)
    fixed = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    n1, n2 = (
        fixed[f"{k}b"] + np.abs(fixed[f"{k}g"]) * RNG.standard_normal((200_000, 6))
        for k in ("a", "b")
    )
    total = n2 + np.maximum(n1, 0)
    for z, values in zip(found, (n1, total), strict=False):
        assert z is not None
        np.testing.assert_allclose(z.mean, values.mean(axis=0), rtol=0.03, atol=0.02)
        np.testing.assert_allclose(z.variance, values.var(axis=0), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("timesteps", [4, 64])
def test_thresholds_are_those_of_gaussian_samples(timesteps: int) -> None:
    model = staged(two_branches())
    site = model.parts.sites[0]
    mean, deviation = RNG.uniform(-1, 2, 6), RNG.uniform(0.5, 2, 6)
    theta, means = thresholds_for(site, Gaussian(mean, deviation**2), "channel", timesteps)
    assert theta.shape == means.shape == (1, 6, 1, 1)
    a = np.maximum(mean + deviation * RNG.standard_normal((100_000, 6)), 0)
    np.testing.assert_allclose(means.ravel(), a.mean(axis=0), atol=0.03)

    def error(t: Array) -> Array:
        answer = t / timesteps * np.clip(np.floor(a * timesteps / t + 0.5), 0, timesteps)
        return np.asarray(np.square(a - answer).mean(axis=0))

    best = np.min([error(a.max(axis=0) * share) for share in np.arange(1, 41) / 40], axis=0)
    assert np.all(error(theta.ravel()) <= 1.3 * best + 1e-6)


def test_one_threshold_a_layer_is_the_largest_of_its_channels() -> None:
    site = staged(two_branches()).parts.sites[0]
    z = Gaussian(np.arange(6.0), np.ones(6))
    (one,) = thresholds_for(site, z, "layer", 8)[0].ravel()
    assert one == thresholds_for(site, z, "channel", 8)[0].max()


def without_batch_norm(path: Path) -> onnx.ModelProto:
    """The same network with BatchNormalization folded, as many exporters write it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnx.load_model_from_string(_optimised(path, options))


def _optimised(path: Path, options: ort.SessionOptions) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return Path(options.optimized_model_filepath).read_bytes()


@pytest.mark.parametrize("name", ["resnet", "vgg", "mobilenet"])
def test_without_data_a_file_that_holds_batch_norm_keeps_its_accuracy(name: str) -> None:
    path = MODELS / f"fashion_{name}.onnx"
    with pytest.warns(
        UserWarning, match="come from the statistics that BatchNormalization has recorded"
    ):
        conversion = convert(path, preset="paper", timesteps=64)
    assert conversion.report.settings["method"] == "batchnorm"
    assert not conversion.report.calibrated
    with np.load(MODELS / "fashion_test.npz") as data:
        x, labels = data["input"][:30], data["labels"][:30]
    ann = (ort.InferenceSession(path).run(None, {"input": x})[0].argmax(1) == labels).mean()
    snn = (SpikingSession(conversion.model).run(None, {"input": x})[0].argmax(1) == labels).mean()
    assert snn >= 0.9 * ann


def test_without_data_and_batch_norm_inputs_are_random_and_it_says_so() -> None:
    with pytest.warns(UserWarning, match="thresholds are the maxima over 64 random inputs"):
        conversion = convert(without_batch_norm(MODELS / "fashion_resnet.onnx"), timesteps=4)
    assert conversion.report.settings["method"] == "max"


def test_the_maximum_asked_for_is_the_maximum() -> None:
    with pytest.warns(UserWarning, match="thresholds are the maxima"):
        conversion = convert(MODELS / "fashion_resnet.onnx", timesteps=4, method="max")
    assert conversion.report.settings["method"] == "max"
