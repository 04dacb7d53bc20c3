"""Chunks of samples that run together, and the rows in which arrays hold them.

An array of n samples holds them one after another along axis 0, each in as many rows as any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array


@dataclass(frozen=True)
class Chunk:
    """The samples from `start` up to `stop`."""

    start: int
    stop: int

    @property
    def count(self) -> int:
        """Samples in it."""
        return self.stop - self.start

    def rows(self, each: int) -> slice:
        """Return where an array holds it, with `each` rows a sample."""
        first = self.start * each
        end = self.stop * each
        return slice(first, end)

    def rows_in(self, values: Array, samples: int) -> slice:
        """Return where an array of all `samples` samples holds it."""
        # every sample has as many rows as any other
        each = len(values) // samples
        return self.rows(each)

    def rows_each(self, part: Array) -> int:
        """Return the rows a sample has in an array of this chunk alone."""
        return len(part) // self.count


class Gathered:
    """An array of `samples` samples, written chunk by chunk; `values` holds it then."""

    def __init__(self, samples: int) -> None:
        """Wait for the first chunk: it tells the shape and the type."""
        self.samples = samples
        self.values: Array = np.empty(0)
        self._started = False

    def write(self, part: Array, chunk: Chunk) -> None:
        """Write the rows of a chunk."""
        each = chunk.rows_each(part)
        if not self._started:
            rows = self.samples * each
            shape = (rows, *part.shape[1:])
            self.values = np.empty(shape, part.dtype)
            self._started = True
        self.values[chunk.rows(each)] = part
