"""What accuracy means: one class a metric, fed batch by batch, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np

from ._errors import DataError
from ._graph import Array


class Metric(Protocol):
    """Adds up batches; `target` names the array beside the inputs it is scored against, None for the ANN's outputs."""

    target: ClassVar[str | None]

    def add(self, outputs: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Add a batch: the outputs of a model, and what they are scored against."""

    def value(self) -> float:
        """The figure over all batches so far."""


class Top1:
    """Share of samples whose largest class score is the label's."""

    target: ClassVar[str | None] = "labels"

    def __init__(self) -> None:
        """Start with no samples."""
        self.correct = self.count = 0

    def add(self, outputs: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Outputs: the first floating-point one is [N, classes]; wanted: labels [N]."""
        scores, labels = first_float(outputs), wanted[0]
        if scores is None or scores.ndim != 2 or labels.ndim != 1:
            shape = None if scores is None else list(scores.shape)
            raise DataError(
                f"top1 needs class scores [N, classes] and labels [N], not {shape} and {list(labels.shape)}; "
                "choose another metric"
            )
        self.correct += int((scores.argmax(axis=1) == labels).sum())
        self.count += len(labels)

    def value(self) -> float:
        """A fraction."""
        return self.correct / self.count


class Agreement:
    """Share of equal argmax over the class axis of the first floating-point output; else 1 - relative L2 error.

    The class axis is axis 1 of an output [N, classes] or [N, classes, ...spatial] with more than one class. Outputs of
    different shapes agree nowhere; an infinite or undefined value is an error only where the other is not the same.
    """

    target: ClassVar[str | None] = None

    def __init__(self) -> None:
        """Start with no samples."""
        self.equal = self.count = 0
        self.error = self.norm = 0.0

    def add(self, outputs: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Both: a model's outputs, in the same order."""
        found, other = first_float(outputs), first_float(wanted)
        if found is None or other is None:
            found, other = outputs[0], wanted[0]
        if found.shape != other.shape:  # such as of selected boxes
            self.count += max(found.size, other.size)
        elif found.dtype.kind != "f":
            self.equal += int((found == other).sum())
            self.count += found.size
        elif found.ndim in (2, 4, 5) and found.shape[1] > 1:
            same = found.argmax(axis=1) == other.argmax(axis=1)
            self.equal += int(same.sum())
            self.count += same.size
        else:
            self.error += float(np.sum(np.square(difference(found, other))))
            self.norm += float(np.sum(np.square(other[np.isfinite(other)], dtype=np.float64)))

    def value(self) -> float:
        """A fraction; 1 - relative L2 error may be below 0, but is 0 where the error is not finite."""
        if self.count:
            return self.equal / self.count
        if not np.isfinite(self.error):
            return 0.0
        return 1.0 - float(np.sqrt(self.error / self.norm)) if self.norm else float(self.error == 0)


def difference(found: Array, wanted: Array) -> Array:
    """found - wanted in float64; 0 where both are the same infinity, or both undefined."""
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):  # of infinities that are not the same
        return np.where(same, 0.0, found.astype(np.float64) - wanted)


def first_float(outputs: Sequence[Array]) -> Array | None:
    """The first floating-point output."""
    return next((o for o in outputs if o.dtype.kind == "f"), None)


METRICS: dict[str, type[Metric]] = {"top1": Top1, "agreement": Agreement}
