"""Agreement of the SNN with its ANN, over all floating-point outputs: the worst one counts.

How an output is scored depends on what it is known to be (`score.natures`) and on its rank. Cases:

- class scores, [N, classes] or [N, classes, ...spatial] with more than one class: the share of
  equal argmax over the class axis;
- a probability [N] or [N, 1] that a Sigmoid makes: the share of equal decisions at 0.5;
- class scores that no Softmax makes, where one value is above the others by more than any of them
  varies over the samples: the share could hardly fail (two coordinates, say), so the output is
  scored by its error;
- targets of a regression, as labels with fractions say, and any other floating-point output: 1 -
  relative L2 error, and no less than 0;
- only without a floating-point output: the share of equal values.

The relative error is told beside a share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.score.closeness import deviation, squares
from onnx2snn.score.metrics import NO_NATURES, Arrays, Metric, Rows, share
from onnx2snn.score.natures import Nature, Natures

LEAST_SAMPLES = 5
"""The values of fewer places may be apart by chance."""

DECISION = 0.5
"""A probability above this decides for the class."""


class Column(IntEnum):
    """Statistics of an output, one column each."""

    EQUAL = 0
    PLACES = 1
    """Places that can be equal; 0 where the output is scored by its error."""
    ERROR = 2
    """Squared error."""
    NORM = 3
    """Squared norm of the ANN's values."""


WIDTH = len(Column)


@dataclass
class ClassRanges:
    """Least and largest value of each class over the ANN's outputs so far, and their places."""

    low: Array | float = np.inf
    high: Array | float = -np.inf
    places: int = 0

    def add(self, scores: Array) -> None:
        """Take in scores [N, classes, ...]."""
        axes = (0, *range(2, scores.ndim))
        self.low = np.minimum(self.low, scores.min(axis=axes, initial=np.inf))
        self.high = np.maximum(self.high, scores.max(axis=axes, initial=-np.inf))
        self.places += scores.size // scores.shape[1]

    def merge(self, other: ClassRanges) -> None:
        """Take in what others saw."""
        self.low = np.minimum(self.low, other.low)
        self.high = np.maximum(self.high, other.high)
        self.places += other.places

    def apart(self) -> bool:
        """Return whether one class is above all others by more than any of them varies."""
        if self.places < LEAST_SAMPLES:
            return False
        low, high = np.asarray(self.low), np.asarray(self.high)
        best = int(np.argmax(low))
        gap = low[best] - np.delete(high, best).max()
        return bool(gap > (high - low).max())


class Agreement(Metric):
    """Share of equal classes, or 1 - relative L2 error: the least of all float outputs.

    Outputs of different shapes agree nowhere; an infinite or undefined value is an error only where
    the other is not the same.
    """

    against_ann = True

    def __init__(
        self,
        outputs: Sequence[str] = (),
        output: str | None = None,
        natures: Natures = NO_NATURES,
    ) -> None:
        """Take what is known about the outputs, as the base does."""
        super().__init__(outputs, output, natures)
        self._judged: list[str] = []
        self._decisions: set[str] = set()
        self._ranges: dict[str, ClassRanges] = {}

    def measure(self, outputs: Arrays, wanted: Arrays, first: int = 0) -> Array:
        """Return the rows [N, outputs * 4] of the statistics in `Column`.

        Both are a model's outputs, in the same order.
        """
        found = self.offered(outputs)
        expected = self.offered(wanted)
        self._judged = _judged(expected)
        of_each = [self._rows(name, found[name], expected[name]) for name in self._judged]
        count = max(len(rows) for rows in of_each)
        return np.concatenate([_padded(rows, count) for rows in of_each], axis=1)

    def hand_over(self) -> dict[str, ClassRanges]:
        """Return, and forget, the ranges of the ANN's outputs."""
        told, self._ranges = self._ranges, {}
        return told

    def take_over(self, told: dict[str, ClassRanges]) -> None:
        """Take in the ranges of the ANN's outputs on some batches."""
        for name, ranges in told.items():
            self._ranges.setdefault(name, ClassRanges()).merge(ranges)

    def _rows(self, name: str, found: Array, other: Array) -> Array:
        """Return the rows [N, 4] of one output."""
        if found.shape != other.shape:  # such as of selected boxes
            row = np.zeros((1, WIDTH))
            row[0, Column.PLACES] = max(found.size, other.size)
            return row
        # an output without axes is one sample
        count = len(found) if found.ndim else 1
        rows = np.zeros((count, WIDTH))
        if found.dtype.kind != "f":
            _count_equal(rows, found, other)
            return rows
        _add_error(rows, found, other)
        nature = self.natures.get(name)
        if nature is Nature.DECISIONS and _is_single(found):
            self._decisions.add(name)
            _count_equal(rows, found > DECISION, other > DECISION)
        elif has_classes(found) and nature is not Nature.NUMBERS:
            _count_equal(rows, found.argmax(axis=1), other.argmax(axis=1))
            if nature is None and found is other:  # the ANN by itself
                self._ranges.setdefault(name, ClassRanges()).add(other)
        return rows

    def figure(self, sums: Array) -> Array:
        """Return a fraction: the least of all outputs; 0 where an error is not finite."""
        figures = self.figures(sums)
        return np.asarray(figures.min(axis=-1))

    def figures(self, sums: Array) -> Array:
        """Return the agreement of each output: [..., outputs]."""
        columns = _by_output(sums)
        of_classes = share(columns[..., Column.EQUAL], columns[..., Column.PLACES])
        close = np.clip(1.0 - relative_errors(columns), 0.0, 1.0)
        return np.where(self._is_share(columns), of_classes, close)

    def outcomes(self, rows: Array) -> Array:
        """Return equal places and places, where the score is a share of one output."""
        columns = _by_output(rows.sum(axis=0))
        if len(columns) == 1 and self._is_share(columns).all():
            return rows[:, : Column.ERROR]
        return rows

    def beside(self, batches: Sequence[Rows]) -> dict[str, float]:
        """Return the relative error of the output that counts; infinite where it is not finite."""
        columns = _by_output(np.concatenate(batches).sum(axis=0))
        worst = self._worst(batches)
        return {"relative_error": float(relative_errors(columns)[worst])}

    def described(self, batches: Sequence[Rows]) -> str:
        """Return the output that counts, and how it is scored."""
        name, how = self.judged(batches)
        return f"output '{name}', {how}"

    def judged(self, batches: Sequence[Rows]) -> tuple[str, str]:
        """Return the output that counts, and how it is scored."""
        columns = _by_output(np.concatenate(batches).sum(axis=0))
        worst = self._worst(batches)
        name = self._judged[worst]
        if not self._is_share(columns)[worst]:
            return name, "1 - relative error"
        if name in self._decisions:
            return name, "share of equal decisions at 0.5"
        return name, "share of equal classes"

    def _is_share(self, columns: Array) -> Array:
        """Return whether each output's share of equal places [..., outputs] tells anything."""
        ranges = [self._ranges.get(name) for name in self._judged]
        apart = [found is not None and found.apart() for found in ranges]
        return np.asarray((columns[..., Column.PLACES] > 0) & ~np.array(apart))

    def _worst(self, batches: Sequence[Rows]) -> int:
        sums = np.concatenate(batches).sum(axis=0)
        return int(np.argmin(self.figures(sums)))


def has_classes(output: Array) -> bool:
    """Return whether axis 1 of an output can hold the scores of more than one class."""
    if output.dtype.kind != "f":
        return False
    flat_or_spatial = output.ndim in (2, 4, 5)
    return flat_or_spatial and output.shape[1] > 1


def relative_errors(columns: Array) -> Array:
    """Return ||found - other|| / ||other|| from statistics [..., 4]; infinite if not finite."""
    error = columns[..., Column.ERROR]
    norm = columns[..., Column.NORM]
    some = norm > 0
    divisor = np.where(some, norm, 1.0)
    # of sums of squares; with zeros, only zeros agree
    relative = np.sqrt(error / divisor)
    relative = np.where(some | (error == 0), relative, 1.0)
    return np.where(np.isfinite(error), relative, np.inf)


def _judged(outputs: dict[str, Array]) -> list[str]:
    """Return the names of the outputs that are scored."""
    floats = [name for name, output in outputs.items() if output.dtype.kind == "f"]
    return floats or list(outputs)[:1]


def _by_output(sums: Array) -> Array:
    """Return sums [..., outputs * 4] as [..., outputs, 4]."""
    return sums.reshape(*sums.shape[:-1], -1, WIDTH)


def _is_single(output: Array) -> bool:
    """Return whether an output is one value a sample."""
    return output.ndim > 0 and output.size == len(output)


def _count_equal(rows: Array, found: Array, other: Array) -> None:
    """Fill in equal places, and places."""
    same = (found == other).reshape(len(rows), -1)
    rows[:, Column.EQUAL] = same.sum(axis=1)
    rows[:, Column.PLACES] = same.shape[1]


def _add_error(rows: Array, found: Array, other: Array) -> None:
    """Fill in squared error, and squared norm."""
    error = deviation(found, other)
    # what is not finite counts in the error alone
    known = np.isfinite(other)
    finite = np.where(known, other, 0)
    rows[:, Column.ERROR] = squares(error, len(rows))
    rows[:, Column.NORM] = squares(finite.astype(np.float64), len(rows))


def _padded(rows: Array, count: int) -> Array:
    """Return rows of one output for all samples; one without a batch axis counts in the first."""
    if len(rows) == count:
        return rows
    found = np.zeros((count, WIDTH))
    found[0] = rows.sum(axis=0)
    return found
