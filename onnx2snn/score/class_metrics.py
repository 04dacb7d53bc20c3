"""Metrics of class numbers: a label for each sample (top1, top5), or one for each pixel (miou)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError
from onnx2snn.score.metrics import IGNORE, Arrays, Metric, require_numbers, shapes_of, share
from onnx2snn.score.natures import Nature


class Top1(Metric):
    """Share of samples whose label is among the `k` largest class scores.

    Of equal scores the first ones count.
    """

    targets = ("labels",)
    k: ClassVar[int] = 1

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Array:
        """Return a row of 0 or 1, and 1.

        The output is [N, classes], with or without axes of size 1 behind; or a probability [N] or
        [N, 1], whose decision is at 0.5. Labels are class numbers [N] or [N, 1], or one-hot.
        """
        labels = wanted[0]
        require_numbers("labels", labels)
        offered = self.offered(outputs)
        scores = {}
        for name, output in offered.items():
            found = self._class_scores(name, output)
            if found is not None and _labels_fit(labels, found.shape[1]):
                scores[name] = found
        if len(scores) > 1:
            scores = _with_these_classes(scores, labels)
        chosen = self.choose(scores)
        if chosen is None:
            raise DataError(self._refusal(shapes_of(offered), f"{list(labels.shape)}"))
        return self._right(chosen, labels, first)

    def _refusal(self, shapes: str, labels: str) -> str:
        return (
            f"top{self.k} needs class scores [N, classes], or a probability [N, 1] that a Sigmoid "
            f"makes, and labels [N], not {shapes} and {labels}; choose another metric, such as "
            "logit for one value a sample that decides at 0"
        )

    def _class_scores(self, name: str, output: Array) -> Array | None:
        """Return an output as class scores [N, classes]; None where it has no classes."""
        if output.dtype.kind != "f" or output.ndim < 1:
            return None
        flat = without_spatial_axes(output)
        if flat.ndim == 2 and flat.shape[1] > 1:
            return flat
        single = flat.size == len(output)
        if single and self.natures.get(name) is Nature.DECISIONS:
            yes = flat.reshape(-1)
            # class 1 where the probability is above a half
            return np.column_stack([1 - yes, yes])
        return None

    def _right(self, scores: Array, labels: Array, first: int) -> Array:
        classes = scores.shape[1]
        numbers = _class_of_each(labels, classes, first)
        label = class_numbers("labels", numbers, classes, first)
        label = label[:, None]
        own = np.take_along_axis(scores, label, axis=1)
        # Ahead of the label stand the higher scores, and equal ones of smaller numbers. Written as
        # "not smaller or equal", so that everything is ahead of a score that is not a number.
        higher = ~(scores <= own)
        earlier = (scores == own) & (np.arange(classes) < label)
        ahead = (higher | earlier).sum(axis=1)
        right = ahead < self.k
        return np.column_stack([right, np.ones(len(right))])


def without_spatial_axes(output: Array) -> Array:
    """Return an output [N, C, 1, ...] as [N, C]; any other as it is."""
    if output.ndim > 2 and output[0, 0].size == 1:
        return output.reshape(output.shape[:2])
    return output


def _labels_fit(labels: Array, classes: int) -> bool:
    """Return whether labels are one number a sample, or one-hot for a number of classes."""
    if labels.ndim < 1:
        return False
    a_sample = labels.size // max(len(labels), 1)
    return a_sample == 1 or labels.shape == (len(labels), classes)


def _with_these_classes(scores: dict[str, Array], labels: Array) -> dict[str, Array]:
    """Return the outputs that have a class for each label."""
    if labels.size != len(labels):
        return scores
    highest = labels.max(initial=0)
    return {name: found for name, found in scores.items() if found.shape[1] > highest}


def _class_of_each(labels: Array, classes: int, first: int) -> Array:
    """Return class numbers [N] of labels [N], [N, 1] or one-hot [N, classes]."""
    if labels.size == len(labels):
        return labels.reshape(-1)
    ones = labels == 1
    one_hot = (ones.sum(axis=1) == 1) & ((labels == 0).sum(axis=1) == classes - 1)
    if not one_hot.all():
        raise DataError(
            f"'labels' of sample {first + int(np.argmin(one_hot))} are {classes} numbers, but not "
            "a single 1 among zeros; give class numbers [N]"
        )
    return np.asarray(ones.argmax(axis=1))


class Logit(Top1):
    """Share of samples whose label is 1 just where a single output [N] or [N, 1] is above 0.

    Whether such an output is a logit, which decides at 0, or anything else the model does not say:
    it is asked for by name.
    """

    def _class_scores(self, name: str, output: Array) -> Array | None:
        """Return a logit as scores [N, 2]; None for an output of more than one value a sample."""
        if output.dtype.kind != "f" or output.ndim < 1 or output.size != len(output):
            return None
        yes = output.reshape(-1)
        return np.column_stack([np.zeros_like(yes), yes])

    def _refusal(self, shapes: str, labels: str) -> str:
        return (
            f"logit needs one value a sample, [N] or [N, 1], and labels [N] of 0 and 1, not "
            f"{shapes} and {labels}; choose another metric"
        )


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
            outputs: Class scores [N, C, H, W] or classes [N, H, W] are among them.
            wanted: Masks [N, H, W] of class numbers, 255 where no pixel counts.
            first: The number of the batch's first sample, for errors.
        """
        masks = wanted[0]
        found = self._of_size(outputs, masks)
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

    def _of_size(self, outputs: Arrays, masks: Array) -> Array:
        """Return the output that is class scores or classes of the masks' size."""
        offered = self.offered(outputs)
        fitting = {}
        for name, output in offered.items():
            if output.dtype.kind not in "fiu" or masks.ndim != 3:
                continue
            if classes_per_pixel(output).shape == masks.shape:
                fitting[name] = output
        chosen = self.choose(fitting)
        if chosen is not None:
            return chosen
        shapes = ", ".join(f"{list(output.shape)}" for output in offered.values())
        raise DataError(
            "miou needs class scores [N,C,H,W] and masks [N,H,W] of the same size, "
            f"not outputs {shapes} and masks {list(masks.shape)}; "
            "resize the masks or choose another metric"
        )

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
    require_numbers(key, values)
    with np.errstate(invalid="ignore"):  # of what is no number at all
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
