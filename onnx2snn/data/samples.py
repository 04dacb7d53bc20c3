"""Calibration and evaluation data: files, folders, scripts or Python objects become batches of model inputs.

Axis 0 of every array counts samples. Nothing is kept in memory that did not come in memory: what cannot be read in
place is spooled to a folder that `Samples.close` removes. `data.sources` reads, `data.intake` checks.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.data.intake import Array, Fit, Rows, image_axes, quoted
from onnx2snn.data.sources import open_source
from onnx2snn.errors import DataError
from onnx2snn.protos.specs import TensorSpec


@dataclass(eq=False)
class Samples:
    """Random access to N samples that fit a model's inputs; a context manager that removes its temporary files."""

    _inputs: dict[str, Rows]
    _targets: dict[str, Rows] = field(default_factory=dict)
    _folder: Path | None = None

    def __post_init__(self) -> None:
        """Arrange that the temporary folder also goes when nobody calls `close`."""
        self.targets = tuple(self._targets)
        folder = self._folder
        self.close: Callable[[], object] = lambda: None
        if folder is not None:
            self.close = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __len__(self) -> int:
        """N, the number of samples."""
        return next(iter(self._inputs.values())).shape[0]

    def __enter__(self) -> Samples:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the temporary files."""
        self.close()

    def batch(self, indices: ArrayLike) -> dict[str, Array]:
        """Return the inputs by name, each [len(indices), ...] of its spec's dtype; IndexError outside 0..N-1."""
        return {name: self._read(rows, indices) for name, rows in self._inputs.items()}

    def target(self, key: str, indices: ArrayLike) -> Array:
        """Return what stands beside the inputs (labels, masks...), [len(indices), ...]; DataError if nothing does."""
        if key not in self._targets:
            found = f"only {quoted(self.targets)}" if self.targets else "nothing"
            raise DataError(f"the data holds {found} beside the inputs: add an array '{key}' with one row per sample")
        return self._read(self._targets[key], indices)

    def subset(self, indices: ArrayLike) -> Samples:
        """Return the samples at `indices`, [M], as samples of their own; they live as long as these are open."""
        chosen = np.asarray(indices, np.int64).reshape(-1)

        def view(rows: Rows) -> Rows:
            return replace(rows, shape=(len(chosen), *rows.shape[1:]), read=lambda wanted: rows.read(chosen[wanted]))

        inputs, targets = ({k: view(rows) for k, rows in group.items()} for group in (self._inputs, self._targets))
        return Samples(inputs, targets)

    def _read(self, rows: Rows, indices: ArrayLike) -> Array:
        wanted = np.asarray(indices, np.int64).reshape(-1)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"samples {wanted.min()} to {wanted.max()} asked for, but there are {len(self)}")
        try:
            return rows.read(wanted)
        except OSError as error:
            raise DataError(f"the data can no longer be read ({error}): leave its files in place during use") from error


def open_samples(
    source: object,
    inputs: Sequence[TensorSpec],
    *,
    targets_allowed: Collection[str] = ("labels", "masks", "boxes", "classes"),
) -> Samples:
    """Open `source`, a path, `script.py:function` or Python arrays, and check all of it against `inputs`.

    Raises DataError where something is missing, unreadable, misnamed, misshapen, of a wrong type, or not finite.
    """
    fit = Fit({spec.name: spec for spec in inputs}, tuple(targets_allowed), Path(tempfile.mkdtemp(prefix="onnx2snn-")))
    where = str(source) if isinstance(source, str | os.PathLike) else "the data"
    try:
        open_source(fit, where, source)
        joined = fit.joined(where)
        targets = {key: rows for key, rows in joined.items() if key not in fit.inputs}
        return Samples({name: joined[name] for name in fit.inputs}, targets, fit.folder)
    except BaseException as error:
        shutil.rmtree(fit.folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise DataError(f"{where} cannot be read ({error}): check permissions and free disk space") from error
        raise


def random_samples(
    inputs: Sequence[TensorSpec], count: int, seed: int, bounds: Mapping[str, int] | None = None
) -> tuple[Samples, list[str]]:
    """Make `count` samples up: N(0,1) for floats, uniform over the range of integers, 0 or 1 for bool.

    Integers of an input in `bounds` are at least 0 and less than its bound. Also returns a note for each dimension
    or vocabulary that had to be guessed. DataError for a type or shape that has no samples.
    """
    guesses: dict[object, int] = {}
    notes: list[str] = []
    rows: dict[str, Rows] = {}
    for number, spec in enumerate(inputs):
        if spec.shape == () or spec.dtype.kind not in "fiubV" or count < 1:
            mend = "make it a constant of the model" if spec.shape == () else "supply data for it"
            raise DataError(f"{count} random samples of input '{spec}' cannot be made: {mend}")
        if spec.shape is None:
            notes.append(f"shape of input '{spec.name}' taken as [N,16]")
        shape = [count]
        for axis, dim in enumerate((spec.shape or (None, 16))[1:], 1):
            if not isinstance(dim, int):
                what = f"axis {axis}" if dim is None else f"'{dim}'"
                key = (number, axis) if dim is None else dim  # an unknown dimension agrees with no other
                if key not in guesses:
                    guesses[key] = 224 if axis in image_axes(spec)[:2] else 16
                    notes.append(f"dimension {what} of input '{spec.name}' taken as {guesses[key]}")
                dim = guesses[key]
            shape.append(dim)
        low, high = 0, (bounds or {}).get(spec.name, 0) - 1
        if spec.dtype.kind in "iu" and high < 0:
            low, high = int(np.iinfo(spec.dtype).min), int(np.iinfo(spec.dtype).max)
            if spec.dtype.itemsize > 1:  # a byte is a pixel; more may be a word
                notes.append(f"values of input '{spec.name}' drawn over all of {spec.dtype}, whatever they stand for")
        draw = partial(_draw, spec.dtype, tuple(shape[1:]), (seed, number), (low, high))
        rows[spec.name] = Rows(spec.dtype, tuple(shape), draw)
    return Samples(rows), notes


def _draw(
    dtype: np.dtype[Any], shape: tuple[int, ...], seed: tuple[int, int], ends: tuple[int, int], indices: Array
) -> Array:
    out = np.empty((len(indices), *shape), dtype)
    for row, index in enumerate(indices):
        random = np.random.default_rng((*seed, int(index)))  # one stream per sample: any order gives the same data
        if dtype.kind in "iu":
            out[row] = random.integers(*ends, shape, dtype, endpoint=True)
        else:
            out[row] = random.integers(0, 2, shape) if dtype.kind == "b" else random.standard_normal(shape)
    return out
