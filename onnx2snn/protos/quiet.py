"""Quiet libraries: their notices stay off stdout, where machine output goes.

`contextlib.redirect_stdout` would swallow the prints of all threads. Here only the module of a
library gets a `print` of its own, which is silent in the threads that ask for it and in no other.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


class _Silence(threading.local):
    """The modules whose prints a thread does not want, with how often it said so."""

    def __init__(self) -> None:
        self.depths: dict[str, int] = {}


_SILENCE = _Silence()


@contextmanager
def quiet(*modules: ModuleType) -> Iterator[None]:
    """Let nothing that these modules print in this thread reach stdout."""
    depths = _SILENCE.depths
    for module in modules:
        _give_own_print(module)
        depths[module.__name__] = depths.get(module.__name__, 0) + 1
    try:
        yield
    finally:
        for module in modules:
            depths[module.__name__] -= 1


def _give_own_print(module: ModuleType) -> None:
    """Shadow the built-in `print` inside a module, once."""
    if "print" in vars(module):
        return
    name = module.__name__

    def own_print(*values: object, **options: object) -> None:
        if not _SILENCE.depths.get(name):
            builtins.print(*values, **options)  # type: ignore[call-overload]  # noqa: T201

    vars(module)["print"] = own_print
