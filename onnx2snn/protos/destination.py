"""Places that results are written to, and how: what stands there decides.

* nothing yet, or a regular file: a finished temporary file takes its place
* a symbolic link: it stays, and the file it leads to is replaced
* a pipe, a character device, a descriptor (/dev/stdout, /dev/fd/3): the result is sent there
* a folder, a disk, a socket: refused
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from onnx2snn.errors import OutputError

DESCRIPTORS = re.compile(r"/(?:dev|proc/(?:self|thread-self|\d+))/fd/(\d+)")
"""Paths that stand for an open descriptor of a process."""

MOST_LINKS = 40
"""Links that are followed from one to the next, as Linux does."""

PATIENCE = 10.0
"""Seconds that a pipe without a reader is waited for."""

PAUSE = 0.05
"""Seconds between two looks at such a pipe."""


@dataclass(frozen=True)
class Destination:
    """A place that can be written to.

    `path` is its name as given, `file` that of the file behind all links. `direct`: it is a pipe or
    a device, which must not be replaced; `descriptor` is the open descriptor that it stands for.
    """

    path: Path
    file: Path
    direct: bool = False
    descriptor: int | None = None

    def send(self, source: Path) -> None:
        """Write a file's content to a pipe, device or descriptor (OSError)."""
        if self.descriptor is not None:
            # opened anew, a redirected file would be written from its start
            handle = os.dup(self.descriptor)
        elif stat.S_ISFIFO(self.file.stat().st_mode):
            handle = _open_pipe(self.file)
        else:
            handle = os.open(self.file, os.O_WRONLY)
        with os.fdopen(handle, "wb") as target, source.open("rb") as file:
            shutil.copyfileobj(file, target)


def destination(path: str | os.PathLike[str]) -> Destination:
    """Return how a path is to be written to, or refuse one that cannot be.

    Raises:
        OutputError: It is a folder, a disk or a socket, its folder is missing, or permissions or
            links do not allow it.
    """
    given = Path(path)
    try:
        return _destination(given)
    except OSError as error:
        raise OutputError(f"'{given}' cannot be written: {error.strerror or error}") from error
    except ValueError as error:  # NUL
        raise OutputError(f"'{given}' cannot be written: it is no path ({error})") from error


def _destination(given: Path) -> Destination:
    descriptor = _descriptor(given)
    if descriptor is not None:
        return _open_descriptor(given, descriptor)
    mode = _mode(given)
    if mode is None:
        return _in_folder(given)
    if stat.S_ISDIR(mode):
        raise OutputError(f"'{given}' is a folder; name the file to write")
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        kind = "disk" if stat.S_ISBLK(mode) else "socket"
        raise OutputError(f"'{given}' is a {kind}; name a file to write")
    # another process may just have moved it away
    if not os.access(given, os.W_OK) and _mode(given) is not None:
        raise _denied(given)
    if stat.S_ISREG(mode):
        return _in_folder(given)
    return Destination(given, given, direct=True)


def is_replaced(path: str | os.PathLike[str]) -> bool:
    """Return whether writing to a path puts a new file there: it is no device, pipe or descriptor.

    A path that cannot be written to counts as one that is.
    """
    try:
        return not destination(path).direct
    except OutputError:
        return True


def _mode(path: Path) -> int | None:
    """Return the mode of a file behind all links, or None where there is none yet."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}") from error


def _in_folder(given: Path) -> Destination:
    """Return the destination of a regular file, once its folder lets files be replaced."""
    file = Path(os.path.realpath(given))
    folder = file.parent
    if not folder.is_dir():
        # the folder in the user's own words, unless a link leads elsewhere
        named = folder if given.is_symlink() else given.parent
        raise OutputError(
            f"'{given}' cannot be written: there is no folder '{named}'; create it first"
        )
    if not os.access(folder, os.W_OK):
        raise _denied(given)
    return Destination(given, file)


def _denied(path: Path) -> OutputError:
    return OutputError(f"'{path}' cannot be written: permission denied; choose another place")


def _descriptor(path: Path) -> int | None:
    """Return the descriptor that a path stands for: /dev/stdout leads to /proc/self/fd/1, say."""
    for _ in range(MOST_LINKS):
        found = DESCRIPTORS.fullmatch(os.path.abspath(path))  # noqa: PTH100 - links stay
        if found:
            return int(found[1])
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _open_descriptor(path: Path, descriptor: int) -> Destination:
    try:
        os.fstat(descriptor)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}") from error
    return Destination(path, path, direct=True, descriptor=descriptor)


def _open_pipe(path: Path) -> int:
    """Return a descriptor to write to a named pipe; wait a while for somebody who reads it."""
    last = time.monotonic() + PATIENCE
    while True:
        try:
            # without O_NONBLOCK a pipe that nobody reads would be waited for without end
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > last:
                raise OSError(error.errno, "nobody reads this pipe") from error
            time.sleep(PAUSE)
        else:
            os.set_blocking(handle, True)
            return handle
