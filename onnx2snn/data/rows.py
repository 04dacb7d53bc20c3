"""Rows: an array of samples of which only the rows asked for need to exist.

Axis 0 counts samples. A file, a folder of images or a generator of random numbers is read through
`Rows.read`, so that memory holds the samples of one batch alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnx2snn.aliases import Array, DType

CHUNK_BYTES = 1 << 22
"""Bytes that are read at a time where all of an array is looked through."""


@dataclass(frozen=True)
class Rows:
    """An array [N, ...] that is read row by row."""

    dtype: DType
    shape: tuple[int, ...]
    read: Callable[[Array], Array]
    """Takes row numbers, int64 [M], and returns these rows, [M, ...]."""
    finite: bool = False
    """Whether the array cannot hold NaN or infinity."""
    takes_work: bool = False
    """Whether reading a row takes work of the processor, such as decoding an image."""

    @property
    def count(self) -> int:
        """N, the number of rows."""
        return self.shape[0]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.shape[1:]


def in_memory(array: Array) -> Rows:
    """Return the rows of an array; one without axes is read whole."""

    def read(indices: Array) -> Array:
        return np.asarray(array[indices] if array.ndim else array)

    return Rows(array.dtype, array.shape, read)


def raw_file(path: Path, dtype: DType, shape: tuple[int, ...]) -> Rows:
    """Return the rows of a file that holds an array's bytes and nothing else."""

    def read(indices: Array) -> Array:
        # mapped anew each time, so that its pages are released
        mapped = np.memmap(path, dtype, "r", shape=shape)
        return np.asarray(mapped[indices])

    return Rows(dtype, shape, read)


def repeated(rows: Rows, count: int) -> Rows:
    """Return an array of one row as one of `count` rows, all the same."""

    def read(indices: Array) -> Array:
        return rows.read(np.zeros_like(indices))

    return replace(rows, shape=(count, *rows.row_shape), read=read)


def without_axes(rows: Rows) -> Rows:
    """Return an array of a single value as one that is read whole, without axes."""
    first = np.zeros(1, np.int64)

    def read(indices: Array) -> Array:
        return rows.read(first).reshape(())

    return replace(rows, shape=(1,), read=read)


def with_axis(rows: Rows) -> Rows:
    """Return an array that is one sample as an array of that sample."""

    def read(indices: Array) -> Array:
        whole = rows.read(np.arange(rows.count if rows.shape else 1))
        return np.repeat(whole[None], len(indices), axis=0)

    return replace(rows, shape=(1, *rows.shape), read=read)


def converted(rows: Rows, dtype: DType) -> Rows:
    """Return the rows read as another type; a value past its range becomes an infinity."""

    def read(indices: Array) -> Array:
        with np.errstate(over="ignore"):
            return rows.read(indices).astype(dtype)

    return replace(rows, dtype=dtype, read=read)


def chosen(rows: Rows, numbers: Array) -> Rows:
    """Return the rows with these numbers, int64 [M], as an array of M rows."""

    def read(indices: Array) -> Array:
        return rows.read(numbers[indices])

    shape = (len(numbers), *rows.row_shape)
    return replace(rows, shape=shape, read=read)


def concatenated(arrays: Sequence[Rows]) -> Rows:
    """Return arrays joined along axis 0; they are alike but for their length."""
    if len(arrays) == 1:
        return arrays[0]
    lengths = [rows.count for rows in arrays]
    # array i holds the rows starts[i] to starts[i + 1] - 1 of the whole
    starts = np.cumsum([0, *lengths])
    types = {rows.dtype for rows in arrays}
    dtype = np.result_type(*types)
    row_shape = arrays[0].row_shape

    def read(indices: Array) -> Array:
        out = np.empty((len(indices), *row_shape), dtype)
        # the array that holds a row is the last one that starts at or before it
        owners = np.searchsorted(starts, indices, side="right") - 1
        for owner in np.unique(owners):
            mine = owners == owner
            own_numbers = indices[mine] - starts[owner]
            out[mine] = arrays[owner].read(own_numbers)
        return out

    total = int(starts[-1])
    shape = (total, *row_shape)
    takes_work = any(rows.takes_work for rows in arrays)
    return Rows(dtype, shape, read, takes_work=takes_work)


def first_not_finite(rows: Rows) -> int | None:
    """Return the number of the first row with NaN or infinity, or None where all are finite."""
    for numbers in _chunks(rows):
        values = np.atleast_1d(rows.read(numbers))
        by_value = np.isfinite(values).reshape(len(values), -1)
        by_row = by_value.all(axis=1)
        if not by_row.all():
            first_bad = by_row.argmin()  # the first False
            return int(numbers[first_bad])
    return None


def _chunks(rows: Rows) -> Iterator[Array]:
    """Yield the numbers of all rows, as many at a time as fit into `CHUNK_BYTES`."""
    row_bytes = math.prod(rows.row_shape) * rows.dtype.itemsize
    step = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, rows.count, step):
        stop = min(start + step, rows.count)
        yield np.arange(start, stop)
