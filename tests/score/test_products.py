"""Products of operators that take numbers only, held against counting by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from onnx2snn.score.synapses import multiply_accumulates
from onnx2snn.version import release_of


@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_recurrent_layer_counts_every_product_at_every_place(
    op: str, gates: int, direction: str
) -> None:
    sequence, size, hidden, samples = 7, 5, 6, 2
    directions = 2 if direction == "bidirectional" else 1
    weights = [
        numpy_helper.from_array(np.zeros((directions, gates * hidden, size), np.float32), "W"),
        numpy_helper.from_array(np.zeros((directions, gates * hidden, hidden), np.float32), "R"),
    ]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(op, ["t", "W", "R"], ["", "h"], hidden_size=hidden, direction=direction),
    ]
    shape: list[str | int | None] = ["N", sequence, size]
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, [directions, "N", hidden])
    graph = helper.make_graph(nodes, "g", [given], [made], weights)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    feed = {"x": np.zeros((samples, sequence, size), np.float32)}
    expected = sequence * directions * gates * hidden * (size + hidden)
    assert multiply_accumulates(model, feed) == expected


@pytest.mark.skipif(
    release_of(ort.__version__) < (1, 21), reason="onnxruntime does not compute DeformConv"
)
def test_a_deformable_convolution_counts_as_a_convolution() -> None:
    weights = [numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "W")]
    offsets = numpy_helper.from_array(np.zeros((1, 18, 6, 6), np.float32), "offsets")
    node = helper.make_node("DeformConv", ["x", "W", "offsets"], ["y"], kernel_shape=[3, 3])
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    made = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, 6, 6])
    graph = helper.make_graph([node], "g", [given], [made], [*weights, offsets])
    opset = helper.make_opsetid("", 19)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    feed = {"x": np.zeros((1, 3, 8, 8), np.float32)}
    assert multiply_accumulates(model, feed) == 4 * 6 * 6 * 3 * 3 * 3
