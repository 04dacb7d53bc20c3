"""Spikes that cross weights in float16: what is rounded, what is not, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import NETWORKS, inputs_for
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from onnx2snn import SpikingSession, UsageError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime.half import in_half
from onnx2snn.runtime.simulation import step_model_of
from onnx2snn.settings import Settings

Array = NDArray[Any]


def spiking(name: str, **options: Any) -> onnx.ModelProto:
    return run_conversion(NETWORKS[name](), inputs_for(name, 20), Settings(**options)).model


@pytest.fixture(scope="module")
def mlp() -> onnx.ModelProto:
    return spiking("mlp", method="max")


def weights_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {t.name: np.asarray(numpy_helper.to_array(t)) for t in model.graph.initializer}


def scaled(model: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """The model with the weights behind its first layer of spikes scaled."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    spikes = {neuron["spikes"] for neuron in SpikingSession(model).neurons}
    kernels = {node.input[1] for node in copy.graph.node if node.input[0] in spikes}
    for tensor in copy.graph.initializer:
        if tensor.name in kernels:
            values = np.asarray(numpy_helper.to_array(tensor)) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy


def test_a_current_is_that_of_rounded_weights(mlp: onnx.ModelProto) -> None:
    weights = weights_of(mlp)
    session = SpikingSession(mlp, float16=True)
    feed = {"input": inputs_for("mlp", 40)}
    (step,) = session.steps(feed, timesteps=1)
    first, second = (neuron["name"] for neuron in session.neurons)
    spikes = step.spikes[first].astype(np.float64)
    spiked = {neuron["spikes"]: neuron["name"] for neuron in session.neurons}
    (gemm,) = (n for n in mlp.graph.node if n.input[0] in spiked and spiked[n.input[0]] == first)
    kernel, bias = (weights[name].astype(np.float16) for name in gemm.input[1:])
    if any(a.name == "transB" and a.i for a in gemm.attribute):
        kernel = kernel.T
    current = spikes @ kernel.astype(np.float64) + bias.astype(np.float64)
    # potentials are less their initial value
    wanted = current - step.spikes[second]
    assert spikes.any()
    np.testing.assert_allclose(session.potentials()[second], wanted, atol=2e-3)


@pytest.mark.parametrize("schedule", ["stepped", "batched"])
@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_answers_in_float16_approach_those_in_float32(schedule: Any, name: str) -> None:
    model = spiking(name, method="max")
    feed = {"input": inputs_for(name, 10)}
    (wanted,) = SpikingSession(model).run(None, feed, 256, 0)
    (found,) = SpikingSession(model, float16=True, schedule=schedule).run(None, feed, 256, 0)
    assert found.dtype == np.float32
    assert np.linalg.norm(found - wanted) <= 0.01 * np.linalg.norm(wanted)


def test_all_that_takes_spikes_is_in_float16_and_nothing_else() -> None:
    model = spiking("resnet", method="max")
    step = step_model_of(model)
    halves = weights_of(in_half(step).proto)
    in_float16 = {name for name, array in halves.items() if array.dtype == np.float16}
    # stem and readout take the input and means; all five other convolutions take spikes
    assert len(in_float16) == 10
    for name in in_float16:
        plain = weights_of(model)[name.removesuffix("/float16")]
        assert np.array_equal(halves[name], plain.astype(np.float16))
        assert name.removesuffix("/float16") not in halves
    states = [value.type.tensor_type.elem_type for value in in_half(step).proto.graph.input]
    assert set(states) == {TensorProto.FLOAT}


def test_a_layer_that_might_overflow_stays_in_float32(mlp: onnx.ModelProto) -> None:
    large = scaled(mlp, 1e6)
    kinds = {array.dtype for array in weights_of(in_half(step_model_of(large)).proto).values()}
    assert np.dtype(np.float16) not in kinds
    feed = {"input": inputs_for("mlp", 4)}
    (wanted,) = SpikingSession(large).run(None, feed, 8, 0)
    (found,) = SpikingSession(large, float16=True).run(None, feed, 8, 0)
    assert np.array_equal(found, wanted)


def test_differential_coding_is_refused_in_float16() -> None:
    model = spiking("mlp", preset="differential")
    with pytest.raises(UsageError, match="not for differential coding, whose sums of all spikes"):
        SpikingSession(model, float16=True)


def test_rounded_products_would_let_sums_of_differential_coding_drift() -> None:
    """The reason: Z = W R off by more than a threshold after 200 frames, and still growing."""
    rng = np.random.default_rng(0)
    kernel = (rng.standard_normal((64, 256)) / 16).astype(np.float16).astype(np.float32)
    sums = {np.float32: np.zeros(64, np.float32), np.float16: np.zeros(64, np.float32)}
    sent = np.zeros(256)
    off: dict[Any, list[float]] = {kind: [] for kind in sums}
    for _ in range(200):
        x = rng.integers(-256, 257, 256)
        for _ in range(4):
            # a spike is the nearest power of two
            error = x - sent
            size = 2.0 ** np.floor(np.log2(np.maximum(np.abs(error) * 4 / 3, 1)))
            spikes = np.where(error == 0, 0, np.sign(error) * size)
            sent += spikes
            product = kernel @ spikes.astype(np.float32)
            for kind, total in sums.items():
                total += product.astype(kind).astype(np.float32)
        exact = kernel.astype(np.float64) @ sent
        for kind, total in sums.items():
            off[kind].append(float(np.abs(total - exact).max()))
    assert max(off[np.float32]) < 0.01
    assert off[np.float16][0] < 0.2
    assert off[np.float16][-1] > 1
