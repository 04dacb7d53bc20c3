"""Metrics, held against NumPy written another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnx2snn import DataError, UsageError
from onnx2snn.score.intervals import drop_intervals
from onnx2snn.score.metrics import Metric, Scripted
from onnx2snn.score.registry import METRICS, metric_class

Array = NDArray[Any]


def score(name: str, outputs: list[Array], wanted: list[Array], pieces: int = 1) -> float:
    metric = METRICS[name]()
    parts = np.array_split(np.arange(len(outputs[0])), pieces)
    rows = [
        metric.measure([o[part] for o in outputs], [w[part] for w in wanted], int(part[0]))
        for part in parts
    ]
    return metric.score(rows)


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("shape", [(12, 5), (12, 3, 4, 6), (12, 2, 3, 3, 2)])
def test_agreement_is_the_share_of_equal_classes(shape: tuple[int, ...], pieces: int) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, *shape)).astype(np.float32)
    expected = np.mean(np.argmax(one, axis=1) == np.argmax(other, axis=1))
    assert score("agreement", [one], [other], pieces) == pytest.approx(expected)
    assert 0 < expected < 1


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("shape", [(12, 1), (12,), (12, 1, 4, 4), (12, 6, 4)])
def test_agreement_without_classes_is_one_minus_the_relative_error(
    shape: tuple[int, ...], pieces: int
) -> None:
    rng = np.random.default_rng(0)
    wanted = rng.standard_normal(shape).astype(np.float32)
    found = wanted + 0.1 * rng.standard_normal(shape).astype(np.float32)
    expected = 1 - np.linalg.norm((found - wanted).ravel()) / np.linalg.norm(wanted.ravel())
    assert score("agreement", [found], [wanted], pieces) == pytest.approx(expected, rel=1e-5)


def test_agreement_reads_the_first_float_output_or_compares_integers() -> None:
    classes, scores = np.array([1, 0, 2]), np.eye(3, dtype=np.float32)
    assert score("agreement", [classes, scores], [classes * 0, scores]) == 1.0
    assert score("agreement", [classes], [np.array([1, 1, 2])]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("found", "expected"), [(0.0, 1.0), (0.5, 0.0)])
def test_agreement_with_nothing_but_zeros(found: float, expected: float) -> None:
    zeros = np.zeros((4, 1), np.float32)
    assert score("agreement", [zeros + np.float32(found)], [zeros]) == expected


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_outputs_of_different_shapes_agree_nowhere(dtype: type) -> None:
    assert score("agreement", [np.ones((2, 15), dtype)], [np.ones((2, 14), dtype)]) == 0.0


@pytest.mark.parametrize(
    ("found", "expected"),
    [([1.0, -np.inf, np.nan], 1.0), ([0.5, -np.inf, np.nan], 0.5), ([1.0, 0.0, np.nan], 0.0)],
)
def test_agreement_with_values_that_are_not_finite(found: list[float], expected: float) -> None:
    wanted = np.array([1.0, -np.inf, np.nan])[:, None]
    assert score("agreement", [np.array(found)[:, None]], [wanted]) == expected


@pytest.mark.parametrize("shape", [(4, 3, 2), (4,)])
def test_top1_needs_class_scores(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="choose another metric"):
        score("top1", [np.zeros(shape, np.float32)], [np.zeros(4, np.int64)])


# --- top1 and top5 ---


@pytest.mark.parametrize(("name", "k"), [("top1", 1), ("top5", 5)])
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_label_counts_when_it_is_among_the_best(name: str, k: int, pieces: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (60, 9)).astype(np.float32)  # with equal ones
    labels = rng.integers(0, 9, 60)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = np.mean([label in row for label, row in zip(labels, best, strict=True)])
    assert score(name, [scores], [labels], pieces) == pytest.approx(expected)
    assert 0 < expected < 1


def test_scores_that_are_not_numbers_are_never_right() -> None:
    scores = np.array([[np.nan, 1, 2], [0, np.nan, 1], [np.nan] * 3], np.float32)
    assert score("top1", [scores], [np.array([0, 2, 0])]) == 0.0


@pytest.mark.parametrize("wrong", [3, -1, 1.5])
def test_a_label_that_is_no_class_is_named(wrong: float) -> None:
    labels = np.where(np.arange(8) == 6, wrong, 0)
    with pytest.raises(
        DataError, match=f"'labels' of sample 6 holds {wrong:g}.*the classes 0 to 2; number them"
    ):
        score("top1", [np.zeros((8, 3), np.float32)], [labels], pieces=4)


# --- mse ---


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("labels_shape", [(12, 4), (12, 1, 4), (12, 4, 1)])
def test_mse_is_a_mean_over_all_values(labels_shape: tuple[int, ...], pieces: int) -> None:
    rng = np.random.default_rng(0)
    found, labels = (
        rng.standard_normal((12, 4)).astype(np.float32),
        rng.standard_normal(labels_shape),
    )
    expected = np.mean((found - labels.reshape(12, 4)) ** 2)
    assert score("mse", [found], [labels], pieces) == pytest.approx(expected)


def test_mse_needs_labels_of_the_outputs_shape() -> None:
    with pytest.raises(DataError, match=r"not \[4, 2\] for \[4, 3\]"):
        score("mse", [np.zeros((4, 3), np.float32)], [np.zeros((4, 2))])


@pytest.mark.parametrize(
    ("ann", "snn", "drop"), [(0.5, 0.6, 0.2), (0.5, 0.5, 0.0), (0.0, 0.0, 0.0), (0.0, 0.1, np.inf)]
)
def test_the_drop_of_an_error_is_its_relative_increase(ann: float, snn: float, drop: float) -> None:
    assert METRICS["mse"]().drop(ann, snn) == pytest.approx(drop)


# --- miou ---


def looped_miou(predicted: Array, masks: Array, classes: int) -> float:
    shares = []
    for c in range(classes):
        one, other = (predicted == c) & (masks != 255), masks == c
        if (one | other).any():
            shares.append((one & other).sum() / (one | other).sum())
    return float(np.mean(shares))


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("how", ["scores", "classes", "one channel"])
def test_miou_is_the_mean_over_classes_of_the_whole_data(how: str, pieces: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((6, 5, 7, 8)).astype(np.float32)
    scores[:, 3] = -9.0  # a class that is never predicted
    masks = rng.choice([0, 1, 2, 255], (6, 7, 8)).astype(np.uint8)  # the last class is nowhere
    scores[:, 4] = -9.0
    predicted = scores.argmax(axis=1)
    outputs = {"scores": scores, "classes": predicted, "one channel": predicted[:, None]}[how]
    expected = looped_miou(predicted, masks, 5)
    assert score("miou", [outputs], [masks], pieces) == pytest.approx(expected)
    assert 0 < expected < 1


def test_miou_of_the_truth_is_1_and_of_nothing_right_0() -> None:
    masks = np.array([[[0, 1], [1, 255]]], np.uint8)
    for predicted, expected in (([[0, 1], [1, 0]], 1.0), ([[1, 0], [0, 1]], 0.0)):
        assert score("miou", [np.array([predicted])], [masks]) == expected


def test_miou_takes_the_first_output_of_the_masks_size() -> None:
    masks = np.zeros((2, 4, 4), np.uint8)
    small, right = np.ones((2, 3, 2, 2), np.float32), np.zeros((2, 3, 4, 4), np.float32)
    assert score("miou", [small, right], [masks]) == 1.0
    with pytest.raises(
        DataError, match=r"not outputs \[2, 3, 2, 2\] and masks \[2, 4, 4\]; resize"
    ):
        score("miou", [small], [masks])


def test_a_mask_with_an_unknown_class_is_named() -> None:
    masks = np.zeros((5, 2, 2), np.uint8)
    masks[3, 1, 1] = 21
    with pytest.raises(
        DataError, match=r"'masks' of sample 3 holds 21, but the model has the classes 0 to 1 \(255"
    ):
        score("miou", [np.zeros((5, 2, 2, 2), np.float32)], [masks], pieces=5)


# --- scripts ---


def scripted(function: Any, targets: tuple[str, ...] = ("labels",)) -> Metric:
    return Scripted(["logits"], "m.py:score", function, targets)


def test_a_script_scores_samples_or_batches() -> None:
    x, labels = np.arange(6.0), np.array([0, 1, 2, 3, 4, 9])
    each = scripted(lambda outputs, labels: outputs[0] == labels)
    whole = scripted(lambda outputs, labels: np.mean(outputs[0] == labels))
    for metric in (each, whole):
        rows = [metric.measure([x[part]], [labels[part]]) for part in (slice(0, 4), slice(4, 6))]
        assert metric.score(rows) == pytest.approx(5 / 6)


def test_a_script_gets_whatever_stands_beside_the_inputs() -> None:
    got: list[Any] = []
    for targets in ((), ("labels",), ("boxes", "classes")):
        metric = scripted(lambda outputs, labels: got.append(labels) is None, targets)  # type: ignore[func-returns-value]
        metric.measure([np.zeros(2)], [np.full(2, i) for i in range(len(targets))])
    assert got[0] is None
    assert got[1].tolist() == [0, 0]
    assert {key: value.tolist() for key, value in got[2].items()} == {
        "boxes": [0, 0],
        "classes": [1, 1],
    }


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda outputs, labels: 1 / 0, "m.py:score raised ZeroDivisionError"),
        (lambda outputs, labels: np.nan, "m.py:score returned nan"),
        (lambda outputs, labels: [1.0, 2.0, 3.0], r"m.py:score returned shape \[3\]"),
        (lambda outputs: 1.0, "m.py:score raised TypeError"),
    ],
)
def test_a_script_that_fails_is_named(function: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        scripted(function).measure([np.zeros(2)], [np.zeros(2)])


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"metric is 'luck'; it has to be one of top1, .*agreement, map or script"
    ):
        metric_class("luck")


# --- intervals ---


def outcomes(rng: np.random.Generator, count: int, lost: float, won: float) -> tuple[Array, Array]:
    """Rows of an ANN and an SNN; one is right where the other is not, with these probabilities."""
    draw = rng.random(count)
    ann = np.where(draw < lost, 1, np.where(draw < lost + won, 0, rng.random(count) < 0.7))
    snn = np.where(draw < lost, 0, np.where(draw < lost + won, 1, ann))
    return (np.column_stack([values, np.ones(count)]).astype(float) for values in (ann, snn))  # type: ignore[return-value]


@pytest.mark.parametrize(("lost", "won"), [(0.05, 0.02), (0.2, 0.0), (0.01, 0.01)])
def test_an_interval_holds_the_true_drop_19_times_of_20(lost: float, won: float) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        ann, snn = outcomes(rng, 150, lost, won)
        (interval,) = drop_intervals(METRICS["top1"](), 150, [ann], [[snn]])
        assert interval is not None
        held += interval[0] <= lost - won <= interval[1]
    assert held / 400 >= 0.92


def test_an_interval_of_no_difference_is_not_nothing() -> None:
    rows = np.ones((50, 2))
    (interval,) = drop_intervals(METRICS["top1"](), 50, [rows], [[rows]])
    assert interval is not None
    assert interval[0] < 0 < interval[1] < 0.06


def test_pairing_narrows_an_interval() -> None:
    """Unpaired, the interval of a difference of two shares would be 0.06 wide on either side."""
    ann, snn = outcomes(np.random.default_rng(1), 400, 0.02, 0.0)
    (interval,) = drop_intervals(METRICS["top1"](), 400, [ann], [[snn]])
    assert interval is not None
    assert interval[1] - interval[0] < 0.04


def test_shares_and_bootstrap_agree_where_both_apply() -> None:
    ann, snn = outcomes(np.random.default_rng(2), 500, 0.1, 0.05)
    (closed,) = drop_intervals(METRICS["top1"](), 500, [ann], [[snn]])
    metric = scripted(None)
    (resampled,) = drop_intervals(
        metric, 500, [ann * [0.5, 1]], [[snn * [0.5, 1]]]
    )  # outcomes of 0 and 1/2
    assert closed is not None
    assert resampled is not None
    np.testing.assert_allclose(np.array(resampled) * 2, closed, atol=0.008)


def test_a_bootstrap_interval_of_miou_is_seeded_and_holds_the_drop() -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (40, 6, 6)).astype(np.uint8)
    noisy = [
        np.where(rng.random(masks.shape) < p, rng.integers(0, 3, masks.shape), masks)
        for p in (0.1, 0.3)
    ]
    metric = METRICS["miou"]()
    ann, snn = ([metric.measure([found], [masks])] for found in noisy)
    first, again = (drop_intervals(metric, 40, ann, [snn])[0] for _ in range(2))
    assert first == again
    assert first is not None
    assert first[0] < float(metric.drop(metric.score(ann), metric.score(snn))) < first[1]
    assert first[0] > 0


def test_an_output_without_a_batch_axis_has_no_interval() -> None:
    rows = METRICS["agreement"]().measure([np.array(1.0)], [np.array(2.0)])
    assert drop_intervals(METRICS["agreement"](), 9, [rows], [[rows]]) == [None]
