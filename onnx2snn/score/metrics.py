"""What accuracy means: one class a metric, in one table.

A metric turns a batch into rows of statistics, one a sample, and their sum into a figure. So data is streamed, and an
interval comes from resampling rows (`score.intervals`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError

IGNORE = 255
"""The class of a mask's pixels that do not count."""


class Metric:
    """Base of all metrics: `measure` a batch, `score` all of them.

    `targets`: the arrays beside the inputs it is scored against; `against_ann`: it is scored against the ANN's outputs.
    `additive`: `figure` of the rows' sum is the score; `proportion`: it is a share of samples that are right.
    `every_step`: cheap enough to be asked at every time-step.
    """

    targets: tuple[str, ...] = ()
    against_ann: ClassVar[bool] = False
    additive: ClassVar[bool] = True
    every_step: ClassVar[bool] = True
    proportion: ClassVar[bool] = True

    def __init__(self, outputs: Sequence[str] = ()) -> None:
        """`outputs`: the names of the model's outputs (UsageError where one is needed that is not there)."""
        self.outputs = tuple(outputs)

    def measure(self, outputs: Sequence[Array], wanted: Sequence[Array], first: int = 0) -> Any:
        """The rows [N, K] of a batch whose first sample has number `first`; DataError for what cannot be scored.

        `wanted`: the arrays `targets` names, or the ANN's outputs.
        """
        raise NotImplementedError

    def figure(self, sums: Array) -> Array:
        """The figure for sums of rows [..., K]; here the share of two sums."""
        return share(sums[..., 0], sums[..., 1])

    def score(self, batches: Sequence[Any]) -> float:
        """The figure over batches of rows."""
        return float(self.figure(np.concatenate(batches).sum(axis=0)))

    def drop(self, ann: Any, snn: Any) -> Any:
        """How much worse the SNN is, as a fraction; the gate is in percent of it."""
        return ann - snn

    def keeps(self, ann: float, snn: float, part: float) -> bool:
        """Whether the SNN has this part of the ANN's accuracy."""
        return snn >= part * ann


class Top1(Metric):
    """Share of samples whose label is among the `k` largest class scores; of equal scores the first ones count."""

    targets = ("labels",)
    k: ClassVar[int] = 1

    def measure(self, outputs: Sequence[Array], wanted: Sequence[Array], first: int = 0) -> Array:
        """Outputs: the first floating-point one is [N, classes]; wanted: labels [N]. Row: 0 or 1, and 1."""
        scores, labels = first_float(outputs), wanted[0]
        if scores is None or scores.ndim != 2 or labels.ndim != 1:
            shape = None if scores is None else list(scores.shape)
            raise DataError(
                f"top{self.k} needs class scores [N, classes] and labels [N], not {shape} and {list(labels.shape)}; "
                "choose another metric"
            )
        index = _classes("labels", labels, scores.shape[1], first)[:, None]
        own = np.take_along_axis(scores, index, axis=1)
        ahead = ~(scores <= own) | (
            (scores == own) & (np.arange(scores.shape[1]) < index)
        )  # ahead of NaN is everything
        hit = ahead.sum(axis=1) < self.k
        return np.column_stack([hit, np.ones(len(hit))])


class Top5(Top1):
    """Share of samples whose label is among the five largest class scores."""

    k = 5


class Agreement(Metric):
    """Share of equal argmax over the class axis of the first floating-point output; else 1 - relative L2 error.

    The class axis is axis 1 of an output [N, classes] or [N, classes, ...spatial] with more than one class. Outputs of
    different shapes agree nowhere; an infinite or undefined value is an error only where the other is not the same.
    """

    against_ann = True

    def measure(self, outputs: Sequence[Array], wanted: Sequence[Array], first: int = 0) -> Array:
        """Both: a model's outputs, in the same order. Row: equal places, places, squared error, squared norm."""
        found, other = first_float(outputs), first_float(wanted)
        if found is None or other is None:
            found, other = outputs[0], wanted[0]
        if found.shape != other.shape:  # such as of selected boxes
            return np.array([[0.0, max(found.size, other.size), 0.0, 0.0]])
        classes = found.dtype.kind == "f" and found.ndim in (2, 4, 5) and found.shape[1] > 1
        rows = np.zeros((len(found) if found.ndim else 1, 4))
        if found.dtype.kind != "f" or classes:
            same = found.argmax(axis=1) == other.argmax(axis=1) if classes else found == other
            same = same.reshape(len(rows), -1)
            rows[:, 0], rows[:, 1] = same.sum(axis=1), same.shape[1]
            return rows
        finite = np.where(np.isfinite(other), other, 0).astype(np.float64)
        for column, values in ((2, difference(found, other)), (3, finite)):
            rows[:, column] = np.square(values).reshape(len(rows), -1).sum(axis=1)
        return rows

    def figure(self, sums: Array) -> Array:
        """A fraction; 1 - relative L2 error may be below 0, but is 0 where the error is not finite."""
        equal, count, error, norm = np.moveaxis(sums, -1, 0)
        with np.errstate(invalid="ignore"):
            relative = np.where(
                norm > 0, 1.0 - np.sqrt(error / np.where(norm > 0, norm, 1.0)), error == 0
            )
        return np.where(count > 0, share(equal, count), np.where(np.isfinite(error), relative, 0.0))


class MeanSquaredError(Metric):
    """Mean squared error of the first floating-point output; the drop is the relative increase over the ANN's."""

    targets = ("labels",)
    proportion = False

    def measure(self, outputs: Sequence[Array], wanted: Sequence[Array], first: int = 0) -> Array:
        """Output and labels: [N, ...] of equal shape, but for axes of size 1. Row: squared error, values."""
        found, labels = first_float(outputs), wanted[0]
        shapes = [
            None if a is None else [d for d in a.shape[1:] if d != 1] for a in (found, labels)
        ]
        if found is None or shapes[0] != shapes[1] or len(found) != len(labels):
            shape = None if found is None else list(found.shape)
            raise DataError(
                f"mse needs labels of the output's shape, not {list(labels.shape)} for {shape}; choose another metric"
            )
        error = np.square(
            found.reshape(len(found), -1) - labels.reshape(len(found), -1).astype(np.float64)
        )
        return np.column_stack([error.sum(axis=1), np.full(len(error), error.shape[1])])

    def drop(self, ann: Any, snn: Any) -> Any:
        """The relative increase; infinite where the ANN makes no error and the SNN does."""
        ann, snn = np.asarray(ann, np.float64), np.asarray(snn, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(snn == ann, 0.0, (snn - ann) / ann)

    def keeps(self, ann: float, snn: float, part: float) -> bool:
        """Whether that part of the SNN's error is within the ANN's."""
        return part * snn <= ann


class MeanIoU(Metric):
    """Intersection over union of the truth's and the prediction's pixels, averaged over the classes met in either."""

    targets = ("masks",)
    proportion = False

    def measure(self, outputs: Sequence[Array], wanted: Sequence[Array], first: int = 0) -> Array:
        """Outputs: the first one that is class scores [N,C,H,W] or classes [N,H,W]; wanted: masks [N,H,W] of class
        numbers, 255 where no pixel counts. Row: intersections, then unions, by class.
        """
        masks = wanted[0]
        fits = (
            o
            for o in outputs
            if o.dtype.kind in "fiu" and masks.ndim == 3 and _per_pixel(o).shape == masks.shape
        )
        found = next(fits, None)
        if found is None:
            shapes = ", ".join(str(list(o.shape)) for o in outputs)
            raise DataError(
                f"miou needs class scores [N,C,H,W] and masks [N,H,W] of the same size, not outputs {shapes} and masks "
                f"{list(masks.shape)}; resize the masks or choose another metric"
            )
        count = found.shape[1] if found.ndim == 4 and found.shape[1] > 1 else IGNORE
        truth = _classes("masks", masks, count, first, also=IGNORE).reshape(len(masks), -1)
        predicted = _per_pixel(found).reshape(truth.shape).astype(np.int64)
        counted = truth != IGNORE
        bad = counted & ((predicted < 0) | (predicted >= count))
        if bad.any():
            raise DataError(
                f"the model's classes of sample {first + _first_row(bad)} are not numbers from 0 to 254"
            )
        hits = _histograms(predicted, counted & (truth == predicted), count)
        unions = _histograms(predicted, counted, count) + _histograms(truth, counted, count) - hits
        return np.concatenate([hits, unions], axis=1)

    def figure(self, sums: Array) -> Array:
        """A fraction; 0 where no pixel counts."""
        hits, unions = np.split(sums, 2, axis=-1)
        return share(share(hits, unions).sum(axis=-1), (unions > 0).sum(axis=-1))


class Scripted(Metric):
    """The mean of what a user's function(outputs, labels) returns, the higher the better."""

    def __init__(
        self,
        outputs: Sequence[str],
        name: str,
        function: Callable[..., Any],
        targets: Sequence[str],
    ) -> None:
        """`name` stands in errors; `targets`: what stands beside the inputs, all of which the function gets."""
        super().__init__(outputs)
        self.name, self.function, self.targets = name, function, tuple(targets)

    def measure(self, outputs: Sequence[Array], wanted: Sequence[Array], first: int = 0) -> Array:
        """Call function(outputs, labels): a list of arrays [N, ...], and `labels` [N, ...] (a dict of all arrays where
        others stand beside the inputs too, None where there is none). It returns N numbers, or one for the batch.
        """
        by_name = dict(zip(self.targets, wanted, strict=True))
        labels = by_name if set(by_name) - {"labels"} else by_name.get("labels")
        count = len(wanted[0]) if wanted else len(outputs[0])
        try:
            values = np.asarray(self.function(list(outputs), labels), np.float64)
        except Exception as error:
            raise DataError(
                f"metric {self.name} raised {type(error).__name__} ({error}): mend it"
            ) from error
        if values.shape not in ((), (count,)) or not np.isfinite(values).all():
            raise DataError(
                f"metric {self.name} returned {'shape ' + str(list(values.shape)) if values.ndim else values}: "
                f"return a finite number, or one for each of the {count} samples"
            )
        return np.column_stack([np.broadcast_to(values, count), np.ones(count)])


def share(part: Array, whole: Array) -> Array:
    """part / whole, 0 where there is no whole."""
    return np.asarray(part / np.where(whole > 0, whole, 1) * (whole > 0))


def difference(found: Array, wanted: Array) -> Array:
    """found - wanted in float64; 0 where both are the same infinity, or both undefined."""
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):  # of infinities that are not the same
        return np.where(same, 0.0, found.astype(np.float64) - wanted)


def first_float(outputs: Sequence[Array]) -> Array | None:
    """The first floating-point output."""
    return next((o for o in outputs if o.dtype.kind == "f"), None)


def _per_pixel(output: Array) -> Array:
    """Classes [N,H,W] out of scores [N,C,H,W], of [N,1,H,W] or of themselves."""
    if output.ndim == 4:
        return output.argmax(axis=1) if output.shape[1] > 1 else output[:, 0]
    return output


def _classes(key: str, values: Array, count: int, first: int, also: int | None = None) -> Array:
    """Class numbers as int64, each from 0 to count - 1 (or `also`); DataError names the first sample with another."""
    classes = values.astype(np.int64)
    bad = (classes != values) | (
        ((classes < 0) | (classes >= count)) & (classes != also if also is not None else True)
    )
    if bad.any():
        row = _first_row(bad)
        found = values[row].ravel()[int(np.argmax(bad[row].ravel()))]
        raise DataError(
            f"'{key}' of sample {first + row} holds {found}, but the model has the classes 0 to {count - 1}"
            f"{'' if also is None else f' ({also}: ignored)'}; number them from 0"
        )
    return classes


def _first_row(bad: Array) -> int:
    return int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))


def _histograms(classes: Array, counted: Array, count: int) -> Array:
    """How often each class stands where `counted`, by row: [N, count]."""
    rows = np.broadcast_to(np.arange(len(classes))[:, None], classes.shape)
    flat = (rows * count + classes)[counted]
    return (
        np.bincount(flat, minlength=len(classes) * count)
        .reshape(len(classes), count)
        .astype(np.float64)
    )
