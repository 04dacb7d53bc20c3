"""Parcels: what travels to a worker once, and is opened there once.

These functions run on the workers.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from onnx2snn.errors import Onnx2snnError
from onnx2snn.version import __version__

MOST_OPEN = 2
"""Parcels of a kind that a worker keeps open, those that were used last."""


@dataclass(frozen=True)
class Parcel:
    """Something pickled, and the hash of its bytes."""

    key: str
    content: bytes

    @classmethod
    def of(cls, thing: object) -> Parcel:
        """Return the parcel of something that can be pickled."""
        content = pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
        return cls(hashlib.sha256(content).hexdigest(), content)

    def unpacked(self) -> Any:
        """Return what is in it."""
        return pickle.loads(self.content)


@dataclass(frozen=True)
class Refusal:
    """An error raised on purpose: it would come again, so a worker returns it."""

    error: Onnx2snnError


_lock = threading.RLock()
"""A worker computes one portion of items at a time: sessions have threads of their own."""

_open_data: OrderedDict[str, Any] = OrderedDict()
_open_work: OrderedDict[str, Any] = OrderedDict()


def versions() -> str:
    """Return the version of this package on a worker."""
    return __version__


def handed_on(thing: object) -> object:
    """Return what was sent: the task that holds it is done again where it was lost."""
    return thing


def mapped(recipe: Parcel, data: Parcel, items: Sequence[Any], shared: object) -> Any:
    """Return what some work finds for each of some items."""

    def compute(work: Any) -> list[Any]:
        return list(work.compute(items, shared))

    return _computed(recipe, data, compute)


def summed(recipe: Parcel, data: Parcel, items: Sequence[Any], shared: object) -> Any:
    """Return the sum of some work over some items."""

    def compute(work: Any) -> Any:
        total = work.start()
        for more in work.added(total, items, shared):
            total = more
        return total

    return _computed(recipe, data, compute)


def merged(recipe: Parcel, data: Parcel, total: Any, other: Any) -> Any:
    """Return the sum of two sums, neither of which is changed: another worker may need them."""
    for part in (total, other):
        if isinstance(part, Refusal):
            return part

    def compute(work: Any) -> Any:
        return work.merge(work.merge(work.start(), total), other)

    return _computed(recipe, data, compute)


def _computed(recipe: Parcel, data: Parcel, compute: Callable[[Any], Any]) -> Any:
    """Return what is computed with some work, opened before where it can be."""
    with _lock:
        try:
            samples = _kept(_open_data, data.key, lambda: data.unpacked().open())
            work = _kept(
                _open_work,
                recipe.key + data.key,
                lambda: recipe.unpacked().open(samples, _threads()),
            )
            return compute(work)
        except Onnx2snnError as error:
            return Refusal(error)


def _kept(kept: OrderedDict[str, Any], key: str, make: Callable[[], Any]) -> Any:
    """Return what is kept by a key, or make it."""
    if key not in kept:
        while len(kept) >= MOST_OPEN:
            kept.popitem(last=False)
        kept[key] = make()
    kept.move_to_end(key)
    return kept[key]


def _threads() -> int:
    """Return the number of threads that this worker was given."""
    from distributed import get_worker

    return int(get_worker().state.nthreads)
