"""Behaviour of onnx2snn.protos.old_forms: raised to a new opset, a model computes what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.protos.opset import raised

Array = NDArray[Any]
SHAPE = (2, 3, 4, 6)


def model_of(
    op: str, opset: int, scales: Array | None = None, **attributes: Any
) -> onnx.ModelProto:
    names = ["x"] if scales is None else ["x", "scales"]
    fixed = [] if scales is None else [numpy_helper.from_array(scales, "scales")]
    node = helper.make_node(op, names, ["y"], **attributes)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", SHAPE), ("y", [None] * len(SHAPE)))
    )
    graph = helper.make_graph([node], "g", [x], [y], fixed)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)


def run(proto: onnx.ModelProto) -> Array:
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    (found,) = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    return np.asarray(found)


@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1])
@pytest.mark.parametrize("op", ["Hardmax", "Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [8, 12])
def test_what_flattened_flattens(opset: int, op: str, axis: int | None) -> None:
    if axis == -1 and opset < 11:
        pytest.skip("negative axes came with opset 11")
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    old = model_of(op, opset, **attributes)
    np.testing.assert_allclose(run(raised(old, 18)), run(old), rtol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    "scales", [(2.0, 2.0), (1.5, 1.5), (0.5, 0.5), (0.3, 0.7), (2.0, 0.5), (2.3, 0.6), (1.0, 0.5)]
)
def test_resize_samples_where_it_did(scales: tuple[float, float], mode: str) -> None:
    old = model_of("Resize", 10, np.array([1, 1, *scales], np.float32), mode=mode)
    assert np.array_equal(run(raised(old, 18)), run(old))


@pytest.mark.parametrize("scales", [(2.0, 2.0), (0.5, 0.5), (2.0, 0.5)])
def test_resize_by_computed_scales_samples_where_it_did(scales: tuple[float, float]) -> None:
    old = model_of("Resize", 10, np.array([1, 1, *scales], np.float32))
    given = helper.make_tensor_value_info("scales", TensorProto.FLOAT, [4])
    del old.graph.initializer[:]
    old.graph.input.append(given)
    feed = {
        "x": np.random.default_rng(0).normal(size=SHAPE).astype(np.float32),
        "scales": np.array([1, 1, *scales], np.float32),
    }
    found, wanted = (
        ort.InferenceSession(proto.SerializeToString()).run(None, feed)[0]
        for proto in (raised(old, 18), old)
    )
    assert np.array_equal(found, wanted)
