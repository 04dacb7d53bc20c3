"""Memory that was freed goes back to the system, which C libraries put off."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Give freed memory back; some other C library than glibc does so by itself, or never.

    glibc keeps blocks of up to 32 MB once one like it was freed: those of weights and activations
    of a session that is closed.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
