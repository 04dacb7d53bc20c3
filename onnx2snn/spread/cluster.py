"""Work spread over a Dask cluster: portions of items are tasks, pure functions that may run again.

What tasks need goes to every worker once (`spread.parcels`). A worker that dies loses nothing: the
scheduler gives its tasks to others, and lets what it alone held be computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from onnx2snn.protos.notes import NOTES
from onnx2snn.spread import parcels
from onnx2snn.spread.connection import Client, Connection
from onnx2snn.spread.parcels import Parcel
from onnx2snn.spread.work import (
    HERE,
    Finished,
    Found,
    Item,
    Mapped,
    Openable,
    StaysHere,
    Summed,
    Total,
    Work,
    unheard,
)

PORTIONS = 8
"""Portions for each worker, so that a quick one gets more of them ..."""

MOST_ITEMS = 16
"""... of at most so many items, so that little is lost with a worker."""

SUMS = 3
"""Sums for each worker: one may take as much memory as a network's histograms."""


class Cluster:
    """The workers of a Dask cluster."""

    def __init__(self, client: Client) -> None:
        """Look at the workers; ClusterError where they cannot do the work."""
        self._connection = Connection(client)
        self._sent: dict[str, Any] = {}
        self._data: WeakKeyDictionary[Openable, Parcel] = WeakKeyDictionary()
        self._parcels: WeakKeyDictionary[Work[Any], tuple[Parcel, Parcel]] = WeakKeyDictionary()

    def map(
        self,
        work: Work[Mapped[Item, Found]],
        items: Sequence[Item],
        shared: object = None,
        finished: Finished = unheard,
    ) -> Iterator[Found]:
        """Yield what is found for each item, in their order."""
        if not self._travels(work):
            yield from HERE.map(work, items, shared, finished)
            return
        portions = _portions(items, min(MOST_ITEMS, self._share(items, PORTIONS)))
        futures = self._submitted(parcels.mapped, work, portions, shared)
        sizes = [len(portion) for portion in portions]
        for found in self._connection.in_order(futures, sizes, finished):
            yield from found

    def total(
        self,
        work: Work[Summed[Item, Total]],
        items: Sequence[Item],
        shared: object = None,
        finished: Finished = unheard,
    ) -> Total:
        """Return the sum over all items: neighbours are merged on the workers."""
        if not self._travels(work):
            return HERE.total(work, items, shared, finished)
        portions = _portions(items, self._share(items, SUMS))
        leaves = self._submitted(parcels.summed, work, portions, shared)
        recipe, data = self._sent_for(work)
        sums = leaves
        while len(sums) > 1:
            paired = []
            for one, other in zip(sums[::2], sums[1::2], strict=False):
                paired.append(self._connection.submitted(parcels.merged, recipe, data, one, other))
            odd = sums[-1:] if len(sums) % 2 else []
            sums = [*paired, *odd]
        sizes = [len(portion) for portion in portions]
        self._connection.ended(leaves, sizes, finished)
        total: Total
        (total,) = self._connection.in_order(sums, [0], unheard)
        return total

    def _submitted(
        self,
        function: Callable[..., Any],
        work: Work[Any],
        portions: Sequence[Any],
        shared: object,
    ) -> list[Any]:
        """Return the futures of a function of each portion."""
        recipe, data = self._sent_for(work)
        common = None if shared is None else self._connection.sent(shared)
        submitted = self._connection.submitted
        return [submitted(function, recipe, data, portion, common) for portion in portions]

    def _travels(self, work: Work[Any]) -> bool:
        """Pack some work, and return whether it can be sent; a note says why not."""
        if work not in self._parcels:
            try:
                self._parcels[work] = (Parcel.of(work.recipe()), self._packed(work.data()))
            except StaysHere as reason:
                NOTES.info("%s: what it computes is computed here, not by the workers", reason)
                return False
        return True

    def _sent_for(self, work: Work[Any]) -> tuple[Any, Any]:
        """Return recipe and data of some work on the workers, which get each of them once."""
        parts = self._parcels[work]
        # what nobody computes with any more may go
        needed = {parcel.key for pair in self._parcels.values() for parcel in pair}
        for key in set(self._sent) - needed:
            del self._sent[key]
        for parcel in parts:
            if parcel.key not in self._sent:
                self._sent[parcel.key] = self._connection.sent(parcel)
        recipe, data = parts
        return self._sent[recipe.key], self._sent[data.key]

    def _packed(self, data: Openable) -> Parcel:
        """Return the parcel of data, packed once for all work on them."""
        if data not in self._data:
            self._data[data] = Parcel.of(data)
        return self._data[data]

    def _share(self, items: Sequence[object], each: int) -> int:
        """Return how many items make `each` portions for each worker."""
        portions = each * max(1, self._connection.workers())
        return max(1, -(-len(items) // portions))


def _portions(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Return items in groups of a size; the last one has what is left."""
    starts = range(0, len(items), size)
    return [list(items[start : start + size]) for start in starts]
