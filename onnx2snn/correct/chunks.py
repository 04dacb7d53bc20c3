"""Chunks of samples that run together, and the rows in which arrays hold them.

An array of n samples holds them one after another along axis 0, each in as many rows as any other.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx2snn.aliases import Array
from onnx2snn.correct.shelf import Kept, Shelf


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

    def rows_each(self, part: Array) -> int:
        """Return the rows a sample has in an array of this chunk alone."""
        return len(part) // self.count


class Gathered:
    """An array of all samples on a shelf, written and read chunk by chunk."""

    def __init__(self, shelf: Shelf, samples: int) -> None:
        """Wait for the first chunk: it tells the shape and the type."""
        self._shelf = shelf
        self._samples = samples
        self._kept: Kept | None = None
        self._each = 0
        self.size = 0
        """Elements a sample."""

    def write(self, part: Array, chunk: Chunk) -> None:
        """Write the rows of a chunk; several threads may."""
        with self._shelf.lock:
            if self._kept is None:
                self._each = chunk.rows_each(part)
                self.size = part.size // chunk.count
                shape = (self._samples * self._each, *part.shape[1:])
                self._kept = self._shelf.place(shape, part.dtype)
        self._kept.write(chunk.rows(self._each), part)

    def read(self, chunk: Chunk) -> Array:
        """Return the rows of a chunk, which are not to be changed."""
        assert self._kept is not None
        return self._kept.read(chunk.rows(self._each))

    def discard(self) -> None:
        """Give the room back."""
        if self._kept is not None:
            self._kept.discard()
