"""Batches of samples in order.

A model with a fixed batch size gets full batches: the last one is filled up with samples that come
again, and what filled it up is left out of the outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.aliases import Array
from onnx2snn.data.ahead import ahead
from onnx2snn.data.samples import Samples
from onnx2snn.protos.batch_arrays import OutputPlace, samples_of
from onnx2snn.protos.batch_types import BatchAxis

Span = tuple[int, int]
"""The first sample of a batch, and the one behind its last."""


@dataclass(frozen=True)
class Batch:
    """Samples that run together.

    `indices`: their numbers, int64 [count]. `feed`: their inputs by name, filled up to a fixed
    batch with samples that come again.
    """

    indices: Array
    feed: dict[str, Array]

    @property
    def count(self) -> int:
        """Number of its samples, without those that fill it up."""
        return len(self.indices)

    @property
    def first(self) -> int:
        """Number of its first sample."""
        return int(self.indices[0])

    @property
    def fed(self) -> int:
        """Number of samples in its feed, with those that fill it up."""
        counts = [len(values) for values in self.feed.values() if values.ndim]
        return counts[0]

    @property
    def is_filled_up(self) -> bool:
        """Whether samples come again in its feed."""
        return self.count < self.fed

    def own(self, outputs: Sequence[Array], places: Sequence[OutputPlace]) -> list[Array]:
        """Return the outputs of its own samples alone, which are where `places` says."""
        if not self.is_filled_up:
            return list(outputs)
        own = []
        for output, place in zip(outputs, places, strict=True):
            if isinstance(place, BatchAxis):
                own.append(samples_of(output, place, 0, self.count))
            else:
                own.append(output)
        return own


def filled(samples: Samples, indices: ArrayLike, fixed: int | None) -> Batch:
    """Return the batch of some samples; they are repeated until a fixed batch size is reached."""
    own = np.asarray(indices, np.int64).reshape(-1)
    fed = own
    if fixed is not None:
        fed = np.resize(own, fixed)  # repeats them, or cuts them off
    return Batch(own, samples.batch(fed))


def batches(
    samples: Samples, size: int, fixed: int | None, count: int | None = None
) -> Iterator[Batch]:
    """Yield samples in order, batch by batch, as `batches_of` does.

    Args:
        samples: Where they are read from.
        size: Number of samples in a batch, where the batch size is not fixed.
        fixed: The batch size a model insists on, or None.
        count: Number of samples in all (None: all there are).
    """
    total = len(samples) if count is None else count
    return batches_at(samples, spans(total, fixed or size), fixed)


def spans(total: int, step: int) -> list[Span]:
    """Return where batches of `step` samples start and stop; the last one may have fewer."""
    return [(start, min(start + step, total)) for start in range(0, total, step)]


def batches_at(samples: Samples, places: Iterable[Span], fixed: int | None) -> Iterator[Batch]:
    """Yield the batches at some places, as `batches_of` does."""
    return batches_of(samples, (np.arange(*span) for span in places), fixed)


def batches_of(samples: Samples, several: Iterable[Array], fixed: int | None) -> Iterator[Batch]:
    """Yield the batches of some samples after others.

    Where reading samples takes work, such as decoding images, it is one batch ahead.
    """
    made = (filled(samples, indices, fixed) for indices in several)
    return ahead(made) if samples.takes_work else made
