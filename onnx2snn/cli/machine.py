"""Results for machines: JSON to a file or to stdout, and words to stderr.

JSON has no infinity and no NaN; null stands for them.
"""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from onnx2snn.errors import OutputError, one_line, printable

STDOUT = "-"
"""The name of a file that stands for stdout."""


def file_of(path: str | None) -> str | None:
    """Return the path of a file to write, or None where it is stdout or nothing."""
    return None if path == STDOUT else path


def say(text: str) -> None:
    """Print a line to stderr, where there is one."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)  # noqa: T201


@contextmanager
def told_warnings() -> Iterator[None]:
    """Tell warnings of libraries and scripts in a line each, without the code that gave them."""
    with warnings.catch_warnings():
        warnings.showwarning = _tell
        yield


def _tell(message: Warning | str, *_: object, **__: object) -> None:
    say(f"warning: {printable(one_line(message))}")


def json_text(value: object) -> str:
    """Return a value as JSON that every reader takes, with null for infinity and NaN."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    """Return a copy of a result in which None stands for numbers that JSON has not."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_stdout(text: str) -> None:
    """Write text to stdout at once, so that a full disk is told here.

    Raises:
        OutputError: It cannot be written.
        BrokenPipeError: Its reader is gone.
    """
    if sys.stdout is None:
        raise OutputError("stdout cannot be written: it is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise OutputError(f"stdout cannot be written: {error.strerror or error}") from error


def silence(stream: object) -> None:
    """Send the rest of a stream nowhere: Python would try to write it on leaving, and complain."""
    fileno = getattr(stream, "fileno", None)
    if fileno is None:
        return
    try:
        number = fileno()
    except (OSError, ValueError):  # a stream in memory has no descriptor
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
