"""Where the batch axis of a tensor is: derived from the graph, and borne out by runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnx2snn.protos.batch_arrays import (
    by_sample,
    joined_samples,
    measured_axis,
    measured_by_sizes,
    output_places,
    samples_of,
)
from onnx2snn.protos.batch_axis import batch_axes
from onnx2snn.protos.batch_types import BatchAxis, Place

Array = NDArray[Any]
Build = Callable[[Builder, str], str]
SHAPE = (5, 6)
"""Of a sample."""


def ints(b: Builder, *values: int) -> str:
    return b.const(list(values), np.int64)


def weights(b: Builder, *shape: int) -> str:
    return b.const(b.rng.standard_normal(shape))


def turned(b: Builder, x: str) -> str:
    return b.node("Transpose", x, perm=[1, 0, 2])


def size_of_batch(b: Builder, x: str) -> str:
    return b.node("Gather", b.node("Shape", x), ints(b, 0), axis=0)


CASES: dict[str, tuple[Build, Place]] = {
    "relu": (lambda b, x: b.node("Relu", x), BatchAxis(0)),
    "shared addend": (lambda b, x: b.node("Add", x, weights(b, 5, 6)), BatchAxis(0)),
    "sum of its mean": (
        lambda b, x: b.node("Add", x, b.node("ReduceMean", x, ints(b, 1))),
        BatchAxis(0),
    ),
    "transpose": (turned, BatchAxis(1)),
    "transpose all": (lambda b, x: b.node("Transpose", x), BatchAxis(2)),
    "rows": (lambda b, x: b.node("Reshape", x, ints(b, -1, 6)), BatchAxis(0, rows=5)),
    "blocks": (
        lambda b, x: b.node("Reshape", turned(b, x), ints(b, -1, 6)),
        BatchAxis(0, blocks=5),
    ),
    "blocks undone": (
        lambda b, x: b.node(
            "Reshape", b.node("Reshape", turned(b, x), ints(b, -1, 6)), ints(b, 5, -1, 6)
        ),
        BatchAxis(1),
    ),
    "flatten": (lambda b, x: b.node("Flatten", x), BatchAxis(0)),
    "flatten in front": (lambda b, x: b.node("Flatten", x, axis=2), BatchAxis(0, rows=5)),
    "unsqueeze": (lambda b, x: b.node("Unsqueeze", x, ints(b, 0)), BatchAxis(1)),
    "shape from the batch": (
        lambda b, x: b.node(
            "Reshape", x, b.node("Concat", size_of_batch(b, x), ints(b, -1), axis=0)
        ),
        BatchAxis(0),
    ),
    "matmul rows": (lambda b, x: b.node("MatMul", x, weights(b, 6, 3)), BatchAxis(0)),
    "matmul left": (lambda b, x: b.node("MatMul", weights(b, 4, 5), x), BatchAxis(0)),
    "attention": (
        lambda b, x: b.node("MatMul", x, b.node("Transpose", x, perm=[0, 2, 1])),
        BatchAxis(0),
    ),
    "columns": (lambda b, x: b.node("MatMul", turned(b, x), weights(b, 6, 3)), BatchAxis(1)),
    "gemm": (
        lambda b, x: b.node("Gemm", b.node("Flatten", x), weights(b, 30, 3), weights(b, 3)),
        BatchAxis(0),
    ),
    "gemm of columns": (
        lambda b, x: b.node("Gemm", weights(b, 3, 30), b.node("Flatten", x), transB=1),
        BatchAxis(1),
    ),
    "softmax": (lambda b, x: b.node("Softmax", x, axis=-1), BatchAxis(0)),
    "layer norm": (
        lambda b, x: b.node("LayerNormalization", x, weights(b, 6), axis=-1),
        BatchAxis(0),
    ),
    "mean": (lambda b, x: b.node("ReduceMean", x, ints(b, 1), keepdims=0), BatchAxis(0)),
    "mean in front": (
        lambda b, x: b.node("ReduceMean", turned(b, x), ints(b, 0), keepdims=0),
        BatchAxis(0),
    ),
    "gather": (lambda b, x: b.node("Gather", x, ints(b, 1, 3), axis=1), BatchAxis(0)),
    "gather in front": (
        lambda b, x: b.node("Gather", turned(b, x), b.const(2, np.int64), axis=0),
        BatchAxis(0),
    ),
    "slice": (
        lambda b, x: b.node("Slice", x, ints(b, 1), ints(b, 4), ints(b, 1)),
        BatchAxis(0),
    ),
    "concat": (lambda b, x: b.node("Concat", x, x, axis=1), BatchAxis(0)),
    "token": (
        lambda b, x: b.node(
            "Expand",
            weights(b, 1, 1, 6),
            b.node("Concat", size_of_batch(b, x), ints(b, 1, 1), axis=0),
        ),
        BatchAxis(0),
    ),
    "recurrent": (
        lambda b, x: b.node("RNN", turned(b, x), weights(b, 1, 4, 6), weights(b, 1, 4, 4),
                            hidden_size=4),
        BatchAxis(2),
    ),
    # mixed: no axis
    "mean over samples": (lambda b, x: b.node("ReduceMean", x, ints(b, 0), keepdims=0), None),
    "softmax over samples": (lambda b, x: b.node("Softmax", x, axis=0), None),
    "samples as channels": (
        lambda b, x: b.node("Add", x, b.node("ReduceMean", x, ints(b, 0), keepdims=1)),
        None,
    ),
    "samples turned round": (
        lambda b, x: b.node(
            "Slice", x, ints(b, -1), ints(b, -(2**31)), ints(b, 0), ints(b, -1)
        ),
        None,
    ),
    "sum over steps of samples": (
        lambda b, x: b.node("RNN", x, weights(b, 1, 4, 6), weights(b, 1, 4, 4), hidden_size=4),
        None,
    ),
}  # fmt: skip


def with_outputs(b: Builder, **tensors: str) -> onnx.ModelProto:
    """A model whose outputs have no declared shape."""
    names = [b.name_output(tensor, name) for name, tensor in tensors.items()]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(b.nodes, "net", b.inputs, outputs, b.initializers)
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)


def model_of(name: str) -> onnx.ModelProto:
    build, _ = CASES[name]
    b = Builder()
    return with_outputs(b, y=build(b, b.input("x", ["N", *SHAPE])))


@pytest.mark.parametrize("name", list(CASES))
def test_the_graph_says_where_samples_are_and_runs_bear_it_out(name: str) -> None:
    proto = model_of(name)
    _, expected = CASES[name]
    place = batch_axes(proto, ["x"]).of("y")
    assert place == expected
    session = ort.InferenceSession(proto.SerializeToString())
    data = np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32)
    (whole,) = session.run(None, {"x": data})
    parts = [session.run(None, {"x": data[i : i + 2]})[0] for i in (0, 2)]
    if place is None:
        return
    np.testing.assert_allclose(joined_samples(parts, place), whole, atol=1e-5)
    np.testing.assert_allclose(samples_of(whole, place, 2, 4), parts[1], atol=1e-5)
    assert len(by_sample(whole, place)) == 4


def test_what_no_sample_has_a_part_in_is_shared() -> None:
    b = Builder()
    x = b.input("x", ["N", *SHAPE])
    length = b.node("Squeeze", b.node("Shape", x, start=1, end=2))
    steps = b.node("Range", b.const(0, np.int64), length, b.const(1, np.int64))
    table = b.node("Gather", weights(b, 32, 6), steps)
    y = b.node("Add", x, table)
    samples = size_of_batch(b, x)
    axes = batch_axes(with_outputs(b, y=y), ["x"])
    assert axes.is_shared(table)
    assert axes.of("y") == BatchAxis(0)
    # the number of samples is no sample, but not the same for any batch
    assert not axes.is_shared(samples)
    assert axes.of(samples) is None


def test_declared_shapes_are_not_believed() -> None:
    b = Builder()
    y = b.node("Transpose", b.input("x", ["N", 4]))
    proto = b.model({b.name_output(y, "y"): ["N", 4]})
    assert batch_axes(proto, ["x"]).of("y") == BatchAxis(1)


def test_sizes_that_agree_are_no_batch() -> None:
    """A batch of 6 as fixed as the axes beside it."""
    b = Builder()
    x = b.input("x", [6, 5, 6])
    y = b.node("Transpose", x, perm=[2, 1, 0])
    assert batch_axes(b.model({b.name_output(y, "y"): [6, 5, 6]}), ["x"]).of("y") == BatchAxis(2)


# What the graph does not say.


def test_two_runs_tell_where_samples_are() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((1, 7)), rng.standard_normal((2, 7))
    two[0] = one[0]
    assert measured_by_sizes(one, two) == BatchAxis(0)
    assert measured_by_sizes(one.T, two.T) == BatchAxis(1)
    assert measured_by_sizes(one.reshape(7), two.reshape(14)) == BatchAxis(0, rows=7)
    assert measured_by_sizes(one, two[::-1]) is None
    assert measured_by_sizes(one, two[:1]) is None
    other = np.array(two)
    other[0] += 1
    assert measured_axis(two, other, 2) == BatchAxis(0)
    assert measured_axis(two.T, other.T, 2) == BatchAxis(1)
    assert measured_axis(two, other + 1, 2) is None
    assert measured_axis(two, two, 2) is None


@pytest.mark.parametrize("fixed", [None, 3])
def test_outputs_behind_operators_that_are_not_known_are_measured(fixed: int | None) -> None:
    b = Builder()
    x = b.input("x", [fixed or "N", 4])
    flipped = b.node("Einsum", x, weights(b, 4, 5), equation="nc,ck->kn")
    mixed = b.node("Einsum", x, x, equation="nc,mc->nm")
    proto = with_outputs(b, y=flipped, z=mixed)
    session = ort.InferenceSession(proto.SerializeToString())
    data = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    axes = batch_axes(proto, ["x"])
    assert axes.of("y") is None
    places = output_places(
        axes, ["y", "z"], {"x": data}, fixed, lambda feed: session.run(None, dict(feed))
    )
    assert places == [BatchAxis(1), None]
