"""Starts of estimates: they go into the bias and the bounds before a neuron, or stay an Add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from numpy.typing import NDArray

from onnx2snn import SpikingSession
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings

Array = NDArray[Any]
Layer = Callable[[Builder, str], str]


def relu(b: Builder, x: str) -> str:
    return b.node("Relu", b.conv(x, 4, 4))


def relu6(b: Builder, x: str) -> str:
    return b.node("Clip", b.conv(x, 4, 4), b.const(0.0), b.const(1.5))


def clip(b: Builder, x: str) -> str:
    return b.node("Clip", b.conv(x, 4, 4), b.const(-0.5), b.const(1.0))


def without_bias(b: Builder, x: str) -> str:
    return b.node("Relu", b.node("Conv", x, b.const(b.rng.standard_normal((4, 4, 1, 1)))))


def several_bounds(b: Builder, x: str) -> str:
    return b.node("Max", b.conv(x, 4, 4), b.const(-1.0), b.const(-0.25))


def one_term(b: Builder, x: str) -> str:
    return b.node("Max", b.conv(x, 4, 4))


def linear(b: Builder, x: str) -> str:
    return b.conv(x, 4, 4)


def shortcut(b: Builder, x: str) -> str:
    y = b.node("Relu", b.conv(x, 4, 4))
    return b.node("Add", b.conv(y, 4, 4), y)


def silu(b: Builder, x: str) -> str:
    y = b.conv(x, 4, 4)
    return b.node("Mul", y, b.node("Sigmoid", y))


def network(layer: Layer) -> onnx.ModelProto:
    b = Builder(8)
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 6]), 2, 4))
    x = layer(b, x)
    b.name_output(b.conv(x, 4, 3), "output")
    return b.model({"output": ["batch", 3, 6, 6]})


def converted(layer: Layer) -> tuple[onnx.ModelProto, onnx.ModelProto, Array]:
    x = np.random.default_rng(1).standard_normal((16, 2, 6, 6)).astype(np.float32)
    model = network(layer)
    settings = Settings(preset="differential", octaves=14, start="mean")
    return model, run_conversion(model, x, settings).model, x


@pytest.mark.parametrize("layer", [relu6, shortcut, silu])
def test_one_start_for_all_channels_of_a_layer_is_every_channels(layer: Layer) -> None:
    x = np.random.default_rng(1).standard_normal((16, 2, 6, 6)).astype(np.float32)
    model = network(layer)
    settings = Settings(preset="differential", octaves=14, granularity="layer")
    spiking = run_conversion(model, x, settings).model
    (wanted,) = ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})
    (found,) = SpikingSession(spiking).run(None, {"input": x}, timesteps=12)
    np.testing.assert_allclose(found, wanted, atol=2e-3 * float(np.abs(wanted).max()))


def added(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.name.endswith("/moved")]


@pytest.mark.parametrize(
    ("layer", "left"),
    [
        (relu, 0),
        (relu6, 0),
        (clip, 0),
        (without_bias, 0),
        (linear, 0),
        # a ReLU that the shortcut reads as well, and the sum
        (shortcut, 2),
        # not linear
        (silu, 1),
        # a maximum of several, and of one
        (several_bounds, 1),
        (one_term, 1),
    ],
)
def test_a_start_is_added_at_a_step_only_where_no_bias_can_take_it(layer: Layer, left: int) -> None:
    model, spiking, x = converted(layer)
    # the first site, behind the encoder, is constant in time: its Add runs once an input
    assert len(added(spiking)) == left + 1
    ann = ort.InferenceSession(model.SerializeToString())
    (wanted,) = ann.run(None, {"input": x})
    (found,) = SpikingSession(spiking).run(None, {"input": x}, timesteps=12)
    np.testing.assert_allclose(found, wanted, atol=2e-3 * float(np.abs(wanted).max()))
