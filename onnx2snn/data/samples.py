"""Calibration and evaluation data: files, folders, scripts or Python objects become model inputs.

Axis 0 of every array counts samples. Nothing is kept in memory that did not come in memory: an
array that cannot be read in place is spooled to a folder that `Samples.close` removes.
`data.sources` reads, `data.intake` checks.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.aliases import Array
from onnx2snn.data.intake import Intake
from onnx2snn.data.look import look_of
from onnx2snn.data.rows import Rows, chosen
from onnx2snn.data.scripts import Script
from onnx2snn.data.sources import open_source
from onnx2snn.errors import DataError, quoted
from onnx2snn.protos import temporary
from onnx2snn.protos.specs import TensorSpec

TARGETS = ("labels", "masks", "boxes", "classes")
"""Names of arrays that may stand beside the inputs, to score outputs with."""


@dataclass(frozen=True)
class Origin:
    """The path that `count` samples were opened from, and the arguments of `open_samples`."""

    path: str | os.PathLike[str]
    count: int
    inputs: tuple[TensorSpec, ...]
    targets_allowed: tuple[str, ...]
    unbatched: tuple[str, ...]


@dataclass(eq=False)
class Samples:
    """Random access to N samples that fit a model's inputs.

    As a context manager it removes its temporary files. `origin` is where other processes find the
    same, None: nowhere; `numbers` are those that a subset has there, None: all.
    """

    _inputs: dict[str, Rows]
    _targets: dict[str, Rows] = field(default_factory=dict)
    _folder: Path | None = None
    origin: Origin | None = None
    numbers: Array | None = None

    def __post_init__(self) -> None:
        """Arrange that the temporary folder also goes when nobody calls `close`."""
        self.targets = tuple(self._targets)
        self.close: Callable[[], object] = lambda: None
        if self._folder is not None:
            self.close = weakref.finalize(self, temporary.remove, self._folder)

    def __len__(self) -> int:
        """N, the number of samples."""
        return next(iter(self._inputs.values())).count

    @property
    def takes_work(self) -> bool:
        """Whether reading a batch takes work of the processor, such as decoding images."""
        return any(rows.takes_work for rows in self._inputs.values())

    def __enter__(self) -> Samples:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the temporary files."""
        self.close()

    def batch(self, indices: ArrayLike) -> dict[str, Array]:
        """Return the inputs by name, each [len(indices), ...] of its spec's type.

        Raises:
            IndexError: For an index outside 0 to N-1.
        """
        return {name: self._read(rows, indices) for name, rows in self._inputs.items()}

    def target(self, key: str, indices: ArrayLike) -> Array:
        """Return an array that stands beside the inputs (labels, masks...), [len(indices), ...].

        Raises:
            DataError: Where the data holds no array of this name.
            IndexError: For an index outside 0 to N-1.
        """
        if key not in self._targets:
            found = f"only {quoted(self.targets)}" if self.targets else "nothing"
            raise DataError(
                f"the data holds {found} beside the inputs: "
                f"add an array '{key}' with one row per sample"
            )
        return self._read(self._targets[key], indices)

    def subset(self, indices: ArrayLike) -> Samples:
        """Return the samples at `indices`, [M], as samples that live as long as these are open."""
        numbers = _row_numbers(indices)
        inputs = {name: chosen(rows, numbers) for name, rows in self._inputs.items()}
        targets = {name: chosen(rows, numbers) for name, rows in self._targets.items()}
        own = numbers if self.numbers is None else self.numbers[numbers]
        return Samples(inputs, targets, origin=self.origin, numbers=own)

    def _read(self, rows: Rows, indices: ArrayLike) -> Array:
        numbers = _row_numbers(indices)
        self._check_range(numbers)
        try:
            return rows.read(numbers)
        except OSError as error:
            raise DataError(
                f"the data can no longer be read ({error}): leave its files in place during use"
            ) from error

    def _check_range(self, numbers: Array) -> None:
        """Refuse numbers of samples that there are not."""
        if not numbers.size:
            return
        low = numbers.min()
        high = numbers.max()
        if low < 0 or high >= len(self):
            raise IndexError(f"samples {low} to {high} asked for, but there are {len(self)}")


def _row_numbers(indices: ArrayLike) -> Array:
    """Return indices as int64 [M]."""
    return np.asarray(indices, np.int64).reshape(-1)


def open_samples(
    source: object,
    inputs: Sequence[TensorSpec],
    *,
    targets_allowed: Collection[str] = TARGETS,
    unbatched: Collection[str] = (),
    known_finite: bool = False,
) -> Samples:
    """Open a source of data and check all of it against a model's inputs.

    Args:
        source: A path, `script.py:function` or Python arrays.
        inputs: The inputs of the model.
        targets_allowed: Names of the arrays that may stand beside the inputs.
        unbatched: Names of inputs whose first axis, of size 1, the network itself lacks; others
            may be among them.
        known_finite: Whether all values were looked through before, and are not read for that.

    Returns:
        The samples; their temporary files last until they are closed.

    Raises:
        DataError: Where something is missing, unreadable, misnamed, misshapen, of a wrong type, or
            not finite.
    """
    folder = temporary.made_folder()
    specs = {spec.name: spec for spec in inputs}
    lacking = [name for name in specs if name in unbatched]
    intake = Intake(specs, tuple(targets_allowed), folder, lacking, look_of(source), known_finite)
    is_path = isinstance(source, str | os.PathLike)
    where = str(source) if is_path else "the data"
    try:
        open_source(intake, where, source)
        joined = intake.joined(where)
    except BaseException as error:
        temporary.remove(folder)
        if isinstance(error, OSError):
            raise DataError(
                f"{where} cannot be read ({error}): check permissions and free disk space"
            ) from error
        raise
    in_order = {name: joined.pop(name) for name in specs}
    samples = Samples(in_order, joined, folder)
    # a script that is run again may return other samples
    if isinstance(source, str | os.PathLike) and not isinstance(source, Script):
        samples.origin = Origin(
            source, len(samples), tuple(inputs), tuple(targets_allowed), tuple(unbatched)
        )
    return samples
