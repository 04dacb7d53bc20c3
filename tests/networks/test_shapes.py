"""Shapes are known or measured, never believed: unknown ranks, stale declarations, shapes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import Builder
from helpers.stages import Array, relative
from onnx import helper

import onnx2snn
from onnx2snn import Conversion, SpikingSession, convert
from onnx2snn.protos.sessions import open_session
from onnx2snn.runtime.plan import Schedule

TIMESTEPS = 128

BOUND = 0.05
"""Relative error at T = 128."""

WAYS: tuple[Schedule, ...] = ("stepped", "auto")


def answers(model: onnx.ModelProto, feed: Mapping[str, Array]) -> list[Array]:
    return list(open_session(model, 1).run(None, dict(feed)))


def converted(model: onnx.ModelProto, feed: Mapping[str, Array] | None) -> Conversion:
    return convert(model, feed, method="max", delay=0, timesteps=TIMESTEPS, threads=1)


def assert_answers(
    model: onnx.ModelProto, conversion: Conversion, feed: Mapping[str, Array]
) -> None:
    """Every way through time, and the rollout, answer as the ANN does."""
    wanted = answers(model, feed)
    found = [
        SpikingSession(conversion.model, schedule=way, threads=1).run(None, feed) for way in WAYS
    ]
    found.append(answers(onnx2snn.rollout(conversion.model), feed))
    for outputs in found:
        for spikes, value in zip(outputs, wanted, strict=True):
            assert spikes.shape == value.shape and spikes.dtype == value.dtype
            assert relative(spikes, value) <= BOUND


def assert_converts(
    model: onnx.ModelProto, feed: Mapping[str, Array], *others: Mapping[str, Array]
) -> Conversion:
    """Convert on one feed, and compare on it and others."""
    conversion = converted(model, feed)
    for each in (feed, *others):
        assert_answers(model, conversion, each)
    return conversion


def values(*shape: int, seed: int = 0) -> dict[str, Array]:
    drawn = np.random.default_rng(seed).standard_normal(shape)
    return {"input": drawn.astype(np.float32)}


# --- ranks that no inference tells ---


def behind(make: Callable[[Builder, str], str], *, features: int = 4) -> onnx.ModelProto:
    """Dense, Relu, Dense behind something of [batch, 4]."""
    b = Builder(1)
    x = make(b, b.input("input", ["batch", 4]))
    x = b.node("Relu", b.gemm(x, features, 16), name="fires")
    b.name_output(b.gemm(x, 16, 3), "y")
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        b.nodes,
        "net",
        b.inputs,
        [helper.make_tensor_value_info("y", kind, ["batch", 3])],
        b.initializers,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def scaled(b: Builder, x: str) -> str:
    offset, scale = [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 2.0, 1.0]
    return b.node("Scaler", x, domain="ai.onnx.ml", offset=offset, scale=scale)


def unit_length(b: Builder, x: str) -> str:
    return b.node("Normalizer", x, domain="ai.onnx.ml", norm="L2")


def extracted(b: Builder, x: str) -> str:
    indices = b.const([0, 1, 2, 3], np.int64)
    return b.node("ArrayFeatureExtractor", x, indices, domain="ai.onnx.ml")


def reshaped_by_data(b: Builder, x: str) -> str:
    """A shape made of values: [-1, 4 + 0 * input]."""
    zero = b.node("ReduceMax", b.node("Mul", x, b.const(0.0)), keepdims=0)
    four = b.node("Add", b.node("Cast", zero, to=onnx.TensorProto.INT64), b.const(4, np.int64))
    sizes = b.node("Unsqueeze", four, b.const([0], np.int64))
    shape = b.node("Concat", b.const([-1], np.int64), sizes, axis=0)
    kept = b.node("NonZero", b.node("Abs", b.node("Add", shape, b.const([0, 0], np.int64))))
    places = b.node("Squeeze", kept, b.const([0], np.int64))
    return b.node("Reshape", x, b.node("Gather", shape, places))


@pytest.mark.parametrize("make", [scaled, unit_length, extracted, reshaped_by_data])
def test_a_rank_that_no_inference_tells_is_measured(make: Callable[[Builder, str], str]) -> None:
    model = behind(make)
    conversion = assert_converts(model, values(24, 4))
    assert conversion.report.sites[0]["channels"] == 16
    assert onnx2snn.inspect(model)["convertible"]


def test_without_data_random_inputs_tell_ranks() -> None:
    with pytest.warns(UserWarning, match="no calibration data"):
        conversion = converted(behind(scaled), None)
    assert [site["neurons"] for site in conversion.report.sites] == [16]


def test_a_size_that_depends_on_data_is_not_taken_for_a_fact() -> None:
    """The positive values of a sample: as many as there are."""
    b = Builder(2)
    x = b.input("input", [1, 6])
    chosen = b.node(
        "Compress",
        x,
        b.node("Greater", b.node("Reshape", x, b.const([-1], np.int64)), b.const(0.0)),
        axis=1,
    )
    x = b.node("Transpose", chosen, perm=[1, 0])
    x = b.node("Relu", b.gemm(x, 1, 8), name="fires")
    b.name_output(b.gemm(x, 8, 3), "y")
    model = b.model({"y": ["count", 3]})
    feed = {"input": np.array([[1, 2, -1, 3, -1, -2], [1, 2, 1, -3, 1, 2]], np.float32)}
    conversion = converted(model, feed)
    one = {"input": np.array([[1, -1, -1, -1, -1, 2]], np.float32)}
    assert_answers(model, conversion, one)


# --- declarations that are wrong ---


def images(*shape: int, seed: int = 0) -> dict[str, Array]:
    return values(*shape, seed=seed)


def convolutions(op: str = "", **attrs: Any) -> onnx.ModelProto:
    b = Builder(0)
    x = b.input("input", ["batch", 3, "H", "W"])
    x = b.node("Relu", b.conv(x, 3, 6), name="one")
    if op:
        x = b.node(op, x, name="pool", **attrs)
    x = b.node("Relu", b.conv(x, 6, 5), name="two")
    b.name_output(b.conv(x, 5, 4, 1), "y")
    return b.model({"y": ["batch", 4, "h", "w"]})


def inferred_at(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """The same with inner shapes as they are at one size."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for axis in (2, 3):
        fixed.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    found = onnx.shape_inference.infer_shapes(fixed)
    assert found.graph.value_info
    stale = onnx.ModelProto()
    stale.CopyFrom(model)
    stale.graph.value_info.extend(found.graph.value_info)
    return stale


def stale(model: onnx.ModelProto) -> None:
    """Inner shapes of another size, as after an edit of the inputs."""


def stale_outputs(model: onnx.ModelProto) -> None:
    for axis in (2, 3):
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_value = 8


def stale_batch(model: onnx.ModelProto) -> None:
    """Exported for one sample, and the input's batch set free afterwards."""
    for value in model.graph.value_info:
        value.type.tensor_type.shape.dim[0].dim_value = 1


def wrong_channels(model: onnx.ModelProto) -> None:
    for value in model.graph.value_info:
        value.type.tensor_type.shape.dim[1].dim_value = 17


def absent(model: onnx.ModelProto) -> None:
    del model.graph.value_info[:]
    for dim in model.graph.output[0].type.tensor_type.shape.dim:
        dim.Clear()


@pytest.mark.parametrize("spoil", [stale, stale_outputs, stale_batch, wrong_channels, absent])
@pytest.mark.parametrize("size", [8, 12])
def test_shapes_declared_in_the_file_are_not_believed(
    spoil: Callable[[onnx.ModelProto], None], size: int
) -> None:
    model = inferred_at(convolutions(), 8)
    spoil(model)
    declared = model.SerializeToString()
    assert_converts(model, images(6, 3, size, size), images(3, 3, 16, 10, seed=1))
    assert model.SerializeToString() == declared


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1] * 4}),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1] * 4}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [4, 4], "pads": [1, 0, 2, 1]}),
        ("AveragePool", {"kernel_shape": [3, 2], "strides": [3, 2], "pads": [1, 1, 1, 1]}),
    ],
)
@pytest.mark.parametrize("size", [7, 9])
def test_a_pool_has_the_size_that_onnxruntime_gives_it(
    op: str, attrs: dict[str, Any], size: int
) -> None:
    model = convolutions(op, ceil_mode=1, **attrs)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    assert_converts(model, images(6, 3, size, size))


# --- shapes that the network reads ---


def reading(make: Callable[[Builder, str, str], str]) -> onnx.ModelProto:
    """Two strided convolutions, and something made of the second and of the input."""
    b = Builder(3)
    x = b.input("input", ["batch", 3, "H", "W"])
    r = b.node("Relu", b.conv(x, 3, 6, strides=[2, 2]), name="one")
    y = b.conv(r, 6, 2, 1)
    b.name_output(make(b, x, y), "y")
    return b.model({"y": ["batch", None, None, None]})


def resized_to_sizes(b: Builder, x: str, y: str) -> str:
    sizes = b.node("Concat", b.node("Shape", y, end=2), b.node("Shape", x, start=2), axis=0)
    return b.node("Resize", y, "", "", sizes, mode="linear")


def resized_by_slices(b: Builder, x: str, y: str) -> str:
    ends = [b.const([2], np.int64), b.const([4], np.int64)]
    size = b.node("Slice", b.node("Shape", x), *ends)
    count = b.node("Slice", b.node("Shape", y), b.const([0], np.int64), ends[0])
    return b.node("Resize", y, "", "", b.node("Concat", count, size, axis=0), mode="nearest")


def resized_by_scales(b: Builder, x: str, y: str) -> str:
    kind = onnx.TensorProto.FLOAT
    large = b.node("Cast", b.node("Shape", x, start=2), to=kind)
    small = b.node("Cast", b.node("Shape", y, start=2), to=kind)
    scales = b.node("Concat", b.const([1.0, 1.0]), b.node("Div", large, small), axis=0)
    return b.node("Resize", y, "", scales, mode="linear")


def resized_with_axes(b: Builder, x: str, y: str) -> str:
    size = b.node("Shape", x, start=2)
    return b.node("Resize", y, "", "", size, mode="linear", axes=[2, 3])


def padded_to_size(b: Builder, x: str, y: str) -> str:
    missing = b.node("Sub", b.node("Shape", x, start=2), b.node("Shape", y, start=2))
    pads = b.node("Concat", b.const([0, 0, 0, 0, 0, 0], np.int64), missing, axis=0)
    return b.node("Softmax", b.node("Pad", y, pads), axis=1)


@pytest.mark.parametrize(
    "make",
    [
        resized_to_sizes,
        resized_by_slices,
        resized_by_scales,
        resized_with_axes,
        padded_to_size,
    ],
)
def test_a_map_is_brought_to_the_inputs_size_at_any_resolution(
    make: Callable[[Builder, str, str], str],
) -> None:
    assert_converts(reading(make), images(4, 3, 16, 18), images(2, 3, 10, 8, seed=1))


def reading_twice(make: Callable[[Builder, str, str], str]) -> onnx.ModelProto:
    """The shape of a map between neurons, read between neurons and behind them."""
    b = Builder(4)
    x = b.input("input", ["batch", 3, "H", "W"])
    r = b.node("Relu", b.conv(x, 3, 6), name="one")
    f = b.conv(r, 6, 6, 1)
    shape = b.node("Shape", f, name="shape")
    back = b.node("Reshape", b.node("Flatten", f), shape)
    y = b.conv(b.node("Relu", back, name="two"), 6, 2, 1)
    b.name_output(make(b, shape, b.node("Softmax", y, axis=1)), "y")
    return b.model({"y": ["batch", None, None, None]})


def times_height(b: Builder, shape: str, p: str) -> str:
    height = b.node("Gather", shape, b.const(2, np.int64))
    return b.node("Mul", p, b.node("Cast", height, to=onnx.TensorProto.FLOAT))


def expanded_ramp(b: Builder, shape: str, p: str) -> str:
    """Anchors along the width."""
    width = b.node("Gather", shape, b.const(3, np.int64))
    ramp = b.node("Range", b.const(0, np.int64), width, b.const(1, np.int64))
    return b.node("Add", p, b.node("Cast", ramp, to=onnx.TensorProto.FLOAT))


def reshaped_like(b: Builder, shape: str, p: str) -> str:
    ends = [b.const([2], np.int64), b.const([4], np.int64)]
    area = b.node("ReduceProd", b.node("Slice", shape, *ends), keepdims=1)
    size = b.node("Concat", b.const([0, 2, 1], np.int64), area, axis=0)
    return b.node("Reshape", p, size)


def split_shape(b: Builder, shape: str, p: str) -> str:
    sizes = b.node("Split", shape, b.const([2, 2], np.int64), outputs=2)
    space = sizes.replace("_out", "_out1")
    ones = b.node("Concat", b.const([1, 1], np.int64), space, axis=0)
    return b.node(
        "Mul",
        p,
        b.node(
            "ConstantOfShape", ones, value=onnx.numpy_helper.from_array(np.array([2.0], np.float32))
        ),
    )


@pytest.mark.parametrize("make", [times_height, expanded_ramp, reshaped_like, split_shape])
def test_the_shape_of_a_map_between_neurons_is_read_anywhere(
    make: Callable[[Builder, str, str], str],
) -> None:
    assert_converts(reading_twice(make), images(4, 3, 8, 10), images(2, 3, 6, 5, seed=1))


def test_a_shape_read_between_neurons_is_an_output_too() -> None:
    b = Builder(5)
    x = b.input("input", ["batch", 3, "H", "W"])
    f = b.conv(b.node("Relu", b.conv(x, 3, 6), name="one"), 6, 6, 1)
    shape = b.name_output(b.node("Shape", f), "shape")
    back = b.node("Reshape", b.node("Flatten", f), shape)
    b.name_output(b.conv(b.node("Relu", back, name="two"), 6, 2, 1), "y")
    model = b.model({"y": ["batch", 2, "h", "w"]})
    kind = onnx.TensorProto.INT64
    model.graph.output.append(helper.make_tensor_value_info("shape", kind, [4]))
    feed = images(4, 3, 8, 10)
    snn = SpikingSession(converted(model, feed).model, threads=1)
    y, sizes = snn.run(["y", "shape"], feed)
    assert sizes.tolist() == [4, 6, 8, 10]
    assert relative(y, answers(model, feed)[0]) <= BOUND


# --- axes without a name ---


@pytest.mark.parametrize("symbol", ["?", "-1", "None", "*"])
def test_axes_that_bear_the_sign_for_unknown_need_not_be_equal(symbol: str) -> None:
    """Paddle calls every dynamic axis "?"."""
    b = Builder(6)
    x = b.input("input", ["batch", 3, symbol, symbol])
    x = b.node("Relu", b.conv(x, 3, 4), name="one")
    b.name_output(b.conv(x, 4, 2), "y")
    model = b.model({"y": ["batch", 2, symbol, symbol]})
    conversion = assert_converts(model, images(4, 3, 8, 12), images(2, 3, 10, 6, seed=1))
    assert [site["neurons"] for site in conversion.report.sites] == [None]
