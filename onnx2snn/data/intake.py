"""What fits a model's inputs: arrays are checked, cast, spooled and joined, or refused in one sentence.

Axis 0 of every array counts samples.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx2snn.aliases import Dim
from onnx2snn.errors import DataError, quoted
from onnx2snn.protos.specs import TensorSpec

Array = NDArray[Any]
_CHUNK_BYTES = 1 << 22  # what the search for NaN reads at a time


@dataclass(frozen=True)
class Rows:
    """An array [N, ...] of which only the rows asked for need to exist; `finite` if it cannot hold NaN."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[Array], Array]
    finite: bool = False


@dataclass
class Fit:
    """Gathers what a source gives, group by group (a file, a batch), and refuses what does not fit the model.

    `allowed` names the arrays that may stand beside the inputs; temporary files go to `folder`.
    """

    inputs: dict[str, TensorSpec]
    allowed: tuple[str, ...]
    folder: Path
    _parts: defaultdict[str, list[Rows]] = field(default_factory=lambda: defaultdict(list))
    _first: dict[str, Rows] = field(
        default_factory=dict
    )  # of each key: later ones must look like it
    _dims: dict[str, tuple[int, str]] = field(
        default_factory=dict
    )  # symbolic ones: size, and the input that set it

    def only(self, where: str) -> str:
        """Name the one input an unnamed array can serve."""
        if len(self.inputs) != 1:
            raise DataError(
                f"{where} is one array, but the model's inputs are {quoted(self.inputs)}: name the arrays"
            )
        return next(iter(self.inputs))

    def temporary(self) -> Path:
        """Return the path of a new file; never made of a key, which may hold any character."""
        handle, name = tempfile.mkstemp(dir=self.folder)
        os.close(handle)
        return Path(name)

    def add(self, where: str, group: Mapping[str, Rows]) -> None:
        """Append a group that can be read at any time."""
        for key, rows in self._check(where, group).items():
            self._parts[key].append(rows)

    def spool(self, groups: Iterable[tuple[str, Mapping[str, Rows]]]) -> None:
        """Append every group to one raw file per key: memory holds one group at a time."""
        files: defaultdict[str, Path] = defaultdict(self.temporary)
        counts: Counter[str] = Counter()
        for where, group in groups:
            for key, rows in self._check(where, group).items():
                dtype = self._first[key].dtype
                if not np.can_cast(rows.dtype, dtype, "safe"):
                    raise DataError(
                        f"'{key}' in {where} is {rows.dtype} after {dtype}: give it one type throughout"
                    )
                with files[key].open("ab") as file:
                    np.ascontiguousarray(rows.read(np.arange(rows.shape[0])), dtype).tofile(file)
                counts[key] += rows.shape[0]
        for key, path in files.items():
            first = self._first[key]
            shape = (counts[key], *first.shape[1:])
            self._parts[key].append(
                Rows(first.dtype, shape, partial(_read_raw, path, first.dtype, shape))
            )

    def joined(self, where: str) -> dict[str, Rows]:
        """Return the whole of every key."""
        if missing := [name for name in self.inputs if name not in self._parts]:
            found = quoted(self._parts) if self._parts else "nothing"
            raise DataError(
                f"{where} lacks the model's inputs {quoted(missing)} and holds {found}: add them"
            )
        return _same_count(where, {key: _join(parts) for key, parts in self._parts.items()})

    def check_names(self, where: str, keys: Iterable[str]) -> None:
        """Refuse names that are neither inputs nor allowed beside them."""
        if unknown := [key for key in keys if key not in self.inputs and key not in self.allowed]:
            raise DataError(
                f"{where} holds {quoted(unknown)}, but the model's inputs are {quoted(self.inputs)} and beside them "
                f"may stand {quoted(self.allowed)}: rename or remove"
            )

    def _check(self, where: str, group: Mapping[str, Rows]) -> dict[str, Rows]:
        """Return the group with inputs cast to the model's types."""
        self.check_names(where, group)
        return _same_count(
            where, {key: self._check_rows(key, f"'{key}' in {where}", group[key]) for key in group}
        )

    def _check_rows(self, key: str, what: str, rows: Rows) -> Rows:
        if rows.dtype.hasobject:
            raise DataError(
                f"{what} is an array of Python objects: convert to numbers, e.g. `.astype(np.float32)`"
            )
        spec = self.inputs.get(key)
        if spec and spec.shape == ():
            raise DataError(
                f"input '{spec}' has no axis for samples: make it a constant of the model"
            )
        if not rows.shape or 0 in rows.shape:
            raise DataError(
                f"{what} has shape {_dims(rows.shape)}, no samples: give an array with samples on axis 0"
            )
        if spec:
            self._check_shape(spec, what, rows.shape)
            rows = _cast(what, rows, spec.dtype)
        first = self._first.setdefault(key, rows)
        if first.shape[1:] != rows.shape[1:] or first.dtype.kind != rows.dtype.kind:
            found, before = (f"{r.dtype}{_dims(('N', *r.shape[1:]))}" for r in (rows, first))
            raise DataError(
                f"{what} is {found} after {before}: make all parts alike but for axis 0"
            )
        if spec and spec.dtype.kind in "fV" and not rows.finite:  # V: bfloat16 and the like
            _check_finite(what, rows)
        return rows

    def _check_shape(self, spec: TensorSpec, what: str, shape: tuple[int, ...]) -> None:
        if spec.shape is None:
            return
        pairs = list(zip(spec.shape, shape, strict=False))[1:]
        if len(shape) != len(spec.shape) or any(
            isinstance(dim, int) and dim != size for dim, size in pairs
        ):
            expected = _dims(("N", *spec.shape[1:]) if spec.shape else ())
            raise DataError(
                f"{what} has shape {_dims(shape)}, but the model takes {expected}: reshape or resize the data"
            )
        for dim, size in pairs:
            if isinstance(dim, str) and self._dims.setdefault(dim, (size, spec.name))[0] != size:
                before, other = self._dims[dim]
                raise DataError(
                    f"dimension '{dim}' is {size} for {what} but {before} for '{other}': make them agree"
                )


def _dims(shape: Iterable[Dim]) -> str:
    return "[" + ",".join("?" if dim is None else str(dim) for dim in shape) + "]"


def _read_raw(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], indices: Array) -> Array:
    return np.asarray(np.memmap(path, dtype, "r", shape=shape)[indices])


def _cast(what: str, rows: Rows, dtype: np.dtype[Any]) -> Rows:
    """Let rows be read as `dtype` if that loses nothing but a float's last digits; DataError otherwise."""
    if rows.dtype == dtype:
        return rows
    if not (
        rows.dtype.kind == dtype.kind == "f"
        or (dtype.kind in "iu" and np.can_cast(rows.dtype, dtype, "safe"))
    ):
        raise DataError(
            f"{what} is {rows.dtype}, but the model takes {dtype}: convert it, e.g. `.astype(np.{dtype.type.__name__})`"
        )

    def read(indices: Array) -> Array:
        with np.errstate(over="ignore"):  # an overflow is found as an infinity
            return rows.read(indices).astype(dtype)

    return replace(rows, dtype=dtype, read=read)


def _check_finite(what: str, rows: Rows) -> None:
    count = rows.shape[0]
    step = max(1, _CHUNK_BYTES // (math.prod(rows.shape[1:]) * rows.dtype.itemsize))
    for start in range(0, count, step):
        values = rows.read(np.arange(start, min(start + step, count)))
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            bad = start + int(finite.argmin())
            raise DataError(
                f"{what} has NaN or infinity (as {rows.dtype}) in sample {bad}: mend or drop that sample"
            )


def _join(parts: list[Rows]) -> Rows:
    """Concatenate along axis 0."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(rows.shape[0] for rows in parts)])
    dtype = np.result_type(*{rows.dtype for rows in parts})
    shape = (int(starts[-1]), *parts[0].shape[1:])

    def read(indices: Array) -> Array:
        out = np.empty((len(indices), *shape[1:]), dtype)
        owners = np.searchsorted(starts, indices, side="right") - 1
        for owner in np.unique(owners):
            mine = owners == owner
            out[mine] = parts[owner].read(indices[mine] - starts[owner])
        return out

    return Rows(dtype, shape, read)


def _same_count(where: str, group: dict[str, Rows]) -> dict[str, Rows]:
    """Return the group if all of it has as many samples."""
    if len({rows.shape[0] for rows in group.values()}) > 1:
        each = ", ".join(f"{rows.shape[0]} of '{key}'" for key, rows in group.items())
        raise DataError(f"{where} holds {each}: give as many samples of each")
    return group
