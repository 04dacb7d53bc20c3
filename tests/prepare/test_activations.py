"""Behaviour of onnx2snn.prepare.activations: piecewise-linear ones become neurons, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from helpers.stages import Staged, reference, relative, staged

from onnx2snn.pipeline.convert import run_conversion as run
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.settings import Settings

INFINITY = float("inf")
SHAPE = (2, 5, 4)


class Net(Builder):
    """Conv, Relu `first`, Conv, the activation `act`; Conv with zero padding, Relu `last`, Conv."""

    def start(self) -> str:
        x = self.node("Relu", self.conv(self.input("input", ["batch", *SHAPE]), 2, 3), name="first")
        return self.conv(x, 3, 3)

    def end(self, x: str) -> Staged:
        x = self.node("Relu", self.conv(x, 3, 4), name="last")
        self.name_output(self.conv(x, 4, 2), "output")
        return staged(self.model({"output": ["batch", 2, 5, 4]}))


Block = Callable[[Net, str], str]


def clip(low: float | None, high: float | None) -> Block:
    def block(b: Net, x: str) -> str:
        return b.node(
            "Clip", x, *("" if v is None else b.const(v) for v in (low, high)), name="act"
        )

    return block


def clip_by_constant_nodes(b: Net, x: str) -> str:
    bounds = [b.node("Constant", value_float=v) for v in (-0.5, 0.7)]
    return b.node("Clip", x, *bounds, name="act")


def extremum(op: str, value: object, first: bool = False) -> Block:
    def block(b: Net, x: str) -> str:
        return b.node(op, *((b.const(value), x) if first else (x, b.const(value))), name="act")

    return block


def both_extrema(b: Net, x: str) -> str:
    return b.node("Min", b.node("Max", x, b.const(-0.5), name="inner"), b.const(0.7), name="act")


def clipped_relu(b: Net, x: str) -> str:
    return b.node("Min", b.node("Relu", x, name="inner"), b.const(0.7), name="act")


def plain(op: str, **attrs: Any) -> Block:
    return lambda b, x: b.node(op, x, name="act", **attrs)


def prelu(slopes: object) -> Block:
    return lambda b, x: b.node("PRelu", x, b.const(slopes), name="act")


PER_CHANNEL = np.array([-0.4, 0.3, 0.0]).reshape(3, 1, 1)


@dataclass(frozen=True)
class Case:
    """An activation, the neurons it becomes, and their upper bounds."""

    name: str
    block: Block
    sites: tuple[str, ...] = ("act",)
    upper: float = INFINITY


CASES = [
    Case("relu", plain("Relu")),
    Case("relu6", clip(0.0, 0.7), upper=0.7),
    Case("clip above", clip(None, 0.4)),
    Case("clip below", clip(-0.3, None)),
    Case("clip below the largest number", clip(-0.3, float(np.finfo(np.float32).max))),
    Case("clip to both sides", clip(-0.5, 0.7), upper=1.2),
    Case("clip above zero", clip(0.2, 0.7), upper=0.5),
    Case("clip below zero", clip(-0.7, -0.2), upper=0.5),
    Case("clip to nothing", clip(None, None), ()),
    Case("clip by constant nodes", clip_by_constant_nodes, upper=1.2),
    Case("max with zero", extremum("Max", 0.0, first=True)),
    Case("max", extremum("Max", -0.3)),
    Case("min", extremum("Min", 0.4, first=True)),
    Case("max per channel", extremum("Max", PER_CHANNEL)),
    Case("min per channel", extremum("Min", PER_CHANNEL + 0.5, first=True)),
    Case("max and min", both_extrema, upper=1.2),
    Case("relu and min", clipped_relu, upper=0.7),
    Case("leaky relu", plain("LeakyRelu", alpha=0.2), ("act", "act/negative")),
    Case("leaky relu, falling", plain("LeakyRelu", alpha=-0.4), ("act", "act/negative")),
    Case("leaky relu that is a relu", plain("LeakyRelu", alpha=0.0)),
    Case("prelu", prelu(np.array([0.25])), ("act", "act/negative")),
    Case("prelu per channel", prelu(PER_CHANNEL), ("act", "act/negative")),
    Case("thresholded relu that is a relu", plain("ThresholdedRelu", alpha=0.0)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_becomes_neurons_and_computes_the_same(case: Case) -> None:
    b = Net(len(case.name))
    model = b.end(case.block(b, b.start()))
    model.parts.require_convertible()
    assert not model.parts.names("analog")
    found = [site for site in model.parts.sites if site.name not in ("first", "last")]
    assert [site.name for site in found] == list(case.sites)
    assert {site.source for site in found} <= {"act"}
    assert [site.upper for site in found] == [pytest.approx(case.upper)] * len(found)
    feed = {"input": np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float32)}
    (wanted,) = reference(model.source.proto, feed)
    (arranged,) = reference(model.arranged, feed)
    assert relative(arranged, wanted) <= 1e-5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_spiking_network_tends_to_the_ann(case: Case) -> None:
    """Behind a zero padding, too, where an offset in the next bias would be wrong."""
    b = Net(len(case.name))
    proto = b.end(case.block(b, b.start())).source.proto
    x = np.random.default_rng(1).standard_normal((30, *SHAPE)).astype(np.float32)
    conversion = run(proto, x, Settings(method="max", timesteps=4, delay=0, threads=1))
    ann = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = ann.run(None, {"input": x})
    found = Simulation(conversion.model).run_at({"input": x}, [(64, 0), (256, 0)])
    errors = [relative(outputs[0], wanted) for outputs in found]
    assert errors[1] <= 0.03 and errors[1] <= errors[0] / 2.5, errors


def moving_slope(b: Net, x: str) -> str:
    return b.node("PRelu", x, b.node("Sigmoid", b.conv(x, 3, 3), name="slope"), name="act")


def moving_bound(b: Net, x: str) -> str:
    return b.node("Max", x, b.conv(x, 3, 3), name="act")


@pytest.mark.parametrize(
    "block",
    [plain("ThresholdedRelu", alpha=0.5), plain("Elu"), clip(0.7, 0.2), moving_slope, moving_bound],
    ids=[
        "a jump",
        "a curve",
        "bounds the wrong way round",
        "a slope that moves",
        "a bound that moves",
    ],
)
def test_what_no_neuron_computes_is_telescoped(block: Block) -> None:
    b = Net(3)
    model = b.end(block(b, b.start()))
    model.parts.require_convertible()
    assert "act" in model.parts.names("analog")
    feed = {"input": np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float32)}
    assert (
        relative(reference(model.arranged, feed)[0], reference(model.source.proto, feed)[0]) <= 1e-5
    )


@pytest.mark.parametrize("op", ["Clip", "LeakyRelu", "Max"])
def test_encoder_and_readout_keep_their_activations(op: str) -> None:
    b = Builder()
    more = {"Clip": [b.const(-1.0), b.const(1.0)], "LeakyRelu": [], "Max": [b.const(0.5)]}[op]
    x = b.node(op, b.input("input", ["batch", 4]), *more, name="before")
    x = b.node("Relu", b.gemm(x, 4, 5), name="hidden")
    b.name_output(b.node(op, b.gemm(x, 5, 3), *more, name="after"), "output")
    rows = {
        row.node: (row.op, row.role) for row in staged(b.model({"output": ["batch", 3]})).parts.rows
    }
    assert (rows["before"], rows["after"]) == ((op, "encoder"), (op, "readout"))
    assert len(rows) == 5


def clipped_leaky(outer: Block, slope: float | list[float] = 0.1) -> Callable[[Net, str], str]:
    def block(b: Net, x: str) -> str:
        if isinstance(slope, list):
            slopes = b.const(np.array(slope).reshape(3, 1, 1))
            return outer(b, b.node("PRelu", x, slopes, name="leaky"))
        return outer(b, b.node("LeakyRelu", x, alpha=slope, name="leaky"))

    return block


@pytest.mark.parametrize(
    ("block", "neurons"),
    [
        (clipped_leaky(extremum("Max", -0.05)), 2),
        (clipped_leaky(extremum("Max", 0.0)), 1),
        (clipped_leaky(extremum("Max", 0.3)), 1),
        (clipped_leaky(clip(-0.05, 0.9)), 2),
        (clipped_leaky(extremum("Min", 0.9)), 2),
        (clipped_leaky(clip(-0.05, 0.9), [0.1, 0.0, 0.3]), 2),
        (clipped_leaky(lambda b, x: b.node("Relu", x)), 1),
    ],
)
def test_a_bounded_leaky_activation_is_one_layer_of_neurons(block: Block, neurons: int) -> None:
    b = Net()
    model = b.end(block(b, b.start()))
    inner = [site for site in model.parts.sites if site.name not in ("first", "last")]
    assert len(inner) == neurons
    # no path leads from one to another: they stand side by side
    assert len({site.source for site in inner}) == 1
    x = np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32)
    found = reference(model.arranged, {"input": x})[0]
    assert relative(found, reference(model.source.proto, {"input": x})[0]) <= 1e-6
