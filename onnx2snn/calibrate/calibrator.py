"""An onnxruntime session of the ANN with thresholds as inputs and per-channel statistics as outputs; it streams.

Statistics leave the graph, of single activations at most their bins: memory is that of one batch, whatever the number
of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array, Progress
from onnx2snn.calibrate import rules
from onnx2snn.calibrate.instrument import BINS, RATE, instrument, threshold_input
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.graph.editing import to_proto
from onnx2snn.prepare.job import Job
from onnx2snn.protos.sessions import open_session

CACHED = 2**21
"""Activations of the largest site in one pass: more would leave the processor's cache from operator to operator."""


class Calibrator:
    """Streams batches through an instrumented graph."""

    def __init__(self, job: Job) -> None:
        """Choose the size of a pass.

        `settings.batch_size` samples make an iteration, in several passes where activations are large or the model's
        batch is fixed. Passes of a fixed batch are whole as far as there are samples enough: what fills a pass up would
        count twice.
        """
        settings = job.settings
        self.graph, self.sites, self.samples, self.threads = (
            job.graph,
            job.sites,
            job.samples,
            job.threads,
        )
        self.granularity = settings.granularity
        self.fixed = job.fixed_batch
        self.batch = max(1, whole_passes(min(settings.batch_size, len(job.samples)), self.fixed))
        self.size = self.fixed or max(
            1, CACHED // max((site.neurons for site in self.sites), default=1)
        )

    def open(self, statistic: str) -> ort.InferenceSession:
        """A session that returns the statistic of each site."""
        graph = instrument(self.graph, self.sites, statistic, self.granularity)
        return open_session(to_proto(graph), self.threads)

    def passes(self, indices: Array) -> list[Array]:
        """The samples of each pass of one iteration, as equal in number as can be; a fixed batch is filled up."""
        if self.fixed is None:
            return np.array_split(indices, -(-len(indices) // self.size))
        return [
            np.resize(indices[n : n + self.size], self.size)
            for n in range(0, len(indices), self.size)
        ]

    def statistics(
        self, session: ort.InferenceSession, indices: Array, extra: dict[str, Array]
    ) -> list[list[Array]]:
        """Per site, the statistic of each pass over these samples."""
        taken = {i.name for i in session.get_inputs()}
        results = []
        for few in self.passes(indices):
            feed = {name: value for name, value in self.samples.batch(few).items() if name in taken}
            results.append(session.run(None, feed | extra))
        return [list(site) for site in zip(*results, strict=True)]

    def averages(
        self, session: ort.InferenceSession, indices: Array, extra: dict[str, Array]
    ) -> list[Array]:
        """Per site, the statistic averaged over these samples."""
        sizes = [len(few) for few in self.passes(indices)]
        found = self.statistics(session, indices, extra)
        return [np.average(np.asarray(site, np.float64), axis=0, weights=sizes) for site in found]

    def theta_feeds(self, thetas: Sequence[Array]) -> dict[str, Array]:
        """Thresholds as inputs of an instrumented graph."""
        return {
            threshold_input(s): t.astype(np.float32)
            for s, t in zip(self.sites, thetas, strict=True)
        }

    def epoch(self, every: bool = False) -> list[Array]:
        """All samples in order, in batches; without `every`, less those that would not fill a pass."""
        count = len(self.samples)
        order = np.arange(count if every else whole_passes(count, self.fixed))
        return [order[start : start + self.batch] for start in range(0, len(order), self.batch)]

    def means(self) -> list[Array]:
        """Mean activation per channel over one pass through the samples (ANN units)."""
        session = self.open("mean")
        totals: list[Array] = [np.zeros(s.threshold_shape(self.granularity)) for s in self.sites]
        batches = self.epoch()
        for indices in batches:
            for total, found in zip(totals, self.averages(session, indices, {}), strict=True):
                total += found * len(indices)
        return [total / sum(map(len, batches)) for total in totals]

    def maxima(self, progress: Progress) -> list[Array]:
        """Largest activation per channel (or per site) over one pass through the samples (ANN units)."""
        session = self.open("maximum")
        tops: list[Array] = [np.zeros(s.threshold_shape(self.granularity)) for s in self.sites]
        batches = self.epoch(every=True)
        for done, indices in enumerate(batches, 1):
            found = self.statistics(session, indices, {})
            tops = [np.maximum(top, np.max(f, axis=0)) for top, f in zip(tops, found, strict=True)]
            progress("maxima", done, len(batches))
        return tops

    def local(
        self, iterations: int, seed: int, progress: Progress, rate: float = 1.0
    ) -> list[Array]:
        """Local threshold balancing (paper, eq. 11-15): θ from 0, one update a batch, all sites in one forward pass.

        Where a batch takes several passes, each clips at θ updated by its own samples, and θ by the average of all.
        """
        session = self.open("overshoot")
        thetas: list[Array] = [np.zeros(s.threshold_shape(self.granularity)) for s in self.sites]
        order = self._shuffled(seed)
        step = {RATE: np.array([2.0 * rate], np.float32)}
        for done in range(1, iterations + 1):
            found = self.averages(session, next(order), self.theta_feeds(thetas) | step)
            thetas = [
                rules.local_update(theta, g, rate, site.upper)
                for theta, g, site in zip(thetas, found, self.sites, strict=True)
            ]
            progress("local threshold balancing", done, iterations)
        return thetas

    def histograms(self, progress: Progress) -> list[tuple[Array, Array]]:
        """Per site the counts [rows, bins] of its activations and their maxima [rows], a row per threshold.

        One pass for the maxima, one for the counts, of some positions of a large map; memory is O(rows x bins).
        """
        tops = self.maxima(progress)
        safe = [np.where(top > 0, top, 1.0) for top in tops]
        session = self.open("histogram")
        counts: list[Array] = [np.zeros((top.size, BINS)) for top in tops]
        batches = self.epoch()
        for done, indices in enumerate(batches, 1):
            for total, bins in zip(
                counts, self.statistics(session, indices, self.theta_feeds(safe)), strict=True
            ):
                total += np.bincount(np.concatenate(bins), minlength=total.size).reshape(
                    total.shape
                )
            progress("histograms", done, len(batches))
        return [(count, top.ravel()) for count, top in zip(counts, tops, strict=True)]

    def from_histograms(
        self, rule: Callable[[Array, Array], Array], progress: Progress
    ) -> list[Array]:
        """Thresholds by a rule that takes each site's histogram and maxima."""
        shapes = [s.threshold_shape(self.granularity) for s in self.sites]
        found = self.histograms(progress)
        return [
            rule(count, top).reshape(shape)
            for (count, top), shape in zip(found, shapes, strict=True)
        ]

    def _shuffled(self, seed: int) -> Iterator[Array]:
        """Endless batches of equal size, each epoch in a new order."""
        rng = np.random.default_rng(seed)
        waiting = np.empty(0, np.int64)
        while True:
            while len(waiting) < self.batch:
                waiting = np.concatenate([waiting, rng.permutation(len(self.samples))])
            yield waiting[: self.batch]
            waiting = waiting[self.batch :]


def whole_passes(count: int, fixed: int | None) -> int:
    """The samples, of `count`, that fill passes of a fixed batch (all where the batch is free, or none fills one)."""
    return count - count % fixed if fixed is not None and count >= fixed else count


def calibrate(job: Job) -> Calibration:
    """Find thresholds by the method asked for (default: local threshold balancing; the maximum on random inputs).

    They are the largest outputs of a layer: `levels` times the threshold of a neuron that sends that many at once.
    """
    settings, progress = job.settings, job.progress
    method = settings.threshold_method
    run = Calibrator(job)
    by_method = {
        "local": lambda: run.local(settings.iterations, settings.seed, progress),
        "percentile": lambda: run.from_histograms(
            partial(rules.percentile, percent=settings.percentile), progress
        ),
        "mmse": lambda: run.from_histograms(
            partial(rules.mmse, timesteps=settings.steps * settings.height), progress
        ),
        "max": lambda: run.maxima(progress),
    }
    thresholds = tuple(by_method[method]())
    return Calibration(
        thresholds, tuple(run.means()), settings.calibration(method), calibrated=not job.data.random
    )
