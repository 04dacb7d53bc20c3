"""Batches of samples in order; a fixed batch is filled up, and what filled it up is left out of the outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onnx2snn.aliases import Array
from onnx2snn.data.samples import Samples
from onnx2snn.protos.specs import first_samples


@dataclass(frozen=True)
class Batch:
    """Samples that run together.

    `indices`: their numbers; `feed`: their inputs by name, filled up to a fixed batch with samples that come again.
    """

    indices: Array
    feed: dict[str, Array]

    @property
    def count(self) -> int:
        """Samples in it, those that fill it up left out."""
        return len(self.indices)

    @property
    def first(self) -> int:
        """Number of its first sample."""
        return int(self.indices[0])

    @property
    def fed(self) -> int:
        """Samples in its feed."""
        return len(next(iter(self.feed.values())))

    def own(self, outputs: Sequence[Array]) -> list[Array]:
        """Return the outputs of its own samples alone."""
        return first_samples(outputs, self.count)


def filled(samples: Samples, indices: ArrayLike, fixed: int | None) -> Batch:
    """Return the batch of some samples; with a fixed batch size they are repeated until it is full."""
    own = np.asarray(indices, np.int64).reshape(-1)
    return Batch(own, samples.batch(own if fixed is None else np.resize(own, fixed)))


def batches(
    samples: Samples, size: int, fixed: int | None, count: int | None = None
) -> Iterator[Batch]:
    """Yield samples in order, batch by batch.

    Args:
        samples: Where they are read from.
        size: Samples a batch, where the batch is not fixed.
        fixed: The batch size a model insists on, or None.
        count: How many samples in all (None: all there are).
    """
    total = len(samples) if count is None else count
    step = fixed or size
    for start in range(0, total, step):
        yield filled(samples, np.arange(start, min(start + step, total)), fixed)
