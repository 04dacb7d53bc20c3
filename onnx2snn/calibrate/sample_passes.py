"""Which samples run together: batches, epochs, and the passes that a batch takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.batches import Batch, batches_of
from onnx2snn.data.samples import Samples
from onnx2snn.prepare.job import Job

CACHED = 2**21
"""Activations of the largest site in one pass: more would leave the processor's cache."""


@dataclass(frozen=True)
class SamplePasses:
    """Samples in batches of `batch`, each run in passes of at most `size`.

    A batch is an iteration of local threshold balancing. It takes several passes where activations
    are large or the model's batch is fixed. Passes of a fixed batch are whole as far as there are
    samples enough: what fills a pass up would count twice.
    """

    samples: Samples
    fixed: int | None
    """The batch size that the model insists on."""
    batch: int
    size: int

    @classmethod
    def of_job(cls, job: Job) -> SamplePasses:
        """Choose the sizes of a batch and of a pass."""
        fixed = job.fixed_batch
        asked = min(job.settings.batch_size, len(job.samples))
        batch = max(1, whole_passes(asked, fixed))
        neurons = [site.neurons for site in job.sites]
        cached = CACHED // max(neurons, default=1)
        return cls(job.samples, fixed, batch, fixed or max(1, cached))

    def limited(self, size: int) -> SamplePasses:
        """Return the same batches in passes of at most `size` samples, where theirs is free."""
        return replace(self, size=self.fixed or min(self.size, size))

    def of(self, items: Sequence[Array]) -> Iterator[Batch]:
        """Yield the samples of some batches pass by pass."""
        passes = chain.from_iterable(map(self.split, items))
        return batches_of(self.samples, passes, self.fixed)

    def split(self, indices: Array) -> list[Array]:
        """Return the samples of each pass through some, as equal in number as can be."""
        if self.fixed is None:
            count = -(-len(indices) // self.size)
            return np.array_split(indices, count)
        return _split(indices, self.size)

    def epoch(self) -> list[Array]:
        """Return the samples that fill passes, in order, in batches."""
        count = whole_passes(len(self.samples), self.fixed)
        return _split(np.arange(count), self.batch)

    def rest(self) -> list[Array]:
        """Return the batch of the samples that fill no pass, if there are any."""
        indices = np.arange(whole_passes(len(self.samples), self.fixed), len(self.samples))
        return [indices] if len(indices) else []

    def shuffled(self, seed: int) -> Iterator[Array]:
        """Yield batches of equal size without end, each epoch in a new order."""
        rng = np.random.default_rng(seed)
        waiting = np.empty(0, np.int64)
        while True:
            while len(waiting) < self.batch:
                epoch = rng.permutation(len(self.samples))
                waiting = np.concatenate([waiting, epoch])
            yield waiting[: self.batch]
            waiting = waiting[self.batch :]


def whole_passes(count: int, fixed: int | None) -> int:
    """Return how many of `count` samples fill passes of a fixed batch.

    These are all where the batch is free, or where there are too few to fill one pass.
    """
    if fixed is None or count < fixed:
        return count
    return count - count % fixed


def _split(indices: Array, size: int) -> list[Array]:
    """Return numbers in groups of a size; the last one has what is left."""
    starts = range(size, len(indices), size)
    return np.split(indices, list(starts))
