"""How long work tells whoever waits where it stands."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps of it are done, and how many there are."""


def silent_progress(_what: str, _done: int, _total: int) -> None:
    """Say nothing."""
