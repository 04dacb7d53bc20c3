"""Files that are read whole: ordinary files, and pipes that somebody writes to.

A device has no end, and a pipe that nobody writes to would be waited for for ever.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from pathlib import Path

PATIENCE = 10.0
"""Seconds that a pipe is waited for, as at `protos.destination`."""

PART = 2**20
"""Bytes that are read from a pipe at a time."""


def read_whole(path: Path) -> bytes:
    """Return the bytes of a file or a pipe.

    Raises:
        OSError: It cannot be read, is a device, or is a pipe that nobody writes to.
    """
    # a pipe that is opened for waiting would wait without end
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        if stat.S_ISREG(mode):
            return file.read()
        if stat.S_ISFIFO(mode):
            return _read_pipe(handle)
    kind = "folder" if stat.S_ISDIR(mode) else "device"
    raise OSError(None, f"it is a {kind}, not a file")


def _read_pipe(handle: int) -> bytes:
    """Return all that is written to a pipe."""
    parts = []
    last = time.monotonic() + PATIENCE
    while True:
        wait = last - time.monotonic()
        ready, _, _ = select.select([handle], [], [], max(0.0, wait))
        if not ready:
            raise OSError(None, "nobody writes to this pipe")
        part = os.read(handle, PART)
        if part:
            parts.append(part)
            last = time.monotonic() + PATIENCE
        elif parts or time.monotonic() > last:
            break
        else:  # nobody has opened it for writing yet
            time.sleep(0.05)
    if not parts:
        raise OSError(None, "nobody writes to this pipe")
    return b"".join(parts)


def require_file(path: Path) -> None:
    """Refuse (OSError) what is neither an ordinary file nor a folder; it must not be opened."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
