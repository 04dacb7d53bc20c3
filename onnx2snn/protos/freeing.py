"""Freed memory goes back to the system, which C libraries put off; Python looks for it later."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def give_back() -> None:
    """Give freed memory back; some other C library than glibc does so by itself, or never.

    glibc keeps blocks of up to 32 MB once one like it was freed: those of weights and activations
    of a session that is closed.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def uncollected() -> Iterator[None]:
    """Put off Python's search for unused cycles, which walks a graph again while it is built."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
