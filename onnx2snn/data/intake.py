"""Intake of data: arrays are checked against a model's inputs, cast, spooled and joined.

Everything that does not fit the model is refused in one sentence that names the file or batch at
fault (DataError). Axis 0 of every array counts samples.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onnx2snn.aliases import Dim, DType
from onnx2snn.data.rows import Rows, concatenated, converted, first_not_finite, in_memory, raw_file
from onnx2snn.data.text import text_rows
from onnx2snn.errors import DataError, quoted
from onnx2snn.protos.specs import TensorSpec

Group = Mapping[str, Rows]
"""Arrays by name that come together, from one file or one batch, with as many samples each."""


class SymbolSize(NamedTuple):
    """The size that a symbolic dimension has, and the input that set it."""

    size: int
    input_name: str


@dataclass
class Intake:
    """Gathers the arrays of a source, group by group, and refuses those that do not fit the model.

    `allowed` names the arrays that may stand beside the inputs; temporary files go to `folder`.
    """

    inputs: dict[str, TensorSpec]
    allowed: tuple[str, ...]
    folder: Path
    _arrays: defaultdict[str, list[Rows]] = field(default_factory=lambda: defaultdict(list))
    # of each name the first array: later ones must look like it
    _first: dict[str, Rows] = field(default_factory=dict)
    _symbols: dict[str, SymbolSize] = field(default_factory=dict)

    def only(self, where: str) -> str:
        """Name the one input that an unnamed array can serve."""
        if len(self.inputs) != 1:
            raise DataError(
                f"{where} is one array, but the model's inputs are {quoted(self.inputs)}: "
                "name the arrays"
            )
        return next(iter(self.inputs))

    def knows(self, name: str) -> bool:
        """Return whether an array of this name is an input or may stand beside the inputs."""
        return name in self.inputs or name in self.allowed

    def temporary(self) -> Path:
        """Return the path of a new file; never made of a name, which may hold any character."""
        handle, path = tempfile.mkstemp(dir=self.folder)
        os.close(handle)
        return Path(path)

    def add(self, where: str, group: Group) -> None:
        """Append a group that can be read at any time."""
        for name, rows in self._checked(where, group).items():
            self._arrays[name].append(rows)

    def spool(self, groups: Iterable[tuple[str, Group]]) -> None:
        """Append every group to one raw file per name: memory holds one group at a time."""
        files: defaultdict[str, Path] = defaultdict(self.temporary)
        counts: Counter[str] = Counter()
        for where, group in groups:
            for name, rows in self._checked(where, group).items():
                if rows.dtype.hasobject:
                    # text has no fixed size: it stays in memory, as it is when the batch comes
                    text = np.array(rows.read(np.arange(rows.count)))
                    self._arrays[name].append(in_memory(text))
                    continue
                self._append(where, name, rows, files[name])
                counts[name] += rows.count
        for name, path in files.items():
            first = self._first[name]
            shape = (counts[name], *first.row_shape)
            self._arrays[name].append(raw_file(path, first.dtype, shape))

    def _append(self, where: str, name: str, rows: Rows, path: Path) -> None:
        """Append all rows to a raw file, which has the type of the first of this name."""
        dtype = self._first[name].dtype
        if not np.can_cast(rows.dtype, dtype, "safe"):
            raise DataError(
                f"'{name}' in {where} is {rows.dtype} after {dtype}: give it one type throughout"
            )
        values = rows.read(np.arange(rows.count))
        with path.open("ab") as file:
            np.ascontiguousarray(values, dtype).tofile(file)

    def joined(self, where: str) -> dict[str, Rows]:
        """Return the whole of every array by name; all inputs are there, as long as each other."""
        missing = [name for name in self.inputs if name not in self._arrays]
        if missing:
            found = quoted(self._arrays) if self._arrays else "nothing"
            raise DataError(
                f"{where} lacks the model's inputs {quoted(missing)} and holds {found}: add them"
            )
        whole = {name: concatenated(arrays) for name, arrays in self._arrays.items()}
        _check_counts(where, whole)
        return whole

    def check_names(self, where: str, names: Iterable[str]) -> None:
        """Refuse names that are neither inputs nor allowed beside them."""
        unknown = [name for name in names if not self.knows(name)]
        if unknown:
            raise DataError(
                f"{where} holds {quoted(unknown)}, but the model's inputs are "
                f"{quoted(self.inputs)} and beside them may stand {quoted(self.allowed)}: "
                "rename or remove"
            )

    def _checked(self, where: str, group: Group) -> dict[str, Rows]:
        """Return the group with inputs cast to the model's types."""
        self.check_names(where, group)
        checked = {}
        for name, rows in group.items():
            checked[name] = self._checked_array(name, f"'{name}' in {where}", rows)
        _check_counts(where, checked)
        return checked

    def _checked_array(self, name: str, what: str, rows: Rows) -> Rows:
        """Return one array cast to the model's type; `what` names it in errors."""
        spec = self.inputs.get(name)
        if spec is not None and spec.is_text:
            rows = text_rows(what, rows)
        else:
            _check_objects(what, rows)
        _check_samples(what, rows, spec)
        if spec is not None:
            self._check_shape(spec, what, rows.shape)
            rows = _cast(what, rows, spec.dtype)
        first = self._first.setdefault(name, rows)
        _check_alike(what, rows, first)
        if spec is not None and not rows.finite:
            _check_finite(what, rows, spec)
        return rows

    def _check_shape(self, spec: TensorSpec, what: str, shape: tuple[int, ...]) -> None:
        """Refuse a shape that an input does not take, or that contradicts another input's."""
        if spec.shape is None:
            return
        if not _shape_fits(spec.shape, shape):
            raise DataError(_misfit(what, shape, spec.shape))
        for dim, size in zip(spec.shape[1:], shape[1:], strict=True):
            if isinstance(dim, str):
                self._check_symbol(dim, SymbolSize(size, spec.name), what)

    def _check_symbol(self, symbol: str, found: SymbolSize, what: str) -> None:
        """Refuse a size of a symbolic dimension that another array gave another size."""
        before = self._symbols.setdefault(symbol, found)
        if before.size != found.size:
            raise DataError(
                f"dimension '{symbol}' is {found.size} for {what} but {before.size} for "
                f"'{before.input_name}': make them agree"
            )


def _misfit(what: str, shape: tuple[int, ...], dims: tuple[Dim, ...]) -> str:
    """Return the sentence for an array of a shape that an input does not take."""
    expected = _dims(("N", *dims[1:]))
    if _is_one_sample(shape, dims):
        return (
            f"{what} has shape {_dims(shape)}, a sample without a batch axis, but the model takes "
            f"{expected}: add the axis in front, e.g. `x[None]`"
        )
    whole = all(isinstance(dim, int) for dim in dims)
    if whole and _shape_fits((None, *dims), shape):
        return (
            f"{what} has shape {_dims(shape)}, but the model takes {_dims(dims)}, without a batch "
            f"axis: export it with one in front, as {_dims(('N', *dims))}"
        )
    return (
        f"{what} has shape {_dims(shape)}, but the model takes {expected}: "
        "reshape or resize the data"
    )


def _is_one_sample(shape: tuple[int, ...], dims: tuple[Dim, ...]) -> bool:
    """Return whether an array has the shape of one sample."""
    return _shape_fits(dims, (1, *shape))


def _shape_fits(dims: tuple[Dim, ...], shape: tuple[int, ...]) -> bool:
    """Return whether an array has the rank and the fixed sizes of an input, but for axis 0."""
    if len(dims) != len(shape):
        return False
    for dim, size in zip(dims[1:], shape[1:], strict=True):
        if isinstance(dim, int) and dim != size:
            return False
    return True


def _check_objects(what: str, rows: Rows) -> None:
    """Refuse Python objects where numbers are asked for."""
    if rows.dtype.hasobject:
        raise DataError(
            f"{what} is an array of Python objects: convert to numbers, e.g. `.astype(np.float32)`"
        )


def _check_samples(what: str, rows: Rows, spec: TensorSpec | None) -> None:
    """Refuse an array without samples, and an input that cannot have any."""
    if spec is not None and spec.shape == ():
        raise DataError(f"input '{spec}' has no axis for samples: make it a constant of the model")
    if not rows.shape or 0 in rows.shape:
        raise DataError(
            f"{what} has shape {_dims(rows.shape)}, no samples: give an array with samples on "
            "axis 0"
        )


def _check_alike(what: str, rows: Rows, first: Rows) -> None:
    """Refuse an array that differs from the first of its name in shape or kind of type."""
    same_shape = rows.row_shape == first.row_shape
    same_kind = rows.dtype.kind == first.dtype.kind
    if not (same_shape and same_kind):
        raise DataError(
            f"{what} is {_described(rows)} after {_described(first)}: "
            "make all parts alike but for axis 0"
        )


def _check_finite(what: str, rows: Rows, spec: TensorSpec) -> None:
    """Refuse NaN and infinity in a float input."""
    if spec.dtype.kind not in "fV":  # V: bfloat16 and the like
        return
    bad = first_not_finite(rows)
    if bad is not None:
        raise DataError(
            f"{what} has NaN or infinity (as {rows.dtype}) in sample {bad}: "
            "mend or drop that sample"
        )


def _check_counts(where: str, group: Group) -> None:
    """Refuse a group in which one array has more samples than another."""
    counts = {rows.count for rows in group.values()}
    if len(counts) > 1:
        each = [f"{rows.count} of '{name}'" for name, rows in group.items()]
        raise DataError(f"{where} holds {', '.join(each)}: give as many samples of each")


def _cast(what: str, rows: Rows, dtype: DType) -> Rows:
    """Let rows be read as `dtype` where that loses nothing but a float's last digits."""
    if rows.dtype == dtype:
        return rows
    both_float = rows.dtype.kind == dtype.kind == "f"
    safe_integer = dtype.kind in "iu" and np.can_cast(rows.dtype, dtype, "safe")
    if not (both_float or safe_integer):
        raise DataError(
            f"{what} is {rows.dtype}, but the model takes {dtype}: "
            f"convert it, e.g. `.astype(np.{dtype.type.__name__})`"
        )
    return converted(rows, dtype)


def _described(rows: Rows) -> str:
    """Return the type and shape of an array for a sentence, like float32[N,3]."""
    return f"{rows.dtype}{_dims(('N', *rows.row_shape))}"


def _dims(shape: Iterable[Dim]) -> str:
    """Return a shape for a sentence, like [N,?,3]."""
    sizes = ["?" if dim is None else str(dim) for dim in shape]
    return f"[{','.join(sizes)}]"
