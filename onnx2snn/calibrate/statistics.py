"""A statistic of each site over samples, in this process or in another one.

An instrumented ANN takes it, pass by pass. Each class here is work on batches of samples, which
`StatisticRecipe` opens anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.calibrate.histograms import Counter
from onnx2snn.calibrate.instrument import BINS
from onnx2snn.calibrate.sample_passes import SamplePasses
from onnx2snn.data.samples import Samples
from onnx2snn.protos.sessions import open_own_session

Feed = dict[str, Array]
"""Inputs of a session by name."""

ByPass = list[Array]
"""A statistic of one site, from each of several passes."""

Shapes = Sequence[tuple[int, ...]]
"""Those of the thresholds of each site."""


@dataclass(frozen=True)
class Taken:
    """A statistic of each site, and how many samples each pass was fed."""

    by_site: list[ByPass]
    sizes: list[int]


@dataclass(frozen=True)
class Statistics:
    """The statistic of each pass."""

    session: ort.InferenceSession
    passes: SamplePasses
    shapes: Shapes

    def compute(self, items: Sequence[Array], shared: Feed | None) -> Iterator[Taken]:
        """Yield the statistic of each pass over each of some batches."""
        for indices in items:
            yield self.taken(indices, shared)

    def taken(self, indices: Array, extra: Feed | None) -> Taken:
        """Return the statistic of each pass over some samples.

        Args:
            indices: The samples.
            extra: The session's inputs beside the samples.
        """
        by_site: list[ByPass] = [[] for _ in self.shapes]
        sizes = []
        inputs = {value.name for value in self.session.get_inputs()}
        for batch in self.passes.of(indices):
            feed = dict(extra or {})
            for name in inputs.intersection(batch.feed):
                feed[name] = batch.feed[name]
            for passes, statistic in zip(by_site, self.session.run(None, feed), strict=True):
                passes.append(statistic)
            sizes.append(batch.fed)
        return Taken(by_site, sizes)


class Maxima(Statistics):
    """The largest values over all passes, at least 0."""

    def start(self) -> list[Array]:
        """Return those of no samples."""
        return [np.zeros(shape) for shape in self.shapes]

    def add(self, total: list[Array], indices: Array, extra: Feed | None) -> list[Array]:
        """Take in some samples."""
        found = self.taken(indices, extra)
        for maximum, passes in zip(total, found.by_site, strict=True):
            for largest in passes:
                np.maximum(maximum, largest, out=maximum)
        return total

    def merge(self, total: list[Array], other: list[Array]) -> list[Array]:
        """Take in the maxima of other samples."""
        for maximum, largest in zip(total, other, strict=True):
            np.maximum(maximum, largest, out=maximum)
        return total


class Counts(Statistics):
    """Histograms: how many values fell into each bin."""

    def start(self) -> list[Counter]:
        """Return those of no samples."""
        return [Counter(prod(shape), BINS) for shape in self.shapes]

    def add(self, total: list[Counter], indices: Array, extra: Feed | None) -> list[Counter]:
        """Take in some samples."""
        found = self.taken(indices, extra)
        for counter, passes in zip(total, found.by_site, strict=True):
            for numbers in passes:
                counter.add(numbers)
        return total

    def merge(self, total: list[Counter], other: list[Counter]) -> list[Counter]:
        """Take in the counts of other samples."""
        for counter, more in zip(total, other, strict=True):
            counter.merge(more)
        return total


@dataclass(frozen=True)
class StatisticRecipe:
    """A statistic without its samples."""

    kind: type[Statistics]
    model: bytes
    """The instrumented ANN."""
    shapes: Shapes
    threads: int | None
    fixed: int | None
    """Of the passes, as `SamplePasses` has it."""
    batch: int
    size: int

    def open(self, samples: Samples, threads: int) -> Statistics:
        """Return the statistic on some samples."""
        proto = onnx.ModelProto.FromString(self.model)
        asked = threads if self.threads is None else self.threads
        session = open_own_session(proto, asked)
        passes = SamplePasses(samples, self.fixed, self.batch, self.size)
        return self.kind(session, passes, self.shapes)
