"""An onnxruntime session of the ANN with thresholds as inputs and a statistic per site as output.

Batches of samples stream through it. Statistics leave the graph, of single activations at most
their bins: memory is that of one batch, however many samples there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array, Progress
from onnx2snn.calibrate import rules
from onnx2snn.calibrate.instrument import BINS, RATE, instrument, threshold_input
from onnx2snn.calibrate.saved import Calibration, CalibrationSettings
from onnx2snn.data.batches import Batch, filled
from onnx2snn.graph.editing import to_proto
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.sessions import open_session

CACHED = 2**21
"""Activations of the largest site in one pass: more would leave the processor's cache."""

HistogramRule = Callable[[Array, Array], Array]
"""A histogram [rows, bins] and its maxima [rows] become thresholds [rows]."""


def calibrate(job: Job) -> Calibration:
    """Find thresholds by the method asked for.

    They are the largest outputs of a layer: `levels` times the threshold of a neuron that sends
    that many at once.
    """
    settings = job.settings
    method = settings.threshold_method
    run = Calibrator(job)
    thresholds = _by_method(run, method, job)
    decided = cast(CalibrationSettings, settings.calibration(method))
    means = run.means()
    return Calibration(tuple(thresholds), tuple(means), decided, calibrated=not job.data.random)


def _by_method(run: Calibrator, method: str, job: Job) -> list[Array]:
    settings, progress = job.settings, job.progress
    if method == "local":
        return run.local(settings.iterations, settings.seed, progress)
    if method == "percentile":
        robust = partial(rules.percentile, percent=settings.percentile)
        return run.from_histograms(robust, progress)
    if method == "mmse":
        # spikes of several thresholds' height are like so many more steps
        levels = settings.steps * settings.height
        least = partial(rules.mmse, timesteps=levels)
        return run.from_histograms(least, progress)
    assert method == "max"
    return run.maxima(progress)


class Calibrator:
    """Streams batches through an instrumented graph.

    A batch (`batch` samples) is an iteration of local threshold balancing. It takes several passes
    where activations are large or the model's batch is fixed. Passes of a fixed batch are whole as
    far as there are samples enough: what fills a pass up would count twice.
    """

    def __init__(self, job: Job) -> None:
        """Choose the sizes of a batch and of a pass."""
        self.job = job
        self.sites = job.sites
        self.fixed = job.fixed_batch
        asked = min(job.settings.batch_size, len(job.samples))
        self.batch = max(1, whole_passes(asked, self.fixed))
        largest = max((site.neurons for site in self.sites), default=1)
        self.size = self.fixed or max(1, CACHED // largest)

    def open(self, statistic: str) -> ort.InferenceSession:
        """Return a session that computes the statistic of each site."""
        granularity = self.job.settings.granularity
        graph = instrument(self.job.graph, self.sites, statistic, granularity)
        return open_session(to_proto(graph), self.job.threads)

    def passes(self, indices: Array) -> Iterator[Batch]:
        """Yield some samples pass by pass, as equal in number as can be."""
        count = len(indices)
        if self.fixed is None:
            several = np.array_split(indices, -(-count // self.size))
        else:
            several = [indices[start : start + self.size] for start in range(0, count, self.size)]
        for few in several:
            yield filled(self.job.samples, few, self.fixed)

    def statistics(
        self, session: ort.InferenceSession, indices: Array, extra: dict[str, Array]
    ) -> list[list[Array]]:
        """Return, per site, the statistic of each pass over some samples.

        Args:
            session: Where it is computed.
            indices: The samples.
            extra: The session's inputs beside the samples.
        """
        found, _ = self._run(session, indices, extra)
        return found

    def averages(
        self, session: ort.InferenceSession, indices: Array, extra: dict[str, Array]
    ) -> list[Array]:
        """Return, per site, the statistic averaged over some samples; `statistics` has the rest."""
        found, sizes = self._run(session, indices, extra)
        means = []
        for passes in found:
            values = np.asarray(passes, np.float64)
            means.append(np.average(values, axis=0, weights=sizes))
        return means

    def _run(
        self, session: ort.InferenceSession, indices: Array, extra: dict[str, Array]
    ) -> tuple[list[list[Array]], list[int]]:
        """Return the statistics, by site and pass, and how many samples each pass was fed."""
        taken = {value.name for value in session.get_inputs()}
        by_pass = []
        sizes = []
        for batch in self.passes(indices):
            feed = {name: values for name, values in batch.feed.items() if name in taken}
            by_pass.append(session.run(None, feed | extra))
            sizes.append(batch.fed)
        by_site = [list(site) for site in zip(*by_pass, strict=True)]
        return by_site, sizes

    def theta_feeds(self, thetas: Sequence[Array]) -> dict[str, Array]:
        """Return thresholds as inputs of an instrumented graph."""
        feeds = {}
        for site, theta in zip(self.sites, thetas, strict=True):
            feeds[threshold_input(site)] = theta.astype(np.float32)
        return feeds

    def epoch(self, every: bool = False) -> list[Array]:
        """Return all samples in order, in batches; without `every`, those that fill passes."""
        count = len(self.job.samples)
        if not every:
            count = whole_passes(count, self.fixed)
        order = np.arange(count)
        return [order[start : start + self.batch] for start in range(0, count, self.batch)]

    def means(self) -> list[Array]:
        """Return the mean activations over one pass through the samples, in ANN units."""
        session = self.open("mean")
        totals = self._zeros()
        count = 0
        for indices in self.epoch():
            found = self.averages(session, indices, {})
            for total, mean in zip(totals, found, strict=True):
                total += mean * len(indices)
            count += len(indices)
        return [total / count for total in totals]

    def maxima(self, progress: Progress) -> list[Array]:
        """Return the largest activations over one pass through the samples, in ANN units."""
        session = self.open("maximum")
        maxima = self._zeros()
        batches = self.epoch(every=True)
        for done, indices in enumerate(batches, 1):
            found = self.statistics(session, indices, {})
            for index, passes in enumerate(found):
                largest = np.max(passes, axis=0)
                maxima[index] = np.maximum(maxima[index], largest)
            progress("maxima", done, len(batches))
        return maxima

    def local(
        self, iterations: int, seed: int, progress: Progress, rate: float = 1.0
    ) -> list[Array]:
        """Balance thresholds locally (paper, eq. 11-15), all sites in one forward pass.

        Where a batch takes several passes, each clips at θ updated by its own samples, and θ is
        updated by the average of all.

        Args:
            iterations: Batches, each an update of θ, which starts at 0.
            seed: Of the order of the samples.
            progress: Called after each.
            rate: The step size η.

        Returns:
            Thresholds in ANN units, those of silent channels 0.
        """
        session = self.open("overshoot")
        thetas = self._zeros()
        order = self._shuffled(seed)
        step = {RATE: np.array([2.0 * rate], np.float32)}
        for done in range(1, iterations + 1):
            found = self.averages(session, next(order), self.theta_feeds(thetas) | step)
            for index, overshoot in enumerate(found):
                upper = self.sites[index].upper
                thetas[index] = rules.local_update(thetas[index], overshoot, rate, upper)
            progress("local threshold balancing", done, iterations)
        return thetas

    def histograms(self, progress: Progress) -> list[tuple[Array, Array]]:
        """Return per site the counts [rows, bins] of its activations and their maxima [rows].

        A row is a threshold. One pass through the samples finds the maxima, one the counts, of
        some positions of a large map; memory is O(rows x bins).
        """
        maxima = self.maxima(progress)
        session = self.open("histogram")
        # the bins of a silent channel have any width but 0
        feeds = self.theta_feeds([np.where(top > 0, top, 1.0) for top in maxima])
        counts: list[Array] = [np.zeros((top.size, BINS)) for top in maxima]
        batches = self.epoch()
        for done, indices in enumerate(batches, 1):
            found = self.statistics(session, indices, feeds)
            for count, passes in zip(counts, found, strict=True):
                # a bin is numbered row · bins + its own number
                flat = np.bincount(np.concatenate(passes), minlength=count.size)
                count += flat.reshape(count.shape)
            progress("histograms", done, len(batches))
        return [(count, top.ravel()) for count, top in zip(counts, maxima, strict=True)]

    def from_histograms(self, rule: HistogramRule, progress: Progress) -> list[Array]:
        """Return thresholds by a rule that takes each site's histogram and maxima."""
        found = self.histograms(progress)
        thetas = []
        for site, (counts, maxima) in zip(self.sites, found, strict=True):
            theta = rule(counts, maxima)
            thetas.append(theta.reshape(self._shape(site)))
        return thetas

    def _shuffled(self, seed: int) -> Iterator[Array]:
        """Yield batches of equal size without end, each epoch in a new order."""
        rng = np.random.default_rng(seed)
        waiting = np.empty(0, np.int64)
        while True:
            while len(waiting) < self.batch:
                epoch = rng.permutation(len(self.job.samples))
                waiting = np.concatenate([waiting, epoch])
            yield waiting[: self.batch]
            waiting = waiting[self.batch :]

    def _shape(self, site: Site) -> tuple[int, ...]:
        return site.threshold_shape(self.job.settings.granularity)

    def _zeros(self) -> list[Array]:
        """Return a zero for each threshold, per site."""
        return [np.zeros(self._shape(site)) for site in self.sites]


def whole_passes(count: int, fixed: int | None) -> int:
    """Return how many of `count` samples fill passes of a fixed batch.

    These are all where the batch is free, or where there are too few to fill one pass.
    """
    if fixed is None or count < fixed:
        return count
    return count - count % fixed
