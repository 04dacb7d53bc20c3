"""Mean average precision of decoded boxes: non-maximum suppression, then COCO's own evaluation.

COCO's measure is pycocotools' (extra `detection`), its mean over IoU thresholds 0.50 to 0.95 and classes.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError, UsageError, quoted
from onnx2snn.score.metrics import Metric

SCORE_THRESHOLD = 0.05
"""Weaker detections are left out before suppression, as RetinaNet's and FCOS's reference implementations do."""
IOU_THRESHOLD = 0.5
MOST = 100
"""Detections an image, the limit of COCO's measure."""


class MeanAveragePrecision(Metric):
    """COCO mAP@[.5:.95] of outputs `boxes` [N,A,4] (x1, y1, x2, y2 in pixels) and `scores` [N,A,C]."""

    targets = ("boxes", "classes")
    additive = False
    every_step = False
    proportion = False

    def __init__(self, outputs: Sequence[str] = ()) -> None:
        """UsageError where outputs or library are missing."""
        super().__init__(outputs)
        if missing := [name for name in ("boxes", "scores") if name not in outputs]:
            raise UsageError(
                f"map needs the outputs 'boxes' [N,A,4] and 'scores' [N,A,C], but there is no '{missing[0]}', only "
                f"{quoted(outputs)}; name the model's outputs so, or choose another metric"
            )
        try:
            import pycocotools  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "map needs pycocotools: run `pip install 'onnx2snn[detection]'`"
            ) from error
        self.where = [self.outputs.index(name) for name in ("boxes", "scores")]

    def measure(
        self, outputs: Sequence[Array], wanted: Sequence[Array], first: int = 0
    ) -> list[tuple[Array, Array]]:
        """wanted: boxes [N,M,4] and classes [N,M], -1 where a row is padding. A sample's row: detections [D,6] and
        truth [G,6], each x1, y1, x2, y2, class, score (0 in the truth).
        """
        boxes, scores = (outputs[i] for i in self.where)
        truth, classes = wanted
        if (
            boxes.ndim != 3
            or boxes.shape[2] != 4
            or scores.ndim != 3
            or scores.shape[:2] != boxes.shape[:2]
        ):
            raise DataError(
                f"map needs outputs boxes [N,A,4] and scores [N,A,C], not {list(boxes.shape)} and {list(scores.shape)}"
            )
        if truth.ndim != 3 or truth.shape[2] != 4 or classes.shape != truth.shape[:2]:
            raise DataError(
                f"map needs boxes [N,M,4] and classes [N,M], not {list(truth.shape)} and {list(classes.shape)}"
            )
        bad = (classes < -1) | (classes >= scores.shape[2]) | (classes != classes.astype(np.int64))
        bad |= (classes >= 0) & ~(
            np.isfinite(truth).all(axis=2) & (truth[..., 2:] > truth[..., :2]).all(axis=2)
        )
        if bad.any():
            row = int(np.argmax(bad.any(axis=1)))
            raise DataError(
                f"'boxes' and 'classes' of sample {first + row} hold a class outside 0 to {scores.shape[2] - 1}, or a "
                "box without extent (x1, y1, x2, y2); mend it, or pad with class -1"
            )
        found = self.suppress(boxes, scores)
        kept = (
            np.column_stack([t, c, np.zeros(len(c))])[c >= 0]
            for t, c in zip(truth, classes, strict=True)
        )
        return list(zip(found, kept, strict=True))

    def suppress(self, boxes: Array, scores: Array) -> list[Array]:
        """Non-maximum suppression by class; the strongest detections [D,6] of each image."""
        boxes, scores = (
            np.nan_to_num(boxes.astype(np.float32)),
            np.nan_to_num(scores.astype(np.float32)),
        )
        (chosen,) = self._suppression.run(
            None, {"boxes": boxes, "scores": np.moveaxis(scores, 2, 1).copy()}
        )
        image, kind, anchor = chosen.T
        strength = scores[image, anchor, kind]
        table = np.column_stack([boxes[image, anchor], kind, strength])
        order = np.lexsort((-strength, image))
        image, table = image[order], table[order]
        bounds = np.searchsorted(image, np.arange(len(boxes) + 1))
        return [table[a : min(b, a + MOST)] for a, b in pairwise(bounds)]

    @cached_property
    def _suppression(self) -> ort.InferenceSession:
        limits: list[Array] = [
            np.array([MOST], np.int64),
            *(np.array([v], np.float32) for v in (IOU_THRESHOLD, SCORE_THRESHOLD)),
        ]
        names = ["most", "iou", "score"]
        node = helper.make_node("NonMaxSuppression", ["boxes", "scores", *names], ["chosen"])
        inputs = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 3)
            for n in ("boxes", "scores")
        ]
        output = helper.make_tensor_value_info("chosen", TensorProto.INT64, [None, 3])
        fixed = [
            numpy_helper.from_array(value, name) for name, value in zip(names, limits, strict=True)
        ]
        graph = helper.make_graph([node], "nms", inputs, [output], fixed)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
        return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def score(self, batches: Sequence[Any]) -> float:
        """A fraction; DataError where no sample has a box."""
        rows = [row for batch in batches for row in batch]
        return coco_map([found for found, _ in rows], [truth for _, truth in rows])


def coco_map(found: Sequence[Array], truth: Sequence[Array]) -> float:
    """COCO mAP@[.5:.95], all areas, 100 detections an image; each image's rows are x1, y1, x2, y2, class, score."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not any(map(len, truth)):
        raise DataError(
            "no sample has a box that map could be scored against; give 'boxes' and 'classes'"
        )
    if not any(map(len, found)):
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # the library prints
        wanted = COCO()
        wanted.dataset = {
            "images": [{"id": image} for image in range(len(truth))],
            "categories": [
                {"id": int(c)} for c in np.unique(np.concatenate([*truth, *found])[:, 4])
            ],
            "annotations": _annotations(truth),
        }
        wanted.createIndex()
        run = COCOeval(wanted, _loaded(COCO(), wanted, found), "bbox")
        run.params.areaRng, run.params.areaRngLbl, run.params.maxDets = [[0, 1e10]], ["all"], [MOST]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"]
    return float(np.mean(precision[precision > -1]))


def _loaded(found: Any, wanted: Any, rows: Sequence[Array]) -> Any:
    """Detections as the library indexes them."""
    found.dataset = {**wanted.dataset, "annotations": _annotations(rows)}
    found.createIndex()
    return found


def _annotations(images: Sequence[Array]) -> list[dict[str, Any]]:
    image = np.repeat(np.arange(len(images)), [len(rows) for rows in images])
    rows = np.concatenate([*images, np.zeros((0, 6))])
    sizes = rows[:, 2:4] - rows[:, :2]
    return [
        {
            "id": number,  # from 1: the library takes 0 for no match
            "image_id": int(i),
            "category_id": int(row[4]),
            "bbox": [*row[:2], *size],
            "area": float(size[0] * size[1]),
            "iscrowd": 0,
            "score": float(row[5]),
        }
        for number, (i, row, size) in enumerate(zip(image, rows, sizes, strict=True), 1)
    ]
