"""Behaviour of prepare.turning_pools: pools move before activations with negative slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import ASSEMBLED_INPUT, Builder
from helpers.stages import feed_for, reference, relative, staged

from onnx2snn import SpikingSession, convert

WINDOWS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_shape": [2, 2], "strides": [1, 1]},
    "padded": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4},
    "lopsided": {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [0, 1, 1, 2]},
    "rounded up": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    "dilated": {"kernel_shape": [2, 2], "dilations": [2, 1]},
    "same": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "valid": {"kernel_shape": [3, 2], "auto_pad": "VALID"},
}

SLOPES = {
    "some negative": np.array([0.25, -0.5, -2.0]).reshape(3, 1, 1),
    "all negative": np.array([-0.25, -1.0, -1.5]).reshape(3, 1, 1),
    "with a zero": np.array([0.0, -1.0, 0.1]).reshape(1, 3, 1, 1),
    "one number": np.array([-0.3]),
}


class Net(Builder):
    """Conv, an activation, and in the end Conv, Relu, Conv."""

    def start(self, slopes: Any) -> str:
        x = self.conv(self.input("input", ["batch", *ASSEMBLED_INPUT]), ASSEMBLED_INPUT[0], 3)
        x = self.conv(self.node("Relu", x), 3, 3)
        if isinstance(slopes, float):
            return self.node("LeakyRelu", x, name="act", alpha=slopes)
        return self.node("PRelu", x, self.const(slopes), name="act")

    def end(self, x: str, channels: int = 3) -> onnx.ModelProto:
        x = self.node("Relu", self.conv(x, channels, 3, 1), name="last")
        self.name_output(self.conv(x, 3, 2, 1), "output")
        return self.model({"output": ["batch", 2, None, None]})


def assert_moved(proto: onnx.ModelProto, pools: list[str]) -> None:
    """The same function; every pool feeds neurons, and nothing but neurons feeds weights."""
    model, feed = staged(proto), feed_for(proto)
    assert model.arrangement.moved_pools == pools
    for found, wanted in zip(reference(model.arranged, feed), reference(proto, feed), strict=True):
        assert relative(found, wanted) <= 1e-6
    reasons = {row.node: row.reason for row in model.parts.rows if row.role == "pooled"}
    if pools:
        assert reasons["pool"] == "pools the input current of its neuron"
    model.parts.require_convertible()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("slopes", SLOPES)
def test_a_pool_moves_before_slopes_of_any_sign(window: str, slopes: str) -> None:
    b = Net(3)
    assert_moved(
        b.end(b.node("MaxPool", b.start(SLOPES[slopes]), name="pool", **WINDOWS[window])), ["pool"]
    )


@pytest.mark.parametrize("slopes", [-0.5, SLOPES["some negative"]])
def test_a_pool_over_all_positions_moves_too(slopes: Any) -> None:
    b = Net(3)
    assert_moved(b.end(b.node("GlobalMaxPool", b.start(slopes), name="pool")), ["pool"])


def test_a_pool_along_one_axis_moves_too() -> None:
    b = Net(3)
    x = b.input("input", ["batch", 2, 12])
    x = b.node("Conv", x, b.const(b.rng.standard_normal((3, 2, 3))))
    x = b.node("PRelu", x, b.const(np.array([-0.5, 0.5, -1.0]).reshape(3, 1)), name="act")
    x = b.node("MaxPool", x, name="pool", kernel_shape=[2], strides=[2])
    x = b.node("Relu", b.node("Conv", x, b.const(b.rng.standard_normal((3, 3, 1)))))
    b.name_output(b.node("Conv", x, b.const(b.rng.standard_normal((2, 3, 1)))), "output")
    proto = b.model({"output": ["batch", 2, 5]})
    model = staged(proto)
    assert model.arrangement.moved_pools == ["pool"]
    feed = {"input": np.random.default_rng(0).standard_normal((3, 2, 12)).astype(np.float32)}
    for found, wanted in zip(reference(model.arranged, feed), reference(proto, feed), strict=True):
        assert relative(found, wanted) <= 1e-6


def test_an_activation_that_others_read_stays_for_them() -> None:
    b = Net(3)
    x = b.start(SLOPES["some negative"])
    pooled = b.node("MaxPool", x, name="pool", kernel_shape=[3, 3], pads=[1] * 4)
    assert_moved(b.end(b.node("Concat", x, pooled, axis=1), 6), ["pool"])


@pytest.mark.parametrize("slopes", [np.linspace(-1, 1, 5), np.linspace(-1, 1, 90).reshape(3, 6, 5)])
def test_before_slopes_that_differ_along_positions_a_pool_stays(slopes: Any) -> None:
    b = Net(3)
    proto = b.end(b.node("MaxPool", b.start(slopes), name="pool", **WINDOWS["plain"]))
    assert_moved(proto, [])


@pytest.mark.parametrize("maxpool", ["accumulate", "current"])
def test_the_spiking_network_comes_nearer_with_time(maxpool: Any) -> None:
    b = Net(3)
    proto = b.end(
        b.node("MaxPool", b.start(SLOPES["some negative"]), name="pool", **WINDOWS["padded"])
    )
    x = np.random.default_rng(1).standard_normal((40, *ASSEMBLED_INPUT)).astype(np.float32)
    made = convert(
        proto, x, preset="paper", method="max", delay=0, timesteps=64, maxpool=maxpool, threads=1
    )
    assert made.report.analog == []
    assert made.report.moved_pools == ["pool"]
    session = SpikingSession(made.model, threads=1)
    (wanted,) = reference(proto, {"input": x})
    off = [relative(session.run(None, {"input": x}, timesteps=t)[0], wanted) for t in (8, 64)]
    if maxpool == "accumulate":
        assert off[1] < 0.1
        assert off[1] < 0.5 * off[0]
