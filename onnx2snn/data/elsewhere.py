"""Samples that another process opens: from the same path, or from a copy of their arrays.

A path is read by each process for itself. Arrays, iterators, made-up inputs and what a script
returns are copied: a script that is run again may return other samples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.look import Images
from onnx2snn.data.rows import Rows, in_memory
from onnx2snn.data.samples import Origin, Samples, open_samples
from onnx2snn.errors import DataError


@dataclass(frozen=True, eq=False)
class SharedPath:
    """Samples at a path that all processes read; `numbers`: those of a subset, None: all."""

    origin: Origin
    numbers: Array | None

    def open(self) -> Samples:
        """Open them in this process.

        Raises:
            DataError: They are not there, or not the same.
        """
        origin = self.origin
        try:
            samples = open_samples(
                origin.path,
                origin.inputs,
                targets_allowed=origin.targets_allowed,
                unbatched=origin.unbatched,
                known_finite=True,
            )
        except DataError as error:
            raise DataError(f"{error} (on a worker, which reads data at the same path)") from error
        if len(samples) != origin.count:
            raise DataError(
                f"{origin.path} has {origin.count} samples, but {len(samples)} on a worker: let "
                "all read the same files"
            )
        return samples if self.numbers is None else _subset(samples, self.numbers)


@dataclass(frozen=True, eq=False)
class Copies:
    """Arrays of samples, inputs and what stands beside them; those without axes are for all."""

    inputs: Mapping[str, Array]
    targets: Mapping[str, Array]
    count: int

    def open(self) -> Samples:
        """Return them as samples."""
        return Samples(self._rows(self.inputs), self._rows(self.targets))

    def _rows(self, arrays: Mapping[str, Array]) -> dict[str, Rows]:
        found = {}
        for name, array in arrays.items():
            found[name] = replace(in_memory(array), shape=(self.count, *array.shape[1:]))
        return found


def openable(samples: Samples) -> SharedPath | Copies:
    """Return what another process opens the same samples from."""
    origin = samples.origin
    if origin is not None:
        return SharedPath(replace(origin, path=_absolute(origin.path)), samples.numbers)
    every = np.arange(len(samples))
    targets = {key: samples.target(key, every) for key in samples.targets}
    return Copies(samples.batch(every), targets, len(samples))


def _absolute(path: str | os.PathLike[str]) -> str:
    """Return a path that does not depend on where a process works, with its look."""
    absolute = str(Path(path).absolute())
    if not isinstance(path, Images):
        return absolute
    found = Images(absolute)
    found.look = path.look
    return found


def _subset(samples: Samples, numbers: Array) -> Samples:
    """Return some of the samples; the files of all stay as long as these."""
    chosen = samples.subset(numbers)
    chosen.close = lambda: samples.close()
    return chosen
