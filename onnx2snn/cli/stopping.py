"""Stopping of a command: signals, a limit of time, and a library that does not listen.

SIGINT, SIGTERM, SIGHUP and the end of the time raise an exception in the main thread, so that all
is cleaned up on the way out. Python raises it between two of its own instructions, and a library
at work may be far from the next one: a thread watches, and after a while of grace, or at a second
signal, it removes the temporary files and ends the process.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from onnx2snn.cli.machine import say
from onnx2snn.errors import UsageError
from onnx2snn.protos import temporary, time_left

GRACE = 3.0
"""Seconds that the main thread has to notice a signal."""

AGAIN = 5.0
"""Seconds after which the end of the time is told again."""

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)
)

ALARM = getattr(signal, "SIGALRM", None)

TIMEOUT_CODE = UsageError.exit_code


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end."""


class _Watch:
    """What is known about signals: those received, and whether the main thread has noticed."""

    def __init__(self) -> None:
        self.noticed = threading.Event()
        self.received: int | None = None
        self.seconds: float | None = None


_watch = _Watch()


def exit_code(default: int) -> int:
    """Return the exit code of a process that was stopped: 128 and the signal's number."""
    if _watch.received is None:
        return default
    return 128 + _watch.received


def _raise(number: int, frame: FrameType | None) -> None:
    _watch.noticed.set()
    if number == ALARM:
        raise UsageError(_too_long())
    _watch.received = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped


def _too_long() -> str:
    return (
        f"the work takes longer than --time-limit {_watch.seconds:g}; nothing more is written: "
        "give it more time, fewer samples or fewer time-steps"
    )


@contextmanager
def stoppable() -> Iterator[None]:
    """Let signals end this process in order; for programs only, not for a function in others'."""
    before = {number: signal.signal(number, _raise) for number in _signals()}
    inner, outer = socket.socketpair()
    for end in (inner, outer):
        end.setblocking(False)
    inner.setblocking(True)
    kept = signal.set_wakeup_fd(outer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_look_out, args=(inner,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(kept)
        for number, handler in before.items():
            signal.signal(number, handler)
        # the watcher reads the end of its pipe and returns
        outer.close()
        watcher.join(GRACE)
        inner.close()
        temporary.remove_all()


def _signals() -> list[int]:
    """Return the signals that are listened to; those that the user ignores stay ignored."""
    wanted = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    return wanted if ALARM is None else [*wanted, ALARM]


def _look_out(pipe: socket.socket) -> None:
    """End the process where the main thread does not notice a signal."""
    while True:
        with suppress(OSError):
            numbers = pipe.recv(16)
            if not numbers:
                return
            _give_grace(pipe, numbers[0])
            continue
        return


def _give_grace(pipe: socket.socket, number: int) -> None:
    if number not in _signals():
        return
    pipe.settimeout(GRACE)
    try:
        again = pipe.recv(16)
    except TimeoutError:
        again = b""
    pipe.settimeout(None)
    if _watch.noticed.is_set() and not again:
        return
    _end(number)


def _end(number: int) -> None:
    """End the process at once."""
    if number == ALARM:
        say(f"error: {_too_long()}")
        code = TIMEOUT_CODE
    else:
        say("interrupted; the work was stopped")
        code = 128 + number
    temporary.remove_all()
    os._exit(code)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Limit the time of some work.

    Raises:
        UsageError: It takes longer, or the system has no alarms.
    """
    if seconds is None:
        yield
        return
    if ALARM is None or threading.current_thread() is not threading.main_thread():
        raise UsageError("--time-limit needs a system with alarms, and the main thread")
    _watch.seconds = seconds
    time_left.allow(seconds)
    before = signal.signal(ALARM, _raise)
    # again after a while: what is raised in a finaliser is lost
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    shown, sys.unraisablehook = sys.unraisablehook, _forget_late
    try:
        yield
    finally:
        time_left.allow(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = shown
        signal.signal(ALARM, before)


def _forget_late(lost: sys.UnraisableHookArgs) -> None:
    """Say nothing of the end of the time inside a finaliser; it comes again."""
    if not isinstance(lost.exc_value, UsageError):
        sys.__unraisablehook__(lost)
