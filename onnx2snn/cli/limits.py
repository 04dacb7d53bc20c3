"""The limit of memory: estimates are held against it, and Linux holds the process to it.

Without one Linux holds the process to what is free: sizes that a model computes on its way are not
estimated, and a system that runs out of memory kills whom it likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnx2snn.errors import UsageError
from onnx2snn.protos import budget

try:
    import resource
except ImportError:  # Windows: estimates alone
    resource = None  # type: ignore[assignment]


STATUS = Path("/proc/self/status")
"""Where Linux tells the memory of this process."""

SPARE = 2**30
"""Bytes that may be asked for beyond what is free: stacks of threads, which are hardly used."""


LEAST_SPACE = 3 * 2**27
"""Bytes of addresses that loading NumPy and onnxruntime takes; without them they end the process,
or fail in ways that say something else.
"""


def require_space() -> None:
    """Refuse to begin where the user's own limit leaves libraries no room to be loaded.

    Raises:
        UsageError: The limit is named.
    """
    if resource is None:
        return
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY and space < LEAST_SPACE:
        raise UsageError(
            f"the limit of address space (ulimit -v) is {budget.as_text(space)}, and libraries "
            f"alone take {budget.as_text(LEAST_SPACE)}; raise it"
        )


WORKING = 2**26
"""Bytes that the smallest work takes."""


@contextmanager
def within_memory(size: int | None, *, alone: bool = False) -> Iterator[None]:
    """Let some work take no more memory than `size`, in bytes.

    Args:
        size: None holds the process to what is free, if it is for this work `alone`.
        alone: Whether it is, and drives no device: those map memory that is not there.
    """
    budget.allow(size)
    if size is None and alone:
        size = _all_free()
    elif size is not None and alone:
        _require_room_for_libraries(size)
    before = _limit(size)
    try:
        yield
    finally:
        budget.allow(None)
        if before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, before)


def _all_free() -> int | None:
    """Return what the process has already and may still take, in bytes; None: it is not told.

    A limit that the user has set (`ulimit -d`) stays.
    """
    if resource is None or resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY:
        return None
    held = _held()
    return None if held is None else held + budget.affordable() + SPARE


def _held() -> int | None:
    """Return the bytes that the process has, as Linux counts them for its limit."""
    with suppress(OSError, ValueError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return None


def _require_room_for_libraries(size: int) -> None:
    """Load what ends the process where it finds no memory, and refuse a limit that is below that.

    Raises:
        UsageError: The limit leaves nothing to work with.
    """
    import numpy  # noqa: F401
    import onnxruntime  # noqa: F401

    held = _held()
    if held is not None and size < held + WORKING:
        raise UsageError(
            f"there is not enough memory: libraries alone take {budget.as_text(held)}, and "
            f"{budget.as_text(size)} are allowed; give more (--memory-limit)"
        )


def _limit(size: int | None) -> tuple[int, int] | None:
    """Limit the memory of the process, and return the limits before; None where it is not done."""
    if resource is None or size is None:
        return None
    before = resource.getrlimit(resource.RLIMIT_DATA)
    hard = before[1]
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (size, hard))
    return before
