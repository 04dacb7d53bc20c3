"""A conversion: the spiking model, the report on it, and the thresholds it was made with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from onnx2snn.aliases import Array
from onnx2snn.errors import OutputError
from onnx2snn.pipeline.report import Report
from onnx2snn.protos.large import fits, serialise
from onnx2snn.protos.save import Results, save_model, write_npz


@dataclass(frozen=True)
class Conversion:
    """A spiking model and the report on it."""

    model: onnx.ModelProto
    report: Report
    _thresholds: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, whole or not at all; over 2 GiB with its weights in `PATH.data`.

        Raises:
            OutputError: It cannot be written there.
        """
        save_model(path, self.model)

    def save_thresholds(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration as .npz, which `convert` takes as `thresholds`.

        Raises:
            OutputError: It cannot be written there.
        """
        write_npz(path, self._thresholds)

    def add_to(
        self, results: Results, path: str | os.PathLike[str], thresholds: str | None
    ) -> None:
        """Add the model, and the calibration where it has a path, to the results of a run."""
        results.model(path, self.model)
        if thresholds is not None:
            results.npz(thresholds, self._thresholds)

    def to_bytes(self) -> bytes:
        """Return the model file's bytes, the same for the same input, options and seed.

        Raises:
            OutputError: The model is over 2 GiB, more than one file can hold.
        """
        if not fits(self.model):
            raise OutputError(
                "the model is over 2 GiB, more than one file can hold; save() puts its weights "
                "beside it"
            )
        return serialise(self.model)
