"""The time that work may take, and whether the rest of it will: told from the part that is done.

Work that would take far longer than what is left is refused once its pace is known, and not when
the time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onnx2snn.errors import UsageError

KNOWN_AFTER = 0.2
"""Seconds after which the pace of some work is known."""

HOPELESS = 3.0
"""Times the time that is left, from which on work is refused: a pace may still get better."""

LONG = 30.0
"""Seconds from which on work is foretold."""

_listeners: list[Callable[[str], None]] = []
"""Who wants to hear of long work."""

_limits: list[tuple[float, float]] = []
"""The seconds allowed, and the moment at which they are over."""


def allow(seconds: float | None) -> None:
    """Set the time that work may take from now on; None: any."""
    _limits[:] = [] if seconds is None else [(seconds, time.monotonic() + seconds)]


def limited() -> bool:
    """Return whether work has to end at some time."""
    return bool(_limits)


@contextmanager
def telling(say: Callable[[str], None]) -> Iterator[None]:
    """Let somebody hear of long work meanwhile."""
    _listeners.append(say)
    try:
        yield
    finally:
        _listeners.remove(say)


def foretell(work: str, seconds: float) -> None:
    """Say before some work how long it will take, where that is long.

    Raises:
        UsageError: It takes far longer than there is time left.
    """
    if _limits:
        limit, end = _limits[0]
        if seconds > HOPELESS * (end - time.monotonic()):
            raise UsageError(
                f"the work takes longer than --time-limit {limit:g}; {work} would take about "
                f"{seconds:,.0f} s: give it more time, fewer samples or a smaller network"
            )
    if seconds >= LONG:
        for say in _listeners:
            say(f"{work} will take about {seconds:,.0f} s")


class Pace:
    """How fast some work goes on."""

    def __init__(self, work: str) -> None:
        """Begin it; `work` is what is counted, for the sentence."""
        self.work = work
        self.began = time.monotonic()

    def require(self, done: int, total: int) -> None:
        """Raise UsageError where the rest of the work takes far longer than there is time left."""
        if not _limits or done < 1:
            return
        limit, end = _limits[0]
        now = time.monotonic()
        spent = now - self.began
        if spent < KNOWN_AFTER:
            return
        # the rest is taken to go as fast as the part that is done
        rest = spent * (total - done) / done
        if rest > HOPELESS * (end - now):
            raise UsageError(
                f"the work takes longer than --time-limit {limit:g}; {self.work} ({total:,} in "
                f"all) would take {rest:,.0f} s more: give it more time, fewer samples or fewer "
                "time-steps"
            )
