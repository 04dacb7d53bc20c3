"""Behaviour of onnx2snn.correct.ridge, against least squares written out in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from helpers.stages import Array
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.correct.fitted_rows import LEAST_ROWS, Evidence, row_plan
from onnx2snn.correct.ridge import MOST_INPUTS, RIDGE, fit_weights
from onnx2snn.correct.unrolled import UNROLL, Unrolled

RNG = np.random.default_rng(11)


def node(op: str, weights: Array, **attrs: Any) -> gs.Node:
    return gs.Node(
        op,
        "layer",
        attrs,
        [gs.Variable("x"), gs.Constant("w", weights.astype(np.float32))],
        [gs.Variable("y")],
    )


def outputs(op: str, x: Array, weights: Array, **attrs: Any) -> Array:
    """What the operator makes of x, by onnxruntime."""
    proto = helper.make_node(op, ["x", "w"], ["y"], **attrs)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    fixed = numpy_helper.from_array(weights.astype(np.float32), "w")
    graph = helper.make_graph([proto], "g", [ends[0]], [ends[1]], [fixed])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x.astype(np.float32)})
    return np.asarray(y)


def evidence(x: Array, lacking: Array, calibration: int = 10**6, together: int = 3) -> Evidence:
    """Pairs of a few samples at a time; by default no fit costs too much."""

    def parts(count: int) -> Iterator[tuple[Array, Array]]:
        for start in range(0, count, together):
            rows = slice(start, min(start + together, count))
            yield x[rows], lacking[rows]

    return Evidence(parts, len(x), calibration)


def fitted(layer: gs.Node, x: Array, lacking: Array, *, centred: bool) -> Array | str:
    return fit_weights(layer, evidence(x, lacking), centred=centred)


CASES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "conv": ("Conv", (20, 4, 9, 7), (5, 4, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "grouped": ("Conv", (20, 4, 8, 8), (6, 2, 3, 2), {"group": 2, "dilations": [2, 1]}),
    "depthwise": ("Conv", (20, 6, 8, 8), (6, 1, 3, 3), {"group": 6, "auto_pad": "SAME_UPPER"}),
    "1-D": ("Conv", (20, 3, 20), (4, 3, 5), {"pads": [2, 2]}),
    "3-D": ("Conv", (8, 2, 5, 6, 7), (3, 2, 2, 2, 2), {}),
    "gemm": ("Gemm", (200, 7), (7, 3), {}),
    "gemm, transposed and scaled": ("Gemm", (200, 7), (3, 7), {"transB": 1, "alpha": 0.5}),
    "matmul": ("MatMul", (6, 12, 5), (5, 4), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_of_the_weights_is_found_from_what_it_does(name: str) -> None:
    op, shape, sizes, attrs = CASES[name]
    x, true = RNG.standard_normal(shape), RNG.standard_normal(sizes)
    lacking = outputs(op, x, true, **attrs)
    found = fitted(node(op, np.zeros(sizes), **attrs), x.astype(np.float32), lacking, centred=False)
    assert not isinstance(found, str)
    assert found.shape == sizes
    # the ridge shrinks the change, and leaves its direction
    assert 0.7 < float((found * true).sum() / np.square(true).sum()) < 1.0
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("centred", [False, True])
def test_the_change_is_the_ridge_regression_of_what_lacks_on_what_goes_in(centred: bool) -> None:
    x = RNG.standard_normal((40, 6)).astype(np.float32) + 1.0
    lacking = RNG.standard_normal((40, 2)).astype(np.float32) + 0.5
    a, d = (v.astype(np.float64) - (v.mean(axis=0) if centred else 0.0) for v in (x, lacking))
    power = np.trace(a.T @ a) / 6
    wanted = np.linalg.solve(a.T @ a + (RIDGE + 6 / 40) * power * np.eye(6), a.T @ d)
    found = fitted(node("Gemm", np.zeros((6, 2))), x, lacking, centred=centred)
    assert not isinstance(found, str)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_large_map_is_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx2snn.correct.fitted_rows.ROWS", 200)
    x, true = RNG.standard_normal((40, 2, 16, 16)), RNG.standard_normal((2, 2, 1, 1))
    lacking = outputs("Conv", x, true)
    found = fitted(
        node("Conv", np.zeros((2, 2, 1, 1))), x.astype(np.float32), lacking, centred=False
    )
    assert not isinstance(found, str)
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("op", "shape", "reason"),
    [
        ("ConvTranspose", (2, 2, 3, 3), "weights of ConvTranspose are not fitted"),
        ("MatMul", (3, 4, 5), "its weights are no constant matrix on the right"),
        (
            "Gemm",
            (MOST_INPUTS + 1, 1),
            f"{MOST_INPUTS + 1} inputs for one output are too many to fit",
        ),
    ],
)
def test_what_is_not_fitted_is_said(op: str, shape: tuple[int, ...], reason: str) -> None:
    assert (
        fitted(node(op, np.zeros(shape)), np.zeros((1, 1)), np.zeros((1, 1)), centred=True)
        == reason
    )


def test_an_input_that_is_always_zero_changes_nothing() -> None:
    found = fitted(
        node("Gemm", np.zeros((3, 2))), np.zeros((9, 3), np.float32), np.ones((9, 2)), centred=False
    )
    assert not isinstance(found, str)
    assert not np.any(found)


@pytest.mark.parametrize("phase", [(0, 0), (1, 1), (2, 1)])
@pytest.mark.parametrize(("size", "stride"), [(81, 3), (92, 4), (66, 2), (120, 6)])
def test_large_maps_that_were_upsampled_show_every_phase(
    size: int, stride: int, phase: tuple[int, int]
) -> None:
    """Inputs are 0 but at one phase of an upsampling; weights that double them are found."""
    x = np.zeros((16, 1, size, size), np.float32)
    row, column = (at % stride for at in phase)
    x[:, :, row::stride, column::stride] = 1.0
    change = fitted(node("Conv", np.ones((1, 1, 1, 1))), x, x, centred=False)
    assert isinstance(change, np.ndarray)
    assert change.item() == pytest.approx(1 / (1 + RIDGE), rel=0.05)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("op", "x_shape", "w_shape", "attrs"),
    [
        ("Gemm", (9, 30), (30, 4), {}),
        ("Gemm", (9, 30), (4, 30), {"transB": 1, "alpha": 0.5}),
        ("MatMul", (2, 4, 30), (30, 4), {}),
        ("Conv", (2, 8, 2, 2), (6, 4, 3, 3), {"group": 2, "pads": [1] * 4}),
    ],
)
def test_from_fewer_rows_than_inputs_the_change_is_the_same(
    op: str, x_shape: Any, w_shape: Any, attrs: Any, centred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = RNG.standard_normal(x_shape)
    layer = node(op, RNG.standard_normal(w_shape), **attrs)
    lacking = RNG.standard_normal(outputs(op, x, layer.inputs[1].values, **attrs).shape)
    few = fitted(layer, x, lacking, centred=centred)
    monkeypatch.setattr("onnx2snn.correct.ridge._are_few", lambda *_: False)
    many = fitted(layer, x, lacking, centred=centred)
    assert not isinstance(few, str)
    assert not isinstance(many, str)
    assert few.shape == w_shape
    np.testing.assert_allclose(few, many, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("centred", [True, False])
def test_many_inputs_are_solved_in_place_to_the_same(
    centred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = RNG.standard_normal((400, 300))
    layer, lacking = node("Gemm", np.zeros((300, 4))), RNG.standard_normal((400, 4))
    found = fitted(layer, x, lacking, centred=centred)
    monkeypatch.setattr("onnx2snn.correct.cholesky.BLOCK", 300)
    wanted = fitted(layer, x, lacking, centred=centred)
    assert not isinstance(found, str)
    assert not isinstance(wanted, str)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def unrolled(layer: gs.Node) -> Unrolled:
    found = UNROLL[layer.op](layer)
    assert isinstance(found, Unrolled)
    return found


def test_a_fit_takes_no_more_rows_than_passes_over_the_calibration_data_pay_for() -> None:
    # 900 inputs and 4 outputs at each of 64 positions of 40 samples
    layer = node("Conv", np.zeros((4, 100, 3, 3)), pads=[1] * 4)
    x, lacking = np.zeros((40, 100, 8, 8), np.float32), np.zeros((40, 4, 8, 8), np.float32)
    operator = unrolled(layer)
    plenty = row_plan(operator, evidence(x, lacking))
    assert plenty.rows == 40 * 64
    plan = row_plan(operator, evidence(x, lacking, calibration=40))
    # n² K / 2 multiplications of products of rows, 32 to unroll an input, 4 for its outputs
    passed = 40 * 64 * 900 * 4
    spent = plan.rows**2 * 900 / 2 + plan.rows * 900 * (32 + 4)
    assert 0.5 * 4 * passed < spent < 1.1 * 4 * passed
    # thinned out, and from all samples
    assert plan.maps == 40
    tiny = row_plan(operator, evidence(x, lacking, calibration=1))
    assert LEAST_ROWS / 2 <= tiny.rows <= LEAST_ROWS * 1.2


def test_the_room_for_rows_does_not_grow_with_groups() -> None:
    layer = node("Conv", np.zeros((512, 1, 3, 3)), pads=[1] * 4, group=512)
    x = np.zeros((40, 512, 14, 14), np.float32)
    plan = row_plan(unrolled(layer), evidence(x, x))
    # a map has 14 · 14 · 9 · 512 elements
    assert plan.block == 2
