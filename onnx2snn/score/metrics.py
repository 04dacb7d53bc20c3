"""Metrics: what accuracy means, one class a metric.

A metric turns a batch into rows of statistics, one a sample, and their sum into a figure. So data
is streamed, and an interval comes from resampling rows (`score.intervals`).

Cases: of class numbers (`score.class_metrics`), of closeness (`score.closeness`), of boxes
(`score.detection`), of a user's script (`Scripted`, here). `score.registry` has them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError, UsageError, one_line, quoted
from onnx2snn.score.natures import Nature, Natures

IGNORE = 255
"""The class of a mask's pixels that do not count."""

NO_NATURES: dict[str, Nature] = {}

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
    by_sample: ClassVar[bool] = True
    """Whether outputs are given with samples along axis 0, wherever the model has them."""

    def __init__(
        self,
        outputs: Sequence[str] = (),
        output: str | None = None,
        natures: Natures = NO_NATURES,
    ) -> None:
        """Take what is known about the model's outputs.

        Args:
            outputs: Their names.
            output: The one to score; None: the one whose shape fits.
            natures: What their values are known to be.

        Raises:
            UsageError: An output that is named or needed is missing.
        """
        self.outputs = tuple(outputs)
        self.natures = natures
        if output is not None and output not in self.outputs:
            raise UsageError(f"output is '{output}'; it has to be one of {quoted(self.outputs)}")
        self.named = output
        self.scored: str | None = output
        """The output that is scored, as soon as it is known."""

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

    def offered(self, outputs: Arrays) -> dict[str, Array]:
        """Return the outputs that may be scored, by name: all, or the one that is chosen."""
        names = self.outputs or [f"output {index}" for index, _ in enumerate(outputs)]
        offered = dict(zip(names, outputs, strict=True))
        if self.scored is None:
            return offered
        return {self.scored: offered[self.scored]}

    def choose(self, fitting: Mapping[str, Array]) -> Array | None:
        """Return the only output that fits, and score it from now on; None where none does.

        Raises:
            DataError: Several fit.
        """
        if not fitting:
            return None
        names = list(fitting)
        if len(names) > 1:
            raise DataError(
                f"the outputs {quoted(names)} all fit the metric and the data: "
                "name the one that is meant (--output NAME, output=)"
            )
        (self.scored,) = names
        return fitting[names[0]]

    def hand_over(self) -> object:
        """Return, and forget, what batches have told beside their rows: nothing, as a rule."""
        return None

    def take_over(self, told: Any) -> None:
        """Take in what batches have told, here or in another process."""

    def outcomes(self, rows: Array) -> Array:
        """Return the rows that tell right from wrong, for an interval of proportions."""
        return rows

    def beside(self, batches: Sequence[Rows]) -> dict[str, float]:
        """Return further figures that belong beside the score, by name."""
        return {}

    def described(self, batches: Sequence[Rows]) -> str:
        """Return the output that was scored, and how; "" where there is nothing to say."""
        return "" if self.scored is None else f"output '{self.scored}'"

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

    by_sample = False

    def __init__(
        self,
        outputs: Sequence[str],
        name: str,
        function: Callable[..., Any],
        targets: Sequence[str],
        output: str | None = None,
    ) -> None:
        """Take a function of a user's.

        Args:
            outputs: The names of the model's outputs.
            name: The metric's name, for errors.
            function: The function.
            targets: The names of all arrays beside the inputs; the function gets them.
            output: The only output that the function gets; None: it gets all.
        """
        super().__init__(outputs, output)
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
        given = list(outputs)
        if self.named is not None:
            given = list(self.offered(outputs).values())
        try:
            returned = self.function(given, labels)
            values = np.asarray(returned, np.float64)
        except (MemoryError, KeyboardInterrupt):
            raise
        except SystemExit as error:
            raise DataError(
                f"metric {self.name} ended the program (sys.exit): let it return a number"
            ) from error
        except BaseException as error:
            raise DataError(
                f"metric {self.name} raised {type(error).__name__} ({one_line(error)}): mend it"
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


def shapes_of(outputs: Mapping[str, Array]) -> str:
    """Return names and shapes of outputs, for a sentence."""
    return ", ".join(f"'{name}' {list(value.shape)}" for name, value in outputs.items())


def require_numbers(key: str, values: Array) -> None:
    """Raise DataError for an array beside the inputs that holds no numbers."""
    if values.dtype.kind not in "biuf":
        raise DataError(f"'{key}' holds {values.dtype} in place of numbers: give numbers")
