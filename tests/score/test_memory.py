"""Counting of SOPs on long axes: exact, and without matrices that are quadratic in an axis."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx2snn.aliases import Array
from onnx2snn.score.connections import CONNECTIVITY, Connectivity
from onnx2snn.score.node_runs import NodeRun, run_alone
from onnx2snn.score.products import fan_out

OPSET = 19
LONG = 20_000


def resizing(*scales: float, **attributes: Any) -> tuple[onnx.NodeProto, dict[str, Array]]:
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    return node, {"scales": np.array(scales, np.float32)}


def sized(*sizes: int, **attributes: Any) -> tuple[onnx.NodeProto, dict[str, Array]]:
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    return node, {"sizes": np.array(sizes, np.int64)}


def pool(**attributes: Any) -> tuple[onnx.NodeProto, dict[str, Array]]:
    return helper.make_node("AveragePool", ["x"], ["y"], **attributes), {}


CORNERS = {"coordinate_transformation_mode": "align_corners"}

NODES = {
    "pool": pool(kernel_shape=[3], strides=[2]),
    "padded pool": pool(kernel_shape=[4], strides=[3], pads=[2, 1]),
    "pool of overlapping windows": pool(kernel_shape=[5], pads=[2, 2], count_include_pad=1),
    "pool over everything": pool(kernel_shape=[24], pads=[3, 3]),
    "upsampled": resizing(1, 1, 2.5, mode="linear"),
    "downsampled": resizing(1, 1, 0.4, mode="linear"),
    "cubic": resizing(1, 1, 1, 3, mode="cubic"),
    "cubic corners": sized(
        1, 2, 2, 41, mode="cubic", coordinate_transformation_mode="align_corners"
    ),
    "cubic from afar": resizing(1, 1, 1, 0.2, mode="cubic"),
    "antialiased": resizing(1, 1, 0.25, mode="linear", antialias=1),
    "antialiased cubic": resizing(1, 1, 1, 0.3, mode="cubic", antialias=1),
    "an axis alone": resizing(2, mode="linear", axes=[2]),
    "channels, too": resizing(1, 2, 1.5, mode="linear"),
}


def run_of(name: str, size: int) -> NodeRun:
    """The node on maps [1, 2, size], or [1, 2, 2, size] where cubic, as onnxruntime wants it."""
    node, constants = NODES[name]
    middle = (2,) if "cubic" in name else ()
    x = np.zeros((1, 2, *middle, size), np.float32)
    inputs = {"x": x, **constants}
    values: dict[str, Array] = dict(inputs)
    places = {i: inputs[n] for i, n in enumerate(node.input) if n}
    (values["y"],) = run_alone(NodeRun(node, OPSET, inputs), places)
    return NodeRun(node, OPSET, values)


def connected(run: NodeRun) -> Array:
    """Which elements of the output each element of the input reaches, [in, out]."""
    size = int(np.prod(run.in_shape))
    rows = []
    for place in range(size):
        x = np.zeros(size, np.float32)
        x[place] = 1.0
        feeds = {i: run.values[n] for i, n in enumerate(run.node.input) if n}
        feeds[0] = x.reshape(run.in_shape)
        (y,) = run_alone(run, feeds)
        rows.append(y.ravel() != 0)
    return np.array(rows)


def connectivity(run: NodeRun) -> Connectivity:
    return CONNECTIVITY[run.node.op_type](run)


@pytest.mark.parametrize("name", NODES)
def test_connections_along_an_axis_are_those_that_one_hot_probes_find(name: str) -> None:
    run = run_of(name, 24)
    wanted = connected(run)
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, run.out_shape).astype(np.float64)
    marks = rng.random(run.in_shape) < 0.1
    found = connectivity(run)
    np.testing.assert_array_equal(found.pull(counts).ravel(), wanted @ counts.ravel())
    np.testing.assert_array_equal(found.push(marks).ravel(), marks.ravel() @ wanted)


@pytest.mark.parametrize("name", [name for name in NODES if "everything" not in name])
def test_connections_along_a_long_axis_take_no_more_than_some_maps(name: str) -> None:
    if name == "cubic corners":
        pytest.skip("its size is fixed")
    run = run_of(name, LONG)
    counts = np.ones(run.out_shape)
    maps = (np.prod(run.in_shape) + np.prod(run.out_shape)) * 8
    tracemalloc.start()
    try:
        pulled = connectivity(run).pull(counts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pulled.shape == run.in_shape
    # one matrix [in, out] would take a thousand times as much
    assert peak < 20 * maps


@pytest.mark.parametrize(
    "op, attributes",
    [
        ("Conv", {"pads": [1, 1], "strides": [2]}),
        ("Conv", {"pads": [2, 1], "dilations": [3]}),
        ("ConvTranspose", {"strides": [2]}),
        ("ConvTranspose", {"strides": [3], "pads": [2, 2]}),
    ],
)
def test_the_fan_out_on_a_long_axis_is_counted_tap_by_tap(op: str, attributes: Any) -> None:
    node = helper.make_node(op, ["x", "w"], ["y"], kernel_shape=[3], **attributes)
    values: dict[str, Array] = {"x": np.zeros((1, 1, 50), np.float32)}
    values["w"] = np.ones((1, 1, 3), np.float32)
    run = NodeRun(node, OPSET, values)
    (values["y"],) = run_alone(run, {0: values["x"], 1: values["w"]})
    wanted = []
    for place in range(50):
        one_hot = np.zeros((1, 1, 50), np.float32)
        one_hot[..., place] = 1.0
        (y,) = run_alone(run, {0: one_hot, 1: values["w"]})
        wanted.append(y.sum())
    np.testing.assert_array_equal(fan_out(run).ravel(), wanted)

    values["x"] = np.zeros((1, 1, LONG), np.float32)
    (values["y"],) = run_alone(run, {0: values["x"], 1: values["w"]})
    tracemalloc.start()
    try:
        fan_out(run)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * values["y"].nbytes + 10 * values["x"].nbytes
