"""λ of differential coding: the least error of the first step, and channels rarely seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import onnx2snn
from onnx2snn.calibrate.ladders import best_scale

SIZES = 4


def test_lambda_has_the_least_error_after_the_first_step() -> None:
    values = np.abs(np.random.default_rng(0).standard_normal(20_000)) * 3.0
    counts, edges = np.histogram(values, bins=256, range=(0, values.max()))
    robust = np.quantile(values, 0.99)
    (found,) = best_scale(
        counts[None].astype(float),
        np.array([edges[-1]]),
        np.array([robust]),
        octaves=4,
        spikes=1,
    )
    tried = robust / 8 * 2.0 ** np.linspace(-2, 1, 97)
    errors = [first_step_error(values, scale) for scale in tried]
    assert first_step_error(values, found) < 1.02 * min(errors)


def first_step_error(values: NDArray[Any], scale: float) -> float:
    """Return the error of the nearest power of two that is at least 3/4 times as large."""
    heights = scale * 2.0 ** np.arange(4)
    told = np.zeros_like(values)
    for height in heights:
        told = np.where(values >= 0.75 * height, height, told)
    return float(np.square(values - told).sum())


def network() -> onnx.ModelProto:
    weights = np.eye(SIZES, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "w"], ["y"], "second"),
    ]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", SIZES]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:])
    graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_channel_that_the_data_hardly_show_keeps_up_with_the_others(tmp_path: Path) -> None:
    x = np.abs(np.random.default_rng(1).standard_normal((4000, SIZES))).astype(np.float32)
    # all but four of its values are next to nothing
    x[:, 3] = 1e-4
    x[:4, 3] = 3.0
    made = onnx2snn.convert(network(), {"x": x}, preset="differential", start="zero")
    made.save_thresholds(tmp_path / "ladders.npz")
    with np.load(tmp_path / "ladders.npz") as file:
        scale = file["threshold:r/neuron"].ravel()
    assert scale[3] >= np.median(scale[:3]) / 8
    session = onnx2snn.SpikingSession(made.model)
    (answer,) = session.run(None, {"x": x[:4]}, 3)
    np.testing.assert_allclose(answer, x[:4], atol=0.2)
