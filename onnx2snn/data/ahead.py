"""One item ahead: the next item of an iterator is made while the present one is worked on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")

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
