"""Metrics of closeness: agreement of the SNN with its ANN, and the mean squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError
from onnx2snn.score.metrics import Arrays, Metric, first_float, share


class Agreement(Metric):
    """Share of equal argmax over the class axis of the first floating-point output.

    Without a class axis it is 1 - relative L2 error. The class axis is axis 1 of an output
    [N, classes] or [N, classes, ...spatial] with more than one class. Outputs of different shapes
    agree nowhere; an infinite or undefined value is an error only where the other is not the same.
    """

    against_ann = True

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Array:
        """Return a row of equal places, places, squared error and squared norm.

        Both are a model's outputs, in the same order.
        """
        found = first_float(outputs)
        other = first_float(wanted)
        if found is None or other is None:
            found, other = outputs[0], wanted[0]
        if found.shape != other.shape:  # such as of selected boxes
            places = max(found.size, other.size)
            row = [0.0, places, 0.0, 0.0]
            return np.array([row])
        # an output without axes is one sample
        count = len(found) if found.ndim else 1
        if found.dtype.kind == "f" and not has_classes(found):
            return _error_rows(found, other, count)
        if has_classes(found):
            found = found.argmax(axis=1)
            other = other.argmax(axis=1)
        return _equality_rows(found == other, count)

    def figure(self, sums: Array) -> Array:
        """Return a fraction.

        1 - relative L2 error may be below 0, but is 0 where the error is not finite.
        """
        equal, places, error, norm = np.moveaxis(sums, -1, 0)
        some = norm > 0
        divisor = np.where(some, norm, 1.0)
        with np.errstate(invalid="ignore"):
            # 1 - ||found - other|| / ||other||, of sums of squares
            relative = 1.0 - np.sqrt(error / divisor)
        # with zeros, only zeros agree
        close = np.where(some, relative, error == 0)
        finite = np.isfinite(error)
        close = np.where(finite, close, 0.0)
        of_classes = share(equal, places)
        return np.where(places > 0, of_classes, close)


class MeanSquaredError(Metric):
    """Mean squared error of the first floating-point output.

    The drop is the relative increase over the ANN's.
    """

    targets = ("labels",)
    proportion = False

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Array:
        """Return a row of squared error and values.

        Output and labels are [N, ...] of equal shape, but for axes of size 1.
        """
        found = first_float(outputs)
        labels = wanted[0]
        if found is None or not _same_shape(found, labels):
            shape = None if found is None else list(found.shape)
            raise DataError(
                f"mse needs labels of the output's shape, not {list(labels.shape)} for {shape}; "
                "choose another metric"
            )
        count = len(found)
        truth = labels.reshape(found.shape)
        error = found - truth.astype(np.float64)
        squared = _squares(error, count)
        values = np.full(count, error.size // count)
        return np.column_stack([squared, values])

    def drop(self, ann: ArrayLike, snn: ArrayLike) -> Array:
        """Return the relative increase; infinite where the ANN makes no error and the SNN does."""
        before = np.asarray(ann, np.float64)
        after = np.asarray(snn, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            increase = (after - before) / before
        return np.where(after == before, 0.0, increase)

    def keeps(self, ann: float, snn: float, part: float) -> bool:
        """Return whether that part of the SNN's error is within the ANN's."""
        # the reciprocal of a share of the score, for the lower is the better
        return part * snn <= ann


def deviation(found: Array, wanted: Array) -> Array:
    """Return found - wanted in float64; 0 where both are the same infinity, or both undefined."""
    undefined = np.isnan(found) & np.isnan(wanted)
    same = (found == wanted) | undefined
    with np.errstate(invalid="ignore"):  # of infinities that are not the same
        difference = found.astype(np.float64) - wanted
    return np.where(same, 0.0, difference)


def has_classes(output: Array) -> bool:
    """Return whether axis 1 of an output holds the scores of more than one class."""
    if output.dtype.kind != "f":
        return False
    flat_or_spatial = output.ndim in (2, 4, 5)
    return flat_or_spatial and output.shape[1] > 1


def _equality_rows(same: Array, count: int) -> Array:
    """Return the rows [N, 4] of what can be equal: equal places, and places."""
    by_sample = same.reshape(count, -1)
    rows = np.zeros((count, 4))
    rows[:, 0] = by_sample.sum(axis=1)
    rows[:, 1] = by_sample.shape[1]
    return rows


def _error_rows(found: Array, other: Array, count: int) -> Array:
    """Return the rows [N, 4] of what is close: squared error, and squared norm."""
    error = deviation(found, other)
    # what is not finite counts in the error alone
    known = np.isfinite(other)
    finite = np.where(known, other, 0)
    rows = np.zeros((count, 4))
    rows[:, 2] = _squares(error, count)
    rows[:, 3] = _squares(finite.astype(np.float64), count)
    return rows


def _squares(values: Array, count: int) -> Array:
    """Return the sum of squares of each sample: [N]."""
    by_sample = values.reshape(count, -1)
    squares = np.square(by_sample)
    return np.asarray(squares.sum(axis=1))


def _same_shape(one: Array, other: Array) -> bool:
    """Return whether two arrays [N, ...] have equal shapes, but for axes of size 1."""
    same_count = len(one) == len(other)
    return same_count and _long_axes(one) == _long_axes(other)


def _long_axes(array: Array) -> list[int]:
    """Return the sizes of axes other than the batch, but for those of size 1."""
    return [size for size in array.shape[1:] if size != 1]
