"""Temporary files of this process: all are listed, so that they go however the process ends.

Each goes when its work is done. Where the process is stopped in the middle of a library's work,
`remove_all` takes what is left; only SIGKILL leaves something.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnx2snn.errors import OutputError

PREFIX = "onnx2snn-"

_present: set[Path] = set()


def made_folder() -> Path:
    """Make a folder that only the user can read; `remove` it later.

    Raises:
        OutputError: There is no place for one.
    """
    with room_wanted():
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    _present.add(folder)
    return folder


@contextmanager
def room_wanted() -> Iterator[None]:
    """Say how to make room (OutputError) where a temporary file cannot be written inside."""
    try:
        yield
    except OSError as error:
        raise no_room(error.strerror or str(error)) from error


def no_room(reason: str) -> OutputError:
    """Return the error of a temporary file that cannot be written."""
    return OutputError(
        f"no temporary files can be written ({reason}); set TMPDIR to a folder with free space"
    )


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that is removed afterwards; OutputError as `made_folder`."""
    folder = made_folder()
    try:
        yield folder
    finally:
        remove(folder)


@contextmanager
def listed(file: Path) -> Iterator[Path]:
    """Yield the path of a file that is removed afterwards, if it is still there."""
    _present.add(file)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        _present.discard(file)


def remove(folder: Path) -> None:
    """Remove a folder and all in it; files that are still mapped may stay (Windows)."""
    shutil.rmtree(folder, ignore_errors=True)
    _present.discard(folder)


def remove_all() -> None:
    """Remove all that is still there: the process is about to end."""
    for path in list(_present):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            continue
        with suppress(OSError):
            path.unlink()
