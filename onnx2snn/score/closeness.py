"""Closeness of numbers: the mean squared error, a metric, and what measures deviations."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError
from onnx2snn.score.metrics import Arrays, Metric, require_numbers


class MeanSquaredError(Metric):
    """Mean squared error of the floating-point output that has the labels' shape.

    The drop is the relative increase over the ANN's.
    """

    targets = ("labels",)
    proportion = False

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Array:
        """Return a row of squared error and values.

        Output and labels are [N, ...] of equal shape, but for axes of size 1.
        """
        labels = wanted[0]
        require_numbers("labels", labels)
        offered = self.offered(outputs)
        floats = {name: output for name, output in offered.items() if output.dtype.kind == "f"}
        fitting = {name: output for name, output in floats.items() if _same_shape(output, labels)}
        found = self.choose(fitting)
        if found is None:
            shape = None if not floats else list(next(iter(floats.values())).shape)
            raise DataError(
                f"mse needs labels of the output's shape, not {list(labels.shape)} for {shape}; "
                "choose another metric"
            )
        _require_finite(labels, first)
        count = len(found)
        truth = labels.reshape(found.shape)
        error = found - truth.astype(np.float64)
        squared = squares(error, count)
        values = np.full(count, error.size // count)
        return np.column_stack([squared, values])

    def drop(self, ann: ArrayLike, snn: ArrayLike) -> Array:
        """Return the relative increase.

        It is infinite where the ANN makes no error and the SNN does, or where the SNN's is not
        finite.
        """
        before = np.asarray(ann, np.float64)
        after = np.asarray(snn, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            increase = (after - before) / before
        increase = np.where(np.isfinite(after), increase, np.inf)
        same = (after == before) & np.isfinite(after)
        return np.where(same, 0.0, increase)

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


def squares(values: Array, count: int) -> Array:
    """Return the sum of squares of each sample: [N]."""
    by_sample = values.reshape(count, -1)
    squares = np.square(by_sample)
    return np.asarray(squares.sum(axis=1))


def _require_finite(labels: Array, first: int) -> None:
    """Raise DataError for a sample whose labels are not all finite, which it names."""
    finite = np.isfinite(labels).reshape(len(labels), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"'labels' of sample {first + int(np.argmin(finite))} hold infinity or NaN: "
            "leave it out, or give a number"
        )


def _same_shape(one: Array, other: Array) -> bool:
    """Return whether two arrays [N, ...] have equal shapes, but for axes of size 1."""
    if one.ndim < 1 or other.ndim < 1:
        return False
    same_count = len(one) == len(other)
    return same_count and _long_axes(one) == _long_axes(other)


def _long_axes(array: Array) -> list[int]:
    """Return the sizes of axes other than the batch, but for those of size 1."""
    return [size for size in array.shape[1:] if size != 1]
