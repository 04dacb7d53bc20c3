"""What is known about a model's inputs and outputs: names, types and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

Dim = int | str | None
"""A dimension: a size, a symbolic name, or unknown."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model: axis 0 is the batch; `shape` is None where the rank is unknown."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Dim, ...] | None

    def __str__(self) -> str:
        dims = "?" if self.shape is None else ",".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name} {self.dtype}[{dims}]"


def mismatch(one: Sequence[TensorSpec], other: Sequence[TensorSpec]) -> str | None:
    """The first difference between two lists of inputs (or outputs) for a sentence, or None."""
    for a, b in zip_longest(one, other):
        if a != b:
            return f"{a or 'nothing'} against {b or 'nothing'}"
    return None


def first_samples(outputs: Sequence[NDArray[Any]], count: int) -> list[NDArray[Any]]:
    """The outputs without what filled up a fixed batch; a scalar, which has no batch axis, as it is."""
    return [o[:count] if o.ndim else o for o in outputs]


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """The batch size a model insists on, or None where axis 0 is free."""
    return next((s.shape[0] for s in inputs if s.shape and isinstance(s.shape[0], int)), None)
