"""Blame for foreign exceptions: errors of users' code and of damaged files become a DataError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx2snn.errors import DataError, one_line


@contextmanager
def users_code(where: str) -> Iterator[None]:
    """Blame the code that makes the data, called `where`, for everything it raises (DataError)."""
    try:
        yield
    except (MemoryError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise DataError(
            f"{where} raised {type(error).__name__} ({_brief(error)}): "
            "mend the code that makes the data"
        ) from error


@contextmanager
def reading(what: Path | str, kind: str) -> Iterator[None]:
    """Blame `what` for every error of its decoder (DataError).

    Damaged files make decoders raise nearly anything. An error of the disk or of its permissions
    has an error number; it says nothing about the content and goes on as it is.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DataError(
            f"{what} is truncated or no {kind} ({_brief(error)}): replace or remove it"
        ) from error


def _brief(error: BaseException) -> str:
    """Return the first line of a foreign message, to be part of a sentence."""
    return one_line(error).rstrip(".")
