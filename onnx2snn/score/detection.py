"""Mean average precision of decoded boxes: non-maximum suppression, then COCO's own evaluation.

COCO's measure is pycocotools' (extra `detection`): its mean over classes and over IoU thresholds
from 0.50 to 0.95. That library is imported only where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError, UsageError, quoted
from onnx2snn.protos.quiet import quiet
from onnx2snn.protos.sessions import open_own_session
from onnx2snn.score.metrics import NO_NATURES, Arrays, Metric
from onnx2snn.score.natures import Natures

SCORE_THRESHOLD = 0.05
"""Weaker detections are left out before suppression, as RetinaNet and FCOS do."""
IOU_THRESHOLD = 0.5
NEEDED = ("boxes", "scores")
"""Outputs by name."""
MOST = 100
"""Detections an image, the limit of COCO's measure."""


class MeanAveragePrecision(Metric):
    """COCO mAP@[.5:.95] of the outputs `boxes` [N, A, 4] and `scores` [N, A, C].

    A box is x1, y1, x2, y2 in pixels.
    """

    targets = ("boxes", "classes")
    additive = False
    every_step = False
    proportion = False

    def __init__(
        self,
        outputs: Sequence[str] = (),
        output: str | None = None,
        natures: Natures = NO_NATURES,
    ) -> None:
        """Take what is known about the outputs, as the base does.

        Raises:
            UsageError: Outputs or library are missing, or one output alone is asked for.
        """
        super().__init__(outputs, output, natures)
        if output is not None:
            raise UsageError("map scores two outputs, 'boxes' and 'scores': name no output")
        missing = [name for name in NEEDED if name not in outputs]
        if missing:
            raise UsageError(
                "map needs the outputs 'boxes' [N,A,4] and 'scores' [N,A,C], "
                f"but there is no '{missing[0]}', only {quoted(outputs)}; "
                "name the model's outputs so, or choose another metric"
            )
        try:
            import pycocotools  # noqa: F401 - whether it is there is told before any work
        except ImportError as error:
            raise UsageError(
                "map needs pycocotools: run `pip install 'onnx2snn[detection]'`"
            ) from error
        self.places = [self.outputs.index(name) for name in NEEDED]

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> list[tuple[Array, Array]]:
        """Return the detections [D, 6] and the truth [G, 6] of each sample.

        Their columns are x1, y1, x2, y2, class and score (0 in the truth).

        Args:
            outputs: The model's outputs.
            wanted: Boxes [N, M, 4] and classes [N, M], -1 where a row is padding.
            first: The number of the batch's first sample, for errors.
        """
        boxes, scores = (outputs[place] for place in self.places)
        truth, classes = wanted
        _check_shapes(boxes, scores, truth, classes)
        _check_truth(truth, classes, scores.shape[2], first)
        found = self.suppress(boxes, scores)
        no_scores = np.zeros(classes.shape)
        columns = np.stack([classes, no_scores], axis=2)
        table = np.concatenate([truth, columns], axis=2)
        kept = [rows[rows[:, 4] >= 0] for rows in table]
        return list(zip(found, kept, strict=True))

    def suppress(self, boxes: Array, scores: Array) -> list[Array]:
        """Return the strongest detections [D, 6] of each image, after suppression by class."""
        boxes = np.nan_to_num(boxes.astype(np.float32))
        scores = np.nan_to_num(scores.astype(np.float32))
        by_class = np.moveaxis(scores, 2, 1).copy()
        feed = {"boxes": boxes, "scores": by_class}
        (chosen,) = self._suppression.run(None, feed)
        # a row for each detection that is left: image, class, anchor
        image, kind, anchor = chosen.T
        strength = scores[image, anchor, kind]
        table = np.column_stack([boxes[image, anchor], kind, strength])
        # by image, the strongest first
        order = np.lexsort((-strength, image))
        table = table[order]
        images = np.arange(len(boxes) + 1)
        # image i has the rows from bound i to bound i + 1
        bounds = np.searchsorted(image[order], images)
        return [table[start:end][:MOST] for start, end in pairwise(bounds)]

    @cached_property
    def _suppression(self) -> ort.InferenceSession:
        limits: dict[str, Array] = {
            "most": np.array([MOST], np.int64),
            "iou": np.array([IOU_THRESHOLD], np.float32),
            "score": np.array([SCORE_THRESHOLD], np.float32),
        }
        names = [*NEEDED, *limits]
        node = helper.make_node("NonMaxSuppression", names, ["chosen"])
        shape = [None, None, None]
        kind = TensorProto.FLOAT
        given = [helper.make_tensor_value_info(name, kind, shape) for name in NEEDED]
        output = helper.make_tensor_value_info("chosen", TensorProto.INT64, [None, 3])
        fixed = [numpy_helper.from_array(value, name) for name, value in limits.items()]
        graph = helper.make_graph([node], "nms", given, [output], fixed)
        opset = helper.make_opsetid("", 11)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        return open_own_session(model, None)

    def score(self, batches: Sequence[Any]) -> float:
        """Return a fraction; DataError where no sample has a box."""
        rows = [row for batch in batches for row in batch]
        found = [detections for detections, _ in rows]
        truth = [boxes for _, boxes in rows]
        return coco_map(found, truth)


def coco_map(found: Arrays, truth: Arrays) -> float:
    """Return COCO mAP@[.5:.95] over all areas, of 100 detections an image.

    Args:
        found: Each image's detections [D, 6]: x1, y1, x2, y2, class, score.
        truth: Each image's boxes [G, 6], the same way.

    Raises:
        DataError: No image has a box.
    """
    from pycocotools import coco, cocoeval

    if not any(len(boxes) for boxes in truth):
        raise DataError(
            "no sample has a box that map could be scored against; give 'boxes' and 'classes'"
        )
    if not any(len(boxes) for boxes in found):
        return 0.0
    every_row = np.concatenate([*truth, *found])
    classes = np.unique(every_row[:, 4])
    images = [{"id": image} for image, _ in enumerate(truth)]
    categories = [{"id": int(kind)} for kind in classes]
    with quiet(coco, cocoeval):
        indexed = []
        for rows in (truth, found):
            index = coco.COCO()
            annotations = _annotations(rows)
            index.dataset = {
                "images": images,
                "categories": categories,
                "annotations": annotations,
            }
            index.createIndex()
            indexed.append(index)
        run = cocoeval.COCOeval(*indexed, "bbox")
        # boxes of all sizes, in place of COCO's three classes of areas
        run.params.areaRng = [[0, 1e10]]
        run.params.areaRngLbl = ["all"]
        run.params.maxDets = [MOST]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"]
    # -1 stands where a class has no truth
    return float(np.mean(precision[precision > -1]))


def _annotations(images: Arrays) -> list[dict[str, Any]]:
    """Return boxes as the library takes them; numbers count from 1, for it takes 0 for no match."""
    found: list[dict[str, Any]] = []
    for image, rows in enumerate(images):
        for x1, y1, x2, y2, kind, score in rows.tolist():
            width, height = x2 - x1, y2 - y1
            found.append(
                {
                    "id": len(found) + 1,
                    "image_id": image,
                    "category_id": int(kind),
                    "bbox": [x1, y1, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": score,
                }
            )
    return found


def _check_shapes(boxes: Array, scores: Array, truth: Array, classes: Array) -> None:
    of_scores = scores.ndim == 3 and scores.shape[:2] == boxes.shape[:2]
    if not (_holds_boxes(boxes) and of_scores):
        raise DataError(
            "map needs outputs boxes [N,A,4] and scores [N,A,C], "
            f"not {list(boxes.shape)} and {list(scores.shape)}"
        )
    of_classes = classes.shape == truth.shape[:2]
    if not (_holds_boxes(truth) and of_classes):
        raise DataError(
            "map needs boxes [N,M,4] and classes [N,M], "
            f"not {list(truth.shape)} and {list(classes.shape)}"
        )


def _holds_boxes(array: Array) -> bool:
    """Return whether an array is [N, anything, 4]."""
    return array.ndim == 3 and array.shape[2] == 4


def _check_truth(truth: Array, classes: Array, count: int, first: int) -> None:
    """Raise DataError for a class that the model has not, or a box without extent."""
    outside = (classes < -1) | (classes >= count)
    whole = classes == classes.astype(np.int64)
    unknown = outside | ~whole
    finite = np.isfinite(truth).all(axis=2)
    low, high = truth[..., :2], truth[..., 2:]
    extended = (high > low).all(axis=2)
    no_box = (classes >= 0) & ~(finite & extended)
    bad = (unknown | no_box).any(axis=1)
    if bad.any():
        raise DataError(
            f"'boxes' and 'classes' of sample {first + int(np.argmax(bad))} hold a class outside "
            f"0 to {count - 1}, or a box without extent (x1, y1, x2, y2); "
            "mend it, or pad with class -1"
        )
