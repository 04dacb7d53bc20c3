"""Exceptions that onnx2snn raises on purpose, their exit codes, and helpers for their sentences.

* Onnx2snnError
  * UsageError             (2) an option or argument that makes no sense
  * ModelFileError         (2) a file that is missing, unreadable, or not an ONNX or SNN model
  * DataError              (2) calibration or evaluation data that does not fit the model
  * OutputError            (2) a result that cannot be written where it was asked for
  * ClusterError           (2) a Dask cluster that is not reached, is lost, or cannot do the work
  * UnsupportedGraphError  (3) a graph that cannot be converted, with node, operator and reason
  * ComputationError      (70) a model of this package's own that onnxruntime fails on
  * GateError              (1) a gate that failed; nothing is written
    * StageMismatchError   (1) a stage computes something else than the one before it

The number in brackets is the exit code of the command line, which is 70 for any other exception.
Each message is one sentence that names the file, node or value, and says how to mend it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

MOST_NAMES = 8
"""Names that a sentence lists; of the others it gives the number."""

MOST_CHARACTERS = 4000
"""Characters of a line on the terminal; a name in a file may have millions."""


class Onnx2snnError(Exception):
    """Base of all errors of this package; the command line exits with `exit_code`.

    `result` is what was done already where only a later step failed: the Conversion whose page
    could not be written, say.
    """

    exit_code: ClassVar[int] = 2
    result: object = None


@contextmanager
def keeping(result: object) -> Iterator[None]:
    """Hand over, with the error of a late step, what was done before it."""
    try:
        yield
    except Onnx2snnError as error:
        error.result = result
        raise


class UsageError(Onnx2snnError, ValueError):
    """An option or argument that makes no sense."""


class ModelFileError(Onnx2snnError):
    """A model file that is missing, unreadable, truncated, or of the wrong kind."""


class DataError(Onnx2snnError, ValueError):
    """Calibration or evaluation data that does not fit the model."""


class UnbatchedError(DataError):
    """Data, or a network, that shows that axis 0 of the inputs may not count samples."""


class OutputError(Onnx2snnError):
    """A result that cannot be written where it was asked for."""


class ClusterError(Onnx2snnError):
    """A Dask cluster that cannot be reached, is lost, or whose workers cannot do the work."""


class UnsupportedGraphError(Onnx2snnError):
    """A graph that cannot be converted."""

    exit_code: ClassVar[int] = 3

    def __init__(self, node: str, op: str, reason: str) -> None:
        """Name the node, its operator and the reason.

        Args:
            node: Name of the node that cannot be converted ("" where the whole graph is meant).
            op: Operator of that node ("" where the whole graph is meant).
            reason: Why it cannot be converted, and how to mend it.
        """
        self.node = node
        self.op = op
        self.reason = reason
        message = reason
        if op:
            message = f"node '{node}' ({op}) cannot be converted: {reason}"
        super().__init__(message)


class ComputationError(Onnx2snnError, RuntimeError):
    """A model of this package's own that onnxruntime does not open, or fails to compute."""

    exit_code: ClassVar[int] = 70


class GateError(Onnx2snnError):
    """A gate that failed: `--max-drop`, `--max-lasting`, `--strict`, or a check between stages."""

    exit_code: ClassVar[int] = 1


class StageMismatchError(GateError):
    """A stage of the pipeline computes something else than the stage before it."""


NO_MEMORY = (
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "pthread_create failed",
    "can't start new thread",
)
"""Words of libraries' errors, in lower case, where memory does not suffice."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory does not suffice: onnxruntime has its own kinds."""
    if isinstance(error, MemoryError):
        return True
    said = str(error).lower()
    return any(words in said for words in NO_MEMORY)


_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that end a line, steer a terminal, or turn the direction of a text."""


def printable(text: object) -> str:
    """Return a text with its control characters written out, like \\x1b.

    Names come from files of others: unescaped, one could clear the screen or forge a line. Of a
    very long text the middle is left out.
    """
    shown = str(text)
    if len(shown) > MOST_CHARACTERS:
        half = MOST_CHARACTERS // 2
        shown = f"{shown[:half]} [...] {shown[-half:]}"
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], shown)


def one_line(error: object) -> str:
    """Return the first line with text of an error's message, to stand in a sentence.

    An error without a message, or whose message fails in turn, is called by the name of its class.
    """
    try:
        # what this package raises for the system has no number
        message = str(error)
        if isinstance(error, OSError) and error.errno is None:
            message = error.strerror or message
    except Exception:  # noqa: BLE001 - of any kind: the class is a stranger's
        message = ""
    for line in message.splitlines():
        text = line.strip()
        if text:
            return text
    return type(error).__name__


def quoted(names: Iterable[str]) -> str:
    """List names in quotation marks for a sentence, the first 8 of them."""
    every = [f"'{name}'" for name in names]
    listed = ", ".join(every[:MOST_NAMES])
    left_out = len(every) - MOST_NAMES
    if left_out > 0:
        listed += f" and {left_out} more"
    return listed
