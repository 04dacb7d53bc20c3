"""Metrics of class numbers: a label for each sample (top1, top5), or one for each pixel (miou)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError
from onnx2snn.score.metrics import IGNORE, Arrays, Metric, first_float, share


class Top1(Metric):
    """Share of samples whose label is among the `k` largest class scores.

    Of equal scores the first ones count.
    """

    targets = ("labels",)
    k: ClassVar[int] = 1

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Array:
        """Return a row of 0 or 1, and 1.

        The first floating-point output is [N, classes], the labels are [N].
        """
        scores = first_float(outputs)
        labels = wanted[0]
        if scores is None or scores.ndim != 2 or labels.ndim != 1:
            shape = None if scores is None else list(scores.shape)
            raise DataError(
                f"top{self.k} needs class scores [N, classes] and labels [N], "
                f"not {shape} and {list(labels.shape)}; choose another metric"
            )
        classes = scores.shape[1]
        label = class_numbers("labels", labels, classes, first)
        label = label[:, None]
        own = np.take_along_axis(scores, label, axis=1)
        # Ahead of the label stand the higher scores, and equal ones of smaller numbers. Written as
        # "not smaller or equal", so that everything is ahead of a score that is not a number.
        higher = ~(scores <= own)
        earlier = (scores == own) & (np.arange(classes) < label)
        ahead = (higher | earlier).sum(axis=1)
        right = ahead < self.k
        return np.column_stack([right, np.ones(len(right))])


class Top5(Top1):
    """Share of samples whose label is among the five largest class scores."""

    k = 5


class MeanIoU(Metric):
    """Intersection over union of the truth's and the prediction's pixels, averaged over classes.

    The classes are those met in either.
    """

    targets = ("masks",)
    proportion = False

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Array:
        """Return a row of intersections, then unions, by class.

        Args:
            outputs: The first one that is class scores [N, C, H, W] or classes [N, H, W] counts.
            wanted: Masks [N, H, W] of class numbers, 255 where no pixel counts.
            first: The number of the batch's first sample, for errors.
        """
        masks = wanted[0]
        found = _of_size(outputs, masks)
        # classes without scores may be any number but that of ignored pixels
        by_scores = found.ndim == 4 and found.shape[1] > 1
        count = found.shape[1] if by_scores else IGNORE
        truth = class_numbers("masks", masks, count, first, also=IGNORE)
        truth = truth.reshape(len(masks), -1)
        predicted = classes_per_pixel(found).astype(np.int64)
        predicted = predicted.reshape(truth.shape)
        counted = truth != IGNORE
        outside = (predicted < 0) | (predicted >= count)
        bad = counted & outside
        if bad.any():
            raise DataError(
                f"the model's classes of sample {first + _first_row(bad)} are not numbers "
                "from 0 to 254"
            )
        # |A and B|, and |A or B| = |A| + |B| - |A and B|
        right = counted & (truth == predicted)
        hits = _histograms(predicted, right, count)
        of_prediction = _histograms(predicted, counted, count)
        of_truth = _histograms(truth, counted, count)
        unions = of_prediction + of_truth - hits
        return np.concatenate([hits, unions], axis=1)

    def figure(self, sums: Array) -> Array:
        """Return a fraction; 0 where no pixel counts."""
        # classes that are met nowhere have no union, and are left out of the mean
        hits, unions = np.split(sums, 2, axis=-1)
        by_class = share(hits, unions)
        met = (unions > 0).sum(axis=-1)
        return share(by_class.sum(axis=-1), met)


def class_numbers(
    key: str, values: Array, count: int, first: int, also: int | None = None
) -> Array:
    """Return class numbers as int64.

    Args:
        key: The array's name, for the error.
        values: The array, [N, ...].
        count: Numbers go from 0 to count - 1.
        first: The number of the batch's first sample, for the error.
        also: A number that is allowed, too.

    Raises:
        DataError: A sample, which it names, has another number.
    """
    classes = values.astype(np.int64)
    outside = (classes < 0) | (classes >= count)
    if also is not None:
        outside &= classes != also
    bad = (classes != values) | outside
    if bad.any():
        row = _first_row(bad)
        place = np.argmax(bad[row])
        found = values[row].flat[place]
        ignored = "" if also is None else f" ({also}: ignored)"
        raise DataError(
            f"'{key}' of sample {first + row} holds {found}, but the model has the classes "
            f"0 to {count - 1}{ignored}; number them from 0"
        )
    return classes


def classes_per_pixel(output: Array) -> Array:
    """Return classes [N, H, W] out of scores [N, C, H, W], of [N, 1, H, W] or of themselves."""
    if output.ndim != 4:
        return output
    if output.shape[1] == 1:
        return output[:, 0]
    return np.asarray(output.argmax(axis=1))


def _of_size(outputs: Arrays, masks: Array) -> Array:
    """Return the first output that is class scores or classes of the masks' size."""
    for output in outputs:
        if output.dtype.kind not in "fiu" or masks.ndim != 3:
            continue
        if classes_per_pixel(output).shape == masks.shape:
            return output
    shapes = ", ".join(f"{list(output.shape)}" for output in outputs)
    raise DataError(
        "miou needs class scores [N,C,H,W] and masks [N,H,W] of the same size, "
        f"not outputs {shapes} and masks {list(masks.shape)}; "
        "resize the masks or choose another metric"
    )


def _first_row(bad: Array) -> int:
    """Return the number of the first sample in which a place is bad."""
    by_sample = bad.reshape(len(bad), -1)
    return int(np.argmax(by_sample.any(axis=1)))


def _histograms(classes: Array, counted: Array, count: int) -> Array:
    """Return how often each class stands where `counted`, by row: [N, count]."""
    # class c of row n is bin n * count + c of one histogram over all rows
    rows = np.arange(len(classes))[:, None]
    bins = (rows * count + classes)[counted]
    found = np.bincount(bins, minlength=len(classes) * count)
    by_row = found.reshape(len(classes), count)
    return by_row.astype(np.float64)
