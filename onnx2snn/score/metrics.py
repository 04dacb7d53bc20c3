"""Metrics: what accuracy means, one class a metric.

A metric turns a batch into rows of statistics, one a sample, and their sum into a figure. So data
is streamed, and an interval comes from resampling rows (`score.intervals`).

Cases: of class numbers (`score.class_metrics`), of closeness (`score.closeness`), of boxes
(`score.detection`), of a user's script (`Scripted`, here). `score.registry` has them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError

IGNORE = 255
"""The class of a mask's pixels that do not count."""

Arrays = Sequence[Array]
"""A model's outputs, or the arrays beside its inputs."""

Rows = Any
"""Statistics of a batch, one row a sample: an array [N, K], or a list for a metric without sums."""


class Metric:
    """Base of all metrics: `measure` a batch, `score` all of them."""

    targets: tuple[str, ...] = ()
    """The arrays beside the inputs that it is scored against."""
    against_ann: ClassVar[bool] = False
    """Whether it is scored against the ANN's outputs."""
    additive: ClassVar[bool] = True
    """Whether `figure` of the rows' sum is the score."""
    every_step: ClassVar[bool] = True
    """Whether it is cheap enough to be asked at every time-step."""
    proportion: ClassVar[bool] = True
    """Whether it is a share of samples that are right."""

    def __init__(self, outputs: Sequence[str] = ()) -> None:
        """Take the names of the model's outputs; UsageError where one that is needed is missing."""
        self.outputs = tuple(outputs)

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Rows:
        """Return the rows [N, K] of a batch.

        Args:
            outputs: The model's outputs.
            wanted: The arrays that `targets` names, or the ANN's outputs.
            first: The number of the batch's first sample, for errors.

        Raises:
            DataError: Outputs and targets cannot be scored.
        """
        raise NotImplementedError

    def figure(self, sums: Array) -> Array:
        """Return the figure for sums of rows [..., K]; here the quotient of two sums."""
        part, whole = sums[..., 0], sums[..., 1]
        return share(part, whole)

    def score(self, batches: Sequence[Rows]) -> float:
        """Return the figure over batches of rows."""
        # the figure of sums, not a mean of figures: batches may differ in size
        rows = np.concatenate(batches)
        return float(self.figure(rows.sum(axis=0)))

    def drop(self, ann: ArrayLike, snn: ArrayLike) -> Array:
        """Return how much worse the SNN is, as a fraction; the gate is in percent of it."""
        before = np.asarray(ann)
        after = np.asarray(snn)
        return np.asarray(before - after)

    def keeps(self, ann: float, snn: float, part: float) -> bool:
        """Return whether the SNN has this part of the ANN's accuracy."""
        return snn >= part * ann


class Scripted(Metric):
    """Mean of what a user's function(outputs, labels) returns, the higher the better."""

    def __init__(
        self,
        outputs: Sequence[str],
        name: str,
        function: Callable[..., Any],
        targets: Sequence[str],
    ) -> None:
        """Take a function of a user's.

        Args:
            outputs: The names of the model's outputs.
            name: The metric's name, for errors.
            function: The function.
            targets: The names of all arrays beside the inputs; the function gets them.
        """
        super().__init__(outputs)
        self.name = name
        self.function = function
        self.targets = tuple(targets)

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Array:
        """Return the function's value for each sample, and 1.

        It is called with a list of arrays [N, ...], and `labels` [N, ...] (a dict of all arrays
        where others stand beside the inputs too, None where there is none). It returns N numbers,
        or one for the batch.
        """
        labels = self._labels(wanted)
        count = len(wanted[0]) if wanted else len(outputs[0])
        try:
            returned = self.function(list(outputs), labels)
            values = np.asarray(returned, np.float64)
        except Exception as error:
            raise DataError(
                f"metric {self.name} raised {type(error).__name__} ({error}): mend it"
            ) from error
        fits = values.shape in ((), (count,))
        finite = np.isfinite(values).all()
        if not fits or not finite:
            what = f"shape {list(values.shape)}" if values.ndim else f"{values}"
            raise DataError(
                f"metric {self.name} returned {what}: "
                f"return a finite number, or one for each of the {count} samples"
            )
        each = np.broadcast_to(values, count)
        return np.column_stack([each, np.ones(count)])

    def _labels(self, wanted: Arrays) -> dict[str, Array] | Array | None:
        by_name = dict(zip(self.targets, wanted, strict=True))
        if set(by_name) - {"labels"}:
            return by_name
        return by_name.get("labels")


def share(part: Array, whole: Array) -> Array:
    """Return part / whole, 0 where there is no whole."""
    # the factor is 0 where the divisor stands in for a whole that is not there
    there = whole > 0
    divisor = np.where(there, whole, 1)
    return np.asarray(part / divisor * there)


def first_float(outputs: Arrays) -> Array | None:
    """Return the first floating-point output."""
    for output in outputs:
        if output.dtype.kind == "f":
            return output
    return None
