"""A statistic of each site over samples, in this process or in another one.

An instrumented ANN takes it, pass by pass. Each class here is work on batches of samples, which
`StatisticRecipe` opens anywhere. Where each pass stands for itself several run side by side, each
by a thread: statistics are many small operators, which two threads compute no faster than one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Self

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.calibrate.histograms import Counter
from onnx2snn.calibrate.instrument import BINS
from onnx2snn.calibrate.sample_passes import SamplePasses
from onnx2snn.data.ahead import side_by_side
from onnx2snn.data.batches import Batch
from onnx2snn.data.samples import Samples
from onnx2snn.protos.sessions import open_own_session, shared_out

Feed = dict[str, Array]
"""Inputs of a session by name."""

Pass = tuple[list[Array], int]
"""What one pass returned, and how many samples it was fed."""

ByPass = list[Array]
"""One output, from each of several passes."""

Shapes = Sequence[tuple[int, ...]]
"""Those of the thresholds of each site."""

TOGETHER = 25
"""Samples of a pass that runs beside others."""


@dataclass(frozen=True)
class Taken:
    """What the instrumented ANN returned, and how many samples each pass was fed."""

    by_output: list[ByPass]
    sizes: list[int]

    def averages(self) -> list[Array]:
        """Return each output averaged over all samples."""
        return [_average(passes, self.sizes) for passes in self.by_output]


@dataclass(frozen=True)
class Probing:
    """An instrumented ANN, and the samples that stream through it."""

    together: ClassVar[int | None] = None
    """Samples of a pass where passes run side by side, at most; None: they do not."""

    session: ort.InferenceSession
    passes: SamplePasses
    shapes: Shapes
    workers: int

    @classmethod
    def opened(
        cls, model: onnx.ModelProto, threads: int | None, passes: SamplePasses, shapes: Shapes
    ) -> Self:
        """Open the instrumented ANN for some threads (None: all there are)."""
        if cls.together is None:
            return cls(open_own_session(model, threads), passes, shapes, 1)
        workers, each = shared_out(threads)
        return cls(open_own_session(model, each), passes.limited(cls.together), shapes, workers)

    def taken(self, items: Sequence[Array], extra: Feed | None) -> Iterator[Taken]:
        """Yield what the passes over each of some batches return; the arguments are `passed`'s."""
        for passes in self.passed(items, extra):
            several = list(passes)
            by_output = [list(values) for values in zip(*(of for of, _ in several), strict=True)]
            yield Taken(by_output, [fed for _, fed in several])

    def passed(self, items: Sequence[Array], extra: Feed | None) -> Iterator[Iterator[Pass]]:
        """Yield the passes over each of some batches, to be read before the next batch.

        Args:
            items: The samples of each batch.
            extra: The session's inputs beside the samples.
        """
        inputs = {value.name for value in self.session.get_inputs()}

        def run(batch: Batch) -> Pass:
            feed = dict(extra or {})
            for name in inputs.intersection(batch.feed):
                feed[name] = batch.feed[name]
            return self.session.run(None, feed), batch.fed

        found = side_by_side(run, self.passes.of(items), self.workers)
        for indices in items:
            yield islice(found, len(self.passes.split(indices)))


class Statistics(Probing):
    """The statistic of each site, of each pass."""

    def compute(self, items: Sequence[Array], shared: Feed | None) -> Iterator[Taken]:
        """Yield the statistics of each of some batches."""
        return self.taken(items, shared)


@dataclass(frozen=True)
class Summary:
    """The mean, the largest and the least of a site's values over some samples.

    `least`: 0 where values are known not to be negative.
    """

    mean: Array
    largest: Array
    least: Array

    def widened(self, other: Summary) -> Summary:
        """Return the same mean, with the extremes of other samples taken in."""
        largest = np.maximum(self.largest, other.largest)
        least = np.minimum(self.least, other.least)
        return Summary(self.mean, largest, least)


class Summaries(Probing):
    """The summary of each site, of each batch."""

    together = TOGETHER

    def compute(self, items: Sequence[Array], shared: Feed | None) -> Iterator[list[Summary]]:
        """Yield the summaries of each of some batches."""
        for found in self.taken(items, shared):
            each = len(found.by_output) // len(self.shapes)
            summaries = []
            for first in range(0, len(found.by_output), each):
                means, largest, *least = found.by_output[first : first + each]
                mean = _average(means, found.sizes)
                most = np.max(largest, axis=0)
                lowest = np.min(least[0], axis=0) if least else np.zeros_like(most)
                summaries.append(Summary(mean, most, lowest))
            yield summaries


class Counts(Probing):
    """Histograms: how many values fell into each bin."""

    together = TOGETHER

    def start(self) -> list[Counter]:
        """Return those of no samples."""
        return [Counter(shape, BINS) for shape in self.shapes]

    def added(
        self, total: list[Counter], items: Sequence[Array], shared: Feed | None
    ) -> Iterator[list[Counter]]:
        """Take in some batches, one after another."""
        for passes in self.passed(items, shared):
            # of large maps the numbers of a whole batch would take more room than the network
            for outputs, _ in passes:
                for counter, numbers in zip(total, outputs, strict=True):
                    counter.add(numbers)
            yield total

    def merge(self, total: list[Counter], other: list[Counter]) -> list[Counter]:
        """Take in the counts of other samples."""
        for counter, more in zip(total, other, strict=True):
            counter.merge(more)
        return total


@dataclass(frozen=True)
class StatisticRecipe:
    """A statistic without its samples."""

    kind: type[Probing]
    model: bytes
    """The instrumented ANN."""
    shapes: Shapes
    threads: int | None
    fixed: int | None
    """Of the passes, as `SamplePasses` has it."""
    batch: int
    size: int

    def open(self, samples: Samples, threads: int) -> Probing:
        """Return the statistic on some samples."""
        proto = onnx.ModelProto.FromString(self.model)
        asked = threads if self.threads is None else self.threads
        passes = SamplePasses(samples, self.fixed, self.batch, self.size)
        return self.kind.opened(proto, asked, passes, self.shapes)


def _average(passes: ByPass, sizes: Sequence[int]) -> Array:
    """Return the average of a statistic over all samples of some passes."""
    values = np.asarray(passes, np.float64)
    found: Array = np.average(values, axis=0, weights=sizes)
    return found
