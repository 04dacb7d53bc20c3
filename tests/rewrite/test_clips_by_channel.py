"""Factors per channel behind a Clip, and factors that share a tensor, in differential coding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import Builder, Dims
from helpers.stages import feed_for, reference

from onnx2snn.graph.editing import to_graph
from onnx2snn.graph.types import Graph
from onnx2snn.rewrite.clips_by_channel import fold_past_clips

PER_CHANNEL = np.array([0.5, 2.0, 3.0]).reshape(1, 3, 1, 1)


def clipped(low: float, high: float, scale: Any, pooled: bool = False) -> onnx.ModelProto:
    """Conv -> Clip -> (a mean over all places) -> Mul, the factor that is to be folded."""
    b = Builder(2)
    x = b.conv(b.input("input", ["batch", 2, 4, 4]), 2, 3)
    x = b.node("Clip", x, b.const(low), b.const(high), name="clip")
    if pooled:
        x = b.node("GlobalAveragePool", x)
    places = [1, 1] if pooled else [4, 4]
    b.name_output(b.node("Mul", x, b.const(scale)), "output")
    return b.model({"output": ["batch", 3, *places]})


def folded(model: onnx.ModelProto) -> tuple[list[str], Graph]:
    """The operators that folding leaves, of a graph that computes what the model does."""
    typed = onnx.shape_inference.infer_shapes(model)
    graph, _ = fold_past_clips(to_graph(typed))
    feed = feed_for(model)
    for found, wanted in zip(reference(graph, feed), reference(model, feed), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    return [node.op for node in graph.nodes], graph


@pytest.mark.parametrize(
    ("low", "high", "left"),
    [
        (0.0, 0.5, ["Conv", "Relu", "Min"]),
        (-0.5, 0.5, ["Conv", "Max", "Min"]),
        (0.25, 1.0, ["Conv", "Max", "Min"]),
    ],
)
def test_a_factor_per_channel_makes_bounds_per_channel(
    low: float, high: float, left: list[str]
) -> None:
    operators, graph = folded(clipped(low, high, PER_CHANNEL))
    assert operators == left
    assert graph.nodes[-1].name == "clip"


def test_one_factor_for_all_channels_leaves_one_clip() -> None:
    assert folded(clipped(0.0, 0.5, 3.0))[0] == ["Conv", "Clip"]


def test_a_factor_behind_a_pool_stays_where_elements_are_few() -> None:
    operators, _ = folded(clipped(0.0, 0.5, PER_CHANNEL, pooled=True))
    assert operators.count("Clip") == 1
    assert "Min" not in operators


def test_a_factor_that_is_not_positive_passes_no_clip() -> None:
    assert folded(clipped(0.0, 0.5, -PER_CHANNEL))[0] == ["Conv", "Clip", "Mul"]


def forked(*scales: Any) -> onnx.ModelProto:
    """Conv -> one Mul an output, each with a factor of its own."""
    b = Builder(2)
    x = b.conv(b.input("input", ["batch", 2, 4, 4]), 2, 3)
    outputs: dict[str, Dims] = {}
    for index, scale in enumerate(scales):
        y = b.node("Sigmoid", b.node("Mul", x, b.const(scale)))
        b.name_output(y, f"output{index}")
        outputs[f"output{index}"] = ["batch", 3, 4, 4]
    return b.model(outputs)


@pytest.mark.parametrize(
    ("scales", "products"),
    [
        ([PER_CHANNEL, 2.0], 1),
        ([PER_CHANNEL, PER_CHANNEL], 0),
        ([PER_CHANNEL, 2.0, 3.0], 2),
        # a factor that is 0 divides no other
        ([0.0, 2.0], 1),
        ([0.0, 0.0], 1),
    ],
)
def test_of_several_factors_of_a_tensor_one_goes_into_its_weights(
    scales: list[Any], products: int
) -> None:
    operators, _ = folded(forked(*scales))
    assert operators.count("Mul") == products


def test_a_factor_stays_where_something_else_reads_the_tensor() -> None:
    b = Builder(2)
    x = b.conv(b.input("input", ["batch", 2, 4, 4]), 2, 3)
    b.name_output(b.node("Sigmoid", b.node("Mul", x, b.const(PER_CHANNEL))), "one")
    b.name_output(b.node("Sigmoid", x), "other")
    shape: Dims = ["batch", 3, 4, 4]
    assert folded(b.model({"one": shape, "other": shape}))[0].count("Mul") == 1
