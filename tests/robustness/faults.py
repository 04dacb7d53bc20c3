"""Faults of the system: the k-th write, or another change of the disk, fails as on a full disk."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

CHANGES = ("mkdir", "replace", "rename", "chmod")
"""Functions of `os` that change the disk; `open` is looked at apart."""


class Faults:
    """Counts the changes of the disk, and lets one of them fail."""

    def __init__(self, at: int, number: int) -> None:
        self.at, self.number = at, number
        self.seen = 0
        self.place = ""

    @property
    def struck(self) -> bool:
        """Whether there were enough changes."""
        return self.seen >= self.at

    def strike(self, what: object) -> None:
        """Count a change of the disk, and raise where it is the one that fails."""
        self.seen += 1
        if self.seen == self.at:
            self.place = str(what)
            raise OSError(self.number, os.strerror(self.number), str(what))

    def failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that changes the disk, or fails."""

        def change(path: Any, *more: Any, **named: Any) -> Any:
            self.strike(path)
            return real(path, *more, **named)

        return change


class _Writer:
    """A file whose writes may fail; half of what was to be written is then there."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: Any) -> int:
        try:
            self._faults.strike("write")
        except OSError:
            self._file.write(data[: len(data) // 2])
            raise
        return int(self._file.write(data))

    def close(self) -> None:
        closed = self._file.closed
        self._file.close()
        if not closed:
            self._faults.strike("close")


@contextmanager
def failing_at(at: int, number: int) -> Iterator[Faults]:
    """Let one change of the disk fail: the one of this number, counted from 1."""
    faults = Faults(at, number)
    real_open, real_os_open = io.open, os.open

    def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real_open(file, mode, *more, **named)
        faults.strike(file)
        return _Writer(real_open(file, mode, *more, **named), faults)

    def os_opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            faults.strike(path)
        return real_os_open(path, flags, *more, **named)

    with ExitStack() as patches:
        for name in CHANGES:
            patches.enter_context(patch.object(os, name, faults.failing(getattr(os, name))))
        patches.enter_context(patch.object(os, "open", os_opened))
        patches.enter_context(patch.object(io, "open", opened))
        patches.enter_context(patch.object(builtins, "open", opened))
        yield faults
