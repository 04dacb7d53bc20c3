"""Work that is done item by item, an item being some samples, and where: `HERE`, or elsewhere.

A stage says what it does with an item, and how another process opens the same work. A `Spread`
decides where items are computed. What comes back is in the order of the items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

Opened = TypeVar("Opened", covariant=True)
Item = TypeVar("Item", contravariant=True)
Found = TypeVar("Found", covariant=True)
Total = TypeVar("Total")

Finished = Callable[[int], None]
"""Is told how many items are done."""


def unheard(_done: int) -> None:
    """Tell nobody."""


class StaysHere(Exception):  # noqa: N818 - no fault, but a reason
    """Some work cannot be sent to other processes; its text says why."""


class Mapped(Protocol[Item, Found]):
    """Work that finds something for each item."""

    def compute(self, items: Sequence[Item], shared: Any) -> Iterator[Found]:
        """Yield what is found for each of some items; `shared` is the same for all."""


class Summed(Protocol[Item, Total]):
    """Work that adds something up over all items."""

    def start(self) -> Total:
        """Return the sum of no items."""

    def added(self, total: Total, items: Sequence[Item], shared: Any) -> Iterator[Total]:
        """Yield a sum with one more item in it each time, perhaps in the same place."""

    def merge(self, total: Total, other: Total) -> Total:
        """Return the sum of two sums, perhaps in the place of the first."""


class Openable(Protocol):
    """What travels to a worker, once, and is opened there: data say."""

    def open(self) -> Any:
        """Return it opened."""


class Recipe(Protocol):
    """How a worker opens some work; it can be pickled."""

    def open(self, data: Any, threads: int) -> Any:
        """Return the work, opened.

        Args:
            data: The samples, opened on the worker.
            threads: Threads of sessions, where nobody asked for a number.
        """


@dataclass(frozen=True, eq=False)
class Work(Generic[Opened]):
    """Some work: how it is opened here, and elsewhere."""

    here: Callable[[], Opened]
    recipe: Callable[[], Recipe]
    data: Callable[[], Openable]

    @cached_property
    def opened(self) -> Opened:
        """The work opened in this process, once."""
        return self.here()


class Spread(Protocol):
    """Where work is done."""

    def map(
        self,
        work: Work[Mapped[Item, Found]],
        items: Sequence[Item],
        shared: object = None,
        finished: Finished = unheard,
    ) -> Iterator[Found]:
        """Yield what is found for each item, in their order.

        Args:
            work: The work.
            items: The items.
            shared: What all of them are computed with.
            finished: Is told how many are done.
        """

    def total(
        self,
        work: Work[Summed[Item, Total]],
        items: Sequence[Item],
        shared: object = None,
        finished: Finished = unheard,
    ) -> Total:
        """Return the sum over all items; the arguments are those of `map`."""


class Here:
    """All work is done in this process, one item after another."""

    def map(
        self,
        work: Work[Mapped[Item, Found]],
        items: Sequence[Item],
        shared: object = None,
        finished: Finished = unheard,
    ) -> Iterator[Found]:
        """Yield what is found for each item."""
        opened = work.opened
        for done, found in enumerate(opened.compute(items, shared), 1):
            yield found
            finished(done)

    def total(
        self,
        work: Work[Summed[Item, Total]],
        items: Sequence[Item],
        shared: object = None,
        finished: Finished = unheard,
    ) -> Total:
        """Return the sum over all items."""
        opened = work.opened
        total = opened.start()
        for done, more in enumerate(opened.added(total, items, shared), 1):
            total = more
            finished(done)
        return total


HERE = Here()
