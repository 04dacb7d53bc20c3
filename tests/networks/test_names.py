"""Tensors that bear names of this package: such networks convert, run and unroll all the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder, inputs_for

from onnx2snn import SpikingSession, UnsupportedGraphError, convert, rollout

OURS = ["timesteps", "onnx2snn/timesteps", "onnx2snn/ticks", "onnx2snn/time/steps", "onnx2snn/2η"]


def network(name: str, place: str, axis: int) -> onnx.ModelProto:
    """A network with a tensor of a name; a Softmax over the batch needs a Loop over time."""
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 8))
    middle = b.node("Softmax", x, axis=axis)
    if place == "inner":
        b.name_output(middle, name)
        middle = name
    last = b.gemm(b.node("Relu", b.gemm(middle, 8, 8)), 8, 3)
    output = name if place == "output" else "logits"
    b.name_output(last, output)
    return b.model({output: ["batch", 3]})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", OURS)
def test_an_inner_tensor_may_have_any_name(name: str, axis: int) -> None:
    x = inputs_for("mlp", 12)
    made = {
        label: convert(network(label, "inner", axis), x, method="max", delay=0, timesteps=16).model
        for label in ("plain", name)
    }
    plain, found = (SpikingSession(made[label]).run(None, {"input": x})[0] for label in made)
    assert np.array_equal(found, plain)
    unrolled = rollout(made[name])
    (answer,) = ort.InferenceSession(unrolled.SerializeToString()).run(None, {"input": x})
    np.testing.assert_allclose(answer, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_output_may_be_called_timesteps(axis: int) -> None:
    x = inputs_for("mlp", 12)
    made = convert(
        network("timesteps", "output", axis), x, preset="paper", method="max", timesteps=16
    ).model
    unrolled = rollout(made)
    (answer,) = ort.InferenceSession(unrolled.SerializeToString()).run(None, {"input": x})
    (wanted,) = SpikingSession(made).run(None, {"input": x})
    np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-5)


def test_an_output_with_a_name_that_is_kept_is_refused() -> None:
    with pytest.raises(UnsupportedGraphError, match="'onnx2snn/ticks' has a name that"):
        convert(network("onnx2snn/ticks", "output", 1), inputs_for("mlp", 12))
