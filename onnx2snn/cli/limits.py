"""The limit of memory: estimates are held against it, and Linux holds the process to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onnx2snn.protos import budget

try:
    import resource
except ImportError:  # Windows: estimates alone
    resource = None  # type: ignore[assignment]


@contextmanager
def within_memory(size: int | None) -> Iterator[None]:
    """Let some work take no more memory than `size`, in bytes; None: what is free."""
    if size is None:
        yield
        return
    budget.allow(size)
    before = _limit(size)
    try:
        yield
    finally:
        budget.allow(None)
        if before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, before)


def _limit(size: int) -> tuple[int, int] | None:
    """Limit the memory of the process, and return the limits before; None where it is not done."""
    if resource is None:
        return None
    before = resource.getrlimit(resource.RLIMIT_DATA)
    hard = before[1]
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (size, hard))
    return before
