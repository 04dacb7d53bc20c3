"""Calibration and evaluation data: files, folders, scripts or Python objects become batches of model inputs.

Axis 0 of every array counts samples. Nothing is kept in memory that did not come in memory: what cannot be read in
place is spooled to a folder that `Samples.close` removes. `data.sources` reads, `data.intake` checks.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.data.intake import Array, Fit, Rows
from onnx2snn.data.sources import open_source
from onnx2snn.errors import DataError, quoted
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
            raise DataError(
                f"the data holds {found} beside the inputs: add an array '{key}' with one row per sample"
            )
        return self._read(self._targets[key], indices)

    def subset(self, indices: ArrayLike) -> Samples:
        """Return the samples at `indices`, [M], as samples of their own; they live as long as these are open."""
        chosen = np.asarray(indices, np.int64).reshape(-1)

        def view(rows: Rows) -> Rows:
            return replace(
                rows,
                shape=(len(chosen), *rows.shape[1:]),
                read=lambda wanted: rows.read(chosen[wanted]),
            )

        inputs, targets = (
            {k: view(rows) for k, rows in group.items()} for group in (self._inputs, self._targets)
        )
        return Samples(inputs, targets)

    def _read(self, rows: Rows, indices: ArrayLike) -> Array:
        wanted = np.asarray(indices, np.int64).reshape(-1)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(
                f"samples {wanted.min()} to {wanted.max()} asked for, but there are {len(self)}"
            )
        try:
            return rows.read(wanted)
        except OSError as error:
            raise DataError(
                f"the data can no longer be read ({error}): leave its files in place during use"
            ) from error


def open_samples(
    source: object,
    inputs: Sequence[TensorSpec],
    *,
    targets_allowed: Collection[str] = ("labels", "masks", "boxes", "classes"),
) -> Samples:
    """Open `source`, a path, `script.py:function` or Python arrays, and check all of it against `inputs`.

    Raises DataError where something is missing, unreadable, misnamed, misshapen, of a wrong type, or not finite.
    """
    fit = Fit(
        {spec.name: spec for spec in inputs},
        tuple(targets_allowed),
        Path(tempfile.mkdtemp(prefix="onnx2snn-")),
    )
    where = str(source) if isinstance(source, str | os.PathLike) else "the data"
    try:
        open_source(fit, where, source)
        joined = fit.joined(where)
        targets = {key: rows for key, rows in joined.items() if key not in fit.inputs}
        return Samples({name: joined[name] for name in fit.inputs}, targets, fit.folder)
    except BaseException as error:
        shutil.rmtree(fit.folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise DataError(
                f"{where} cannot be read ({error}): check permissions and free disk space"
            ) from error
        raise
