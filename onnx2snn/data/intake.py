"""Intake of data: arrays are checked against a model's inputs, cast, spooled and joined.

Everything that does not fit the model is refused in one sentence that names the file or batch at
fault (DataError). Axis 0 of every array counts samples.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onnx2snn.data.array_checks import (
    Group,
    cast_rows,
    check_alike,
    check_counts,
    check_finite,
    check_objects,
    check_samples,
    misfit,
    misfit_of_samples,
    shape_fits,
)
from onnx2snn.data.look import PLAIN, Look
from onnx2snn.data.rows import (
    Rows,
    concatenated,
    in_memory,
    raw_file,
    repeated,
    with_axis,
    without_axes,
)
from onnx2snn.data.text import text_rows
from onnx2snn.errors import DataError, quoted
from onnx2snn.protos.specs import TensorSpec


class SymbolSize(NamedTuple):
    """The size that a symbolic dimension has, and the input that set it."""

    size: int
    input_name: str


@dataclass
class Intake:
    """Gathers the arrays of a source, group by group, and refuses those that do not fit the model.

    `allowed` names the arrays that may stand beside the inputs; temporary files go to `folder`.
    `unbatched` names inputs whose first axis, of size 1, the network itself lacks: an array of such
    a one may be a single sample.
    `look` tells how images become inputs. `known_finite`: another process has looked through all
    values of the same source.
    """

    inputs: dict[str, TensorSpec]
    allowed: tuple[str, ...]
    folder: Path
    unbatched: Collection[str] = ()
    look: Look = PLAIN
    known_finite: bool = False
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
                if self.inputs.get(name) is not None and self.inputs[name].shape == ():
                    self._arrays[name].append(rows)
                    continue
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
        specs = list(self.inputs.values())
        if specs and all(spec.shape == () for spec in specs):
            raise DataError(
                f"input '{specs[0]}' has no axis for samples: make it a constant of the model"
            )
        whole = {name: self._whole(name, arrays) for name, arrays in self._arrays.items()}
        whole = self._for_all(whole)
        check_counts(where, whole)
        return whole

    def _whole(self, name: str, arrays: Sequence[Rows]) -> Rows:
        """Return all arrays of a name as one; a single value has to stay the same."""
        spec = self.inputs.get(name)
        if spec is None or spec.shape != ():
            return concatenated(arrays)
        first = arrays[0].read(np.zeros(1, np.int64))
        for rows in arrays[1:]:
            if rows.read(np.zeros(1, np.int64)) != first:
                raise DataError(
                    f"input '{spec}' has no axis for samples, but not one value for all of them"
                )
        count = sum(rows.count for rows in arrays)
        return replace(arrays[0], shape=(count,))

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
        group = self._with_axes(group)
        checked = {}
        for name, rows in group.items():
            checked[name] = self._checked_array(name, f"'{name}' in {where}", rows)
        checked = self._for_all(checked)
        check_counts(where, checked)
        return checked

    def _with_axes(self, group: Group) -> Group:
        """Return a group with an axis in front where it is one sample, and what is beside it."""
        found = dict(group)
        for name in self.unbatched:
            if name in group and shape_fits(self.inputs[name].shape or (), (1, *group[name].shape)):
                found[name] = with_axis(group[name])
        if any(found[name] is not rows for name, rows in group.items()):
            for name in set(group).difference(self.inputs):
                found[name] = with_axis(group[name])
        return found

    def _for_all(self, group: Group) -> dict[str, Rows]:
        """Return a group in which an input that is given once is the same for all samples."""
        counts = [rows.count for name, rows in group.items() if name in self.inputs]
        most = max(counts, default=1)
        found = dict(group)
        for name, rows in group.items():
            if name in self.inputs and rows.count == 1 and most > 1:
                spec = self.inputs[name]
                found[name] = (
                    replace(rows, shape=(most,)) if spec.shape == () else repeated(rows, most)
                )
        return found

    def _checked_array(self, name: str, what: str, rows: Rows) -> Rows:
        """Return one array cast to the model's type; `what` names it in errors."""
        spec = self.inputs.get(name)
        if spec is not None and spec.is_text:
            rows = text_rows(what, rows)
        else:
            check_objects(what, rows)
        if spec is not None and spec.shape == () and math.prod(rows.shape) == 1:
            # the same for all samples
            rows = without_axes(rows)
        else:
            check_samples(what, rows)
        if spec is not None and spec.shape != ():
            self._check_shape(spec, what, rows.shape)
        if spec is not None:
            rows = cast_rows(what, rows, spec.dtype)
        first = self._first.setdefault(name, rows)
        check_alike(what, rows, first)
        if spec is not None and not rows.finite and not self.known_finite:
            check_finite(what, rows, spec)
        return rows

    def _check_shape(self, spec: TensorSpec, what: str, shape: tuple[int, ...]) -> None:
        """Refuse a shape that an input does not take, or that contradicts another input's."""
        if spec.shape is None:
            return
        if not shape_fits(spec.shape, shape):
            if spec.name in self.unbatched:
                raise DataError(misfit_of_samples(what, shape, spec.shape))
            raise misfit(what, shape, spec.shape)
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
