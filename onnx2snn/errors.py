"""Every exception onnx2snn raises on purpose, and the exit code the command line gives it.

* Onnx2snnError
  * UsageError             (2) an option or argument that makes no sense
  * ModelFileError         (2) a file that is missing, unreadable, or not an ONNX or SNN model
  * DataError              (2) calibration or evaluation data that does not fit the model
  * OutputError            (2) a result that cannot be written where it was asked for
  * UnsupportedGraphError  (3) a graph that cannot be converted, with node, operator and reason
  * GateError              (1) a gate that failed; nothing is written
    * StageMismatchError   (1) a stage computes something else than the one before it

Each message is one sentence that names the file, node or value, and says how to mend it.
"""

from __future__ import annotations

from typing import ClassVar


class Onnx2snnError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 2


class UsageError(Onnx2snnError, ValueError):
    """An option or argument that makes no sense."""


class ModelFileError(Onnx2snnError):
    """A model file that is missing, unreadable, truncated, or of the wrong kind."""


class DataError(Onnx2snnError, ValueError):
    """Calibration or evaluation data that does not fit the model."""


class OutputError(Onnx2snnError):
    """A result that cannot be written where it was asked for."""


class UnsupportedGraphError(Onnx2snnError):
    """A graph that cannot be converted.

    `node` and `op` name the culprit ("" where the graph as a whole is meant), `reason` says why.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, node: str, op: str, reason: str) -> None:
        self.node = node
        self.op = op
        self.reason = reason
        where = f"node '{node}' ({op}) cannot be converted: " if op else ""
        super().__init__(f"{where}{reason}")


class GateError(Onnx2snnError):
    """A gate that failed: `--max-drop`, `--strict`, or a numeric check between stages."""

    exit_code: ClassVar[int] = 1


class StageMismatchError(GateError):
    """A stage of the pipeline computes something else than the stage before it."""
