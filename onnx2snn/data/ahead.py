"""Items ahead: what comes next is made while the present item is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_END: Final = object()


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield some items in their order; a thread makes the next one meanwhile.

    What making an item raises is raised in its place. The thread is over when the iterator is
    closed: it then waits for the item at work.
    """
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, _END)
        while True:
            item = following.result()
            if item is _END:
                return
            following = pool.submit(next, items, _END)
            yield item  # type: ignore[misc]


def side_by_side(
    work: Callable[[Item], Made], items: Iterable[Item], workers: int
) -> Iterator[Made]:
    """Yield what a function makes of each item, in their order.

    What it raises is raised in the item's place. Threads are over when the iterator is closed: it
    then waits for the items at work.

    Args:
        work: Is called by several threads at once.
        items: As many are taken as are at work, and one that waits.
        workers: Threads (1: it works when it is asked, in the caller's own).
    """
    if workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
