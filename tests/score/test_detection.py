"""Non-maximum suppression and mean average precision, held against loops and known values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnx2snn import DataError, UsageError
from onnx2snn.score.detection import MeanAveragePrecision

Array = NDArray[Any]
NAMES = ("boxes", "scores")


def overlap(a: Array, b: Array) -> float:
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    both = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(both / (sum(areas) - both))


def looped_map(found: list[Array], truth: list[Array]) -> float:
    """COCO's measure as its paper tells it.

    Per class and IoU: greedy matching by score, precision at 101 recalls.
    """
    values = []
    for kind in sorted({row[4] for rows in truth for row in rows}):
        wanted = [rows[rows[:, 4] == kind] for rows in truth]
        given = [
            (image, row) for image, rows in enumerate(found) for row in rows[rows[:, 4] == kind]
        ]
        given.sort(key=lambda pair: -pair[1][5])
        for threshold in np.arange(0.5, 0.96, 0.05):
            taken: set[tuple[int, int]] = set()
            hits = []
            for image, row in given:
                overlaps = [
                    (overlap(row, box), i)
                    for i, box in enumerate(wanted[image])
                    if (image, i) not in taken
                ]
                best, index = max(overlaps, default=(0.0, -1))
                hits.append(best >= threshold)
                if hits[-1]:
                    taken.add((image, index))
            total = sum(map(len, wanted))
            recall = np.cumsum(hits) / total
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            levels = np.linspace(0, 1, 101)
            at = [max(precision[recall >= level], default=0.0) for level in levels]
            values.append(np.mean(at))
    return float(np.mean(values))


def scene(seed: int, images: int = 12, classes: int = 3) -> tuple[Array, Array, Array, Array]:
    """Detections that are shifted, missing, or false, and truth.

    Boxes, scores, wanted boxes, wanted classes.
    """
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 80, (images, 5, 2))
    wanted = np.concatenate([corners, corners + rng.uniform(15, 40, (images, 5, 2))], axis=2)
    kinds = np.where(rng.random((images, 5)) < 0.8, rng.integers(0, classes, (images, 5)), -1)
    shifted = wanted + rng.normal(0, 2.0, wanted.shape)
    false = np.concatenate(
        [wanted[:, :2] + 45, wanted[:, 2:4] + rng.normal(0, 6, (images, 2, 4))], axis=1
    )
    boxes = np.concatenate([shifted, false], axis=1).astype(np.float32)
    scores = rng.uniform(0, 0.4, (images, 9, classes)).astype(np.float32)
    for image, anchor in np.argwhere(kinds >= 0):
        scores[image, anchor, kinds[image, anchor]] = rng.uniform(0.3, 1.0)
    return boxes, scores, wanted.astype(np.float32), kinds


def score(outputs: list[Array], wanted: list[Array], pieces: int = 1) -> float:
    metric = MeanAveragePrecision(NAMES)
    parts = np.array_split(np.arange(len(outputs[0])), pieces)
    return metric.score(
        [metric.measure([o[p] for o in outputs], [w[p] for w in wanted], int(p[0])) for p in parts]
    )


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_map_is_cocos_measure(seed: int, pieces: int) -> None:
    boxes, scores, wanted, kinds = scene(seed)
    metric = MeanAveragePrecision(NAMES)
    rows = metric.measure([boxes, scores], [wanted, kinds])
    expected = looped_map([found for found, _ in rows], [truth for _, truth in rows])
    assert score([boxes, scores], [wanted, kinds], pieces) == pytest.approx(expected, abs=1e-6)
    assert 0.2 < expected < 0.9


def looped_suppression(boxes: Array, scores: Array) -> list[tuple[int, int]]:
    """(class, anchor) of what is kept, strongest first."""
    kept: list[tuple[int, int]] = []
    for kind in range(scores.shape[1]):
        mine: list[int] = []
        for anchor in np.argsort(-scores[:, kind], kind="stable"):
            if scores[anchor, kind] > 0.05 and all(
                overlap(boxes[anchor], boxes[other]) <= 0.5 for other in mine
            ):
                mine.append(int(anchor))
        kept += [(kind, anchor) for anchor in mine]
    return sorted(kept, key=lambda pair: -scores[pair[1], pair[0]])[:100]


def test_suppression_is_greedy_by_class() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (4, 80, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 40, (4, 80, 2))], axis=2).astype(
        np.float32
    )
    scores = rng.uniform(0, 1, (4, 80, 3)).astype(np.float32)
    found = MeanAveragePrecision(NAMES).suppress(boxes, scores)
    for image, table in enumerate(found):
        wanted = looped_suppression(boxes[image], scores[image])
        np.testing.assert_array_equal(table[:, 4], [kind for kind, _ in wanted])
        np.testing.assert_array_equal(table[:, :4], boxes[image][[anchor for _, anchor in wanted]])
        assert 20 < len(table) < 240


KNOWN: dict[str, tuple[list[list[float]], list[list[float]], float]] = {
    # detections as x1, y1, x2, y2, score; truth as x1, y1, x2, y2
    "all right": ([[0, 0, 10, 10, 0.9]], [[0, 0, 10, 10]], 1.0),
    "half the truth": ([[0, 0, 10, 10, 0.9]], [[0, 0, 10, 10], [50, 50, 60, 60]], 51 / 101),
    "an IoU of 0.8 is right at 7 of 10 thresholds": ([[0, 0, 10, 8, 0.9]], [[0, 0, 10, 10]], 0.7),
    "a stronger false one": ([[50, 50, 60, 60, 0.9], [0, 0, 10, 10, 0.8]], [[0, 0, 10, 10]], 0.5),
    "a weaker false one": ([[50, 50, 60, 60, 0.7], [0, 0, 10, 10, 0.8]], [[0, 0, 10, 10]], 1.0),
    "nothing found": ([[0, 0, 10, 10, 0.0]], [[0, 0, 10, 10]], 0.0),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_map_of_simple_scenes(kind: str) -> None:
    found, wanted, expected = KNOWN[kind]
    rows, truth = np.array([found], np.float32), np.array([wanted], np.float32)
    outputs = [rows[..., :4], rows[..., 4:]]
    assert score(outputs, [truth, np.zeros(truth.shape[:2], np.int64)]) == pytest.approx(
        expected, abs=1e-6
    )


def test_padding_is_no_truth() -> None:
    boxes, scores, wanted, kinds = scene(0)
    more = np.concatenate([wanted, np.full((12, 3, 4), -1, np.float32)], axis=1)
    padded = np.concatenate([kinds, np.full((12, 3), -1)], axis=1)
    assert score([boxes, scores], [more, padded]) == score([boxes, scores], [wanted, kinds])


SQUARES = np.tile([0, 0, 5, 5], (4, 2, 1))


@pytest.mark.parametrize(
    ("wanted", "kinds", "said"),
    [
        (
            np.ones((4, 2, 4)),
            np.zeros((4, 2)),
            "sample 0 hold a class outside 0 to 1, or a box without extent",
        ),
        (
            np.tile([0, 0, 5, 5], (4, 2, 1)),
            np.array([[0, 0]] * 2 + [[0, 2]] * 2),
            "sample 2 hold a class outside 0 to 1",
        ),
        (SQUARES, np.zeros((4, 3)), r"not \[2, 2, 4\] and \[2, 3\]"),
        (SQUARES, np.full((4, 2), -1), "no sample has a box"),
    ],
)
def test_truth_that_makes_no_sense_is_named(wanted: Array, kinds: Array, said: str) -> None:
    outputs = [
        np.tile(np.array([0, 0, 5, 5], np.float32), (4, 3, 1)),
        np.full((4, 3, 2), 0.5, np.float32),
    ]
    with pytest.raises(DataError, match=said):
        score(outputs, [wanted, kinds], pieces=2)


def test_outputs_are_found_by_name() -> None:
    boxes, scores, wanted, kinds = scene(0)
    metric = MeanAveragePrecision(["other", "scores", "boxes"])
    rows = metric.measure([boxes[:, :, 0], scores, boxes], [wanted, kinds])
    assert metric.score([rows]) == score([boxes, scores], [wanted, kinds])
    with pytest.raises(
        UsageError, match="there is no 'boxes', only 'logits'; name the model's outputs so"
    ):
        MeanAveragePrecision(["logits"])
