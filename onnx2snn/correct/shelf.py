"""Arrays of samples that wait for their readers: in memory up to a bound, beyond it in files.

What a layer holds for all samples - activations, spikes, currents - is written and read chunk by
chunk, so that beside the bound only a chunk is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.protos import budget
from onnx2snn.protos.temporary import room_wanted, temporary_folder

BOUND = 2**27
"""Bytes of waiting arrays in memory."""

SHARE = 8
"""Of the memory that work may take, these arrays have at most one part in so many."""


class _Place(Protocol):
    """Room for an array of rows."""

    def read(self, rows: slice) -> Array: ...

    def write(self, rows: slice, values: Array) -> None: ...

    def close(self) -> None: ...


@contextmanager
def open_shelf(bound: int | None = None) -> Iterator[Shelf]:
    """Yield a place for arrays; what is left on it goes then.

    Args:
        bound: Bytes of memory they take at most (None: as much as is usual).
    """
    if bound is None:
        bound = min(BOUND, budget.affordable() // SHARE)
    with ExitStack() as stack:
        yield Shelf(bound, stack)


class Shelf:
    """A place for waiting arrays."""

    def __init__(self, bound: int, stack: ExitStack) -> None:
        """Take up to `bound` bytes of memory, and files that go with a stack."""
        self.free = bound
        """Bytes of memory that are left."""
        self.lock = Lock()
        """Is held while room is made."""
        self._stack = stack
        self._folder: Path | None = None
        self._files = 0

    def place(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Kept:
        """Return room for an array, in memory while there is some.

        Raises:
            OutputError: There is no place for a temporary file.
        """
        size = math.prod(shape) * dtype.itemsize
        if size <= self.free:
            self.free -= size
            return Kept(self, _InMemory(np.empty(shape, dtype)), size)
        if self._folder is None:
            self._folder = self._stack.enter_context(temporary_folder())
        self._files += 1
        file = _InFile(self._folder / f"rows{self._files}", shape, dtype)
        self._stack.callback(file.close)
        return Kept(self, file, 0)

    def give_back(self, size: int) -> None:
        """Take back memory that an array does not need any more."""
        self.free += size


class Kept:
    """An array on a shelf."""

    def __init__(self, shelf: Shelf, place: _Place, size: int) -> None:
        """Hold `size` bytes of the shelf's memory."""
        self._shelf = shelf
        self._place: _Place | None = place
        self._size = size

    def read(self, rows: slice) -> Array:
        """Return some rows; they may be those of the array itself."""
        assert self._place is not None
        return self._place.read(rows)

    def write(self, rows: slice, values: Array) -> None:
        """Put values into some rows."""
        assert self._place is not None
        self._place.write(rows, values)

    def discard(self) -> None:
        """Give the room back."""
        if self._place is None:
            return
        self._place.close()
        self._place = None
        self._shelf.give_back(self._size)


class _InMemory:
    def __init__(self, values: Array) -> None:
        self._values = values

    def read(self, rows: slice) -> Array:
        return self._values[rows]

    def write(self, rows: slice, values: Array) -> None:
        self._values[rows] = values

    def close(self) -> None:
        """Do nothing: the array goes with its place."""


class _InFile:
    """Rows one after another in a file."""

    def __init__(self, path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        self._path = path
        self._dtype = dtype
        self._row = tuple(shape[1:])
        self._row_bytes = math.prod(self._row) * dtype.itemsize
        # a file has one position for all threads
        self._alone = Lock()
        with room_wanted():
            # unbuffered: what is written is there for a reader
            self._file = path.open("w+b", buffering=0)

    def read(self, rows: slice) -> Array:
        found = np.empty((rows.stop - rows.start, *self._row), self._dtype)
        left = _bytes_of(found)
        with self._alone, room_wanted():
            self._file.seek(rows.start * self._row_bytes)
            while left:
                got = self._file.readinto(left)
                if not got:
                    raise OSError("a temporary file was cut off")
                left = left[got:]
        return found

    def write(self, rows: slice, values: Array) -> None:
        given = np.ascontiguousarray(values, self._dtype)
        left = _bytes_of(given)
        with self._alone, room_wanted():
            self._file.seek(rows.start * self._row_bytes)
            while left:
                left = left[self._file.write(left) :]

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def _bytes_of(values: Array) -> memoryview:
    """Return the bytes of a contiguous array."""
    return values.reshape(-1).view(np.uint8).data
