"""Scores and gates that can fail: which output is scored, by what, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx2snn import DataError, GateError, UsageError, convert, evaluate, script
from onnx2snn.data.images import _label_table as label_table
from onnx2snn.score.gates import Limits, require_passed, verdicts
from onnx2snn.score.metrics import Scripted
from onnx2snn.score.natures import Nature
from onnx2snn.score.registry import METRICS

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore:agreement with the ANN:UserWarning")


def heads(
    first: int, second: int | None = None, offsets: Any = 0.0, end: str | None = None
) -> onnx.ModelProto:
    """An MLP with one output [N, first], and perhaps another [N, second]; `end` makes the first."""
    rng = np.random.default_rng(0)
    sizes = {"a": (12, 10), "b": (10, first), "c": (10, second or 1)}
    weights = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    weights["bias"] = np.broadcast_to(np.asarray(offsets, np.float32), first).copy()
    nodes = [
        helper.make_node("Gemm", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "b", "bias"], ["y" if end is None else "z"]),
    ]
    if end is not None:
        nodes.append(helper.make_node(end, ["z"], ["y"]))
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", first])]
    if second is not None:
        nodes.append(helper.make_node("Gemm", ["r", "c"], ["w"]))
        made = helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, ["N", second])
        outputs.append(made)
    given = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 12])]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", given, outputs, constants)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def inputs(count: int = 80) -> Array:
    return np.random.default_rng(1).standard_normal((count, 12)).astype(np.float32)


def outputs(model: onnx.ModelProto, x: Array) -> list[Array]:
    return list(ort.InferenceSession(model.SerializeToString()).run(None, {"x": x}))


def spiking(model: onnx.ModelProto, timesteps: int = 8, **options: Any) -> Any:
    return convert(model, inputs(), method="max", timesteps=timesteps, delay=0, **options)


# --- a share that could not fail ---


@pytest.mark.parametrize("offsets", [[0, 200], [300, 0, -300], [-400, 0, 0, 0]])
def test_a_gate_on_a_regression_fails_by_its_error(offsets: list[float]) -> None:
    model = heads(len(offsets), offsets=offsets)
    found = spiking(model, timesteps=1).report.agreement
    if offsets[0] < -300:  # the others overlap: a share tells something
        assert found["scored"] == "share of equal classes"
        assert found["relative_error"] > 0
        return
    assert found["scored"] == "1 - relative error"
    with pytest.raises(GateError):
        spiking(model, timesteps=1, max_drop=0.0)


def test_the_output_that_agrees_least_counts_and_is_named() -> None:
    agreement = spiking(heads(3, 1), timesteps=2).report.agreement
    assert agreement["output"] == "w"
    assert agreement["scored"] == "1 - relative error"
    low, high = agreement["interval"]
    assert 0 <= low <= agreement["value"] <= high <= 1


def test_the_classes_of_a_softmax_are_a_share_however_far_apart() -> None:
    metric = METRICS["agreement"](["y"], natures={"y": Nature.PROBABILITIES})
    scores = np.tile(np.array([[0.001, 0.999]], np.float32), (20, 1))
    metric.measure([scores], [scores])
    rows = metric.measure([scores * 0.9], [scores])
    assert metric.score([rows]) == 1.0
    assert metric.beside([rows])["relative_error"] == pytest.approx(0.1)


@pytest.mark.parametrize("shape", [(16,), (16, 1), (16, 1, 1)])
def test_a_single_probability_is_a_decision_at_a_half(shape: tuple[int, ...]) -> None:
    metric = METRICS["agreement"](["y"], natures={"y": Nature.DECISIONS})
    wanted = np.full(shape, 0.01, np.float32)
    rows = metric.measure([wanted * 3], [wanted])
    assert metric.score([rows]) == 1.0
    assert metric.beside([rows])["relative_error"] == pytest.approx(2)
    assert "decisions at 0.5" in metric.described([rows])


def test_agreement_is_never_negative() -> None:
    metric = METRICS["agreement"]()
    wanted = np.ones((4, 1), np.float32)
    assert metric.score([metric.measure([wanted * 9], [wanted])]) == 0.0


def test_an_ann_that_scores_nothing_fails_the_gate() -> None:
    result = {"ann": {"top1": 0.0}, "snn": [{"timesteps": 4, "top1": 0.0, "drop": 0.0}]}
    with pytest.raises(GateError, match="the ANN's own top1 is 0"):
        require_passed(verdicts(result, Limits(max_drop=100)))


# --- which output ---


@pytest.mark.parametrize("metric", ["top1", "top5", None])
def test_of_several_outputs_that_fit_the_one_to_score_is_asked_for(metric: str | None) -> None:
    model = heads(10, 3)
    snn = spiking(model).model
    x = inputs(20)
    labels = outputs(model, x)[1].argmax(axis=1)
    data = {"x": x, "labels": labels}
    with pytest.raises(DataError, match=r"the outputs 'y', 'w' all fit .* \(--output NAME"):
        evaluate(model, snn, data, metric=metric)
    assert evaluate(model, snn, data, metric="top1", output="w")["ann"] == {"top1": 1.0}


def test_an_output_is_named_for_every_metric() -> None:
    model = heads(3, 3)
    snn = spiking(model).model
    x = inputs(20)
    found = outputs(model, x)
    for metric, labels in (("top1", found[1].argmax(axis=1)), ("mse", found[1])):
        result = evaluate(model, snn, {"x": x, "labels": labels}, metric=metric, output="w")
        assert result["scored"] == "output 'w'"
    assert "'w'" in evaluate(model, snn, x, metric="agreement", output="w")["scored"]
    with pytest.raises(UsageError, match="output is 'v'; it has to be one of 'y', 'w'"):
        evaluate(model, snn, x, output="v")


def test_a_script_gets_the_output_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("def f(outputs, labels):\n    return len(outputs) * outputs[0].shape[1]\n")
    model = heads(10, 3)
    snn = spiking(model).model
    found: Any = evaluate(model, snn, inputs(9), metric=script(f"{path}:f"), output="w")
    assert list(found["ann"].values()) == [3.0]


def test_the_output_with_enough_classes_is_scored() -> None:
    model = heads(3, 10)
    x = inputs(20)
    labels = outputs(model, x)[1].argmax(axis=1)
    assert labels.max() > 2
    found = evaluate(model, spiking(model).model, {"x": x, "labels": labels})
    assert found["ann"] == {"top1": 1.0}


# --- labels and scores of other shapes ---


@pytest.mark.parametrize("form", ["column", "one-hot", "float", "bool one-hot"])
@pytest.mark.parametrize("spatial", [(), (1, 1), (1,)])
def test_labels_and_scores_come_in_several_shapes(form: str, spatial: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((30, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 30)
    expected = np.mean(scores.argmax(axis=1) == labels)
    one_hot = np.eye(4)[labels]
    given = {
        "column": labels[:, None],
        "one-hot": one_hot,
        "float": labels.astype(np.float64),
        "bool one-hot": one_hot.astype(bool),
    }[form]
    metric = METRICS["top1"]()
    rows = metric.measure([scores.reshape(30, 4, *spatial)], [given])
    assert metric.score([rows]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array(["cat", "dog", "cat"]), "'labels' holds .* in place of numbers"),
        (np.array([0, np.nan, 1]), "'labels' of sample 1 holds nan"),
        (np.array([0, np.inf, 1]), "'labels' of sample 1 holds inf"),
        (np.array([[1, 0], [1, 1], [0, 1]]), "'labels' of sample 1 are 2 numbers, but not"),
        (np.array([[1, 0], [0.5, 0.5], [0, 1]]), "'labels' of sample 1 are 2 numbers, but not"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: Array, said: str) -> None:
    with pytest.raises(DataError, match=said):
        METRICS["top1"]().measure([np.zeros((3, 2), np.float32)], [labels])


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_targets_of_mse_are_finite(wrong: float) -> None:
    labels = np.zeros((4, 1))
    labels[2] = wrong
    with pytest.raises(DataError, match="'labels' of sample 2 hold infinity or NaN"):
        METRICS["mse"]().measure([np.zeros((4, 1), np.float32)], [labels])


def test_an_infinite_error_is_an_infinite_rise() -> None:
    assert METRICS["mse"]().drop(np.inf, np.inf) == np.inf


def test_a_binary_classifier_is_scored_at_a_half_only_behind_a_sigmoid() -> None:
    x = inputs(40)
    for end in ("Sigmoid", None):
        model = heads(1, end=end)
        labels = (outputs(model, x)[0] > (0.5 if end else 0)).astype(int)
        data = {"x": x, "labels": labels}
        snn = spiking(model).model
        if end:
            assert evaluate(model, snn, data)["ann"] == {"top1": 1.0}
        else:
            with pytest.raises(DataError, match=r"a probability .* that a Sigmoid makes"):
                evaluate(model, snn, data)


# --- scripts that end the program ---


@pytest.mark.parametrize("code", [None, 0, 1, "no"])
def test_a_metric_that_exits_is_named(code: Any) -> None:
    def leave(*_: object) -> None:
        raise SystemExit(code)

    metric = Scripted(["y"], "m.py:f", leave, ("labels",))
    with pytest.raises(DataError, match=r"metric m.py:f ended the program \(sys.exit\)"):
        metric.measure([np.zeros(2)], [np.zeros(2)])


# --- before any work ---


def test_a_table_that_labels_an_image_twice_is_refused_only_where_it_contradicts(
    tmp_path: Path,
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("a.png,1\nb.png,0\na.png,1\n")
    assert label_table(table) == {"a.png": 1, "b.png": 0}
    table.write_text("file,label\na.png,1\nb.png,0\na.png,2\n")
    with pytest.raises(DataError, match=r"line 4 of .* labels 'a.png' 2, which .* labels 1"):
        label_table(table)


def test_of_several_metrics_for_the_data_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    model = heads(4)
    x = inputs(40)
    labels = outputs(model, x)[0].argmax(axis=1)
    data = {"x": x, "labels": labels, "masks": np.zeros((40, 3, 3), np.uint8)}
    assert evaluate(model, spiking(model).model, data)["ann"] == {"top1": 1.0}
    wrong = data | {"labels": np.zeros((40, 3))}
    page = tmp_path / "p.html"
    convert(model, wrong, method="max", timesteps=4, delay=0, html=page)
    assert "scored by agreement" in page.read_text()
