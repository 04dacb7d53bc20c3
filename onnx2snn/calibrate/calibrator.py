"""An onnxruntime session of the ANN with thresholds as inputs and a statistic per site as output.

Batches of samples stream through it. Statistics leave the graph, of single activations at most
their bins: memory is that of one batch, however many samples there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array, Progress
from onnx2snn.calibrate import rules, settling
from onnx2snn.calibrate.histograms import Counter, Histogram, HistogramRule
from onnx2snn.calibrate.instrument import BINS, RATE, instrument, threshold_input
from onnx2snn.calibrate.sample_passes import SamplePasses
from onnx2snn.calibrate.saved import Calibration, CalibrationSettings
from onnx2snn.graph.editing import to_proto
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.freeing import give_back
from onnx2snn.protos.sessions import open_own_session

Feed = dict[str, Array]
"""Inputs of a session by name."""

ByPass = list[Array]
"""A statistic of one site, from each of several passes."""


def calibrate(job: Job) -> Calibration:
    """Find thresholds by the method asked for.

    They are the largest outputs of a layer: `levels` times the threshold of a neuron that sends
    that many at once.
    """
    settings = job.settings
    method = settings.threshold_method
    run = Calibrator(job)
    thresholds = ceilings(run, method, job)
    means = run.means()
    decided = settings.calibration(method)
    if method == "local":
        decided["iterations"] = run.balanced
    return Calibration(
        thresholds=tuple(thresholds),
        means=tuple(means),
        settings=cast(CalibrationSettings, decided),
        calibrated=not job.data.random,
    )


def ceilings(run: Calibrator, method: str, job: Job) -> list[Array]:
    """Return the largest outputs of each layer by a method: `levels` times the threshold."""
    settings, progress = job.settings, job.progress
    if method == "local":
        return run.local(settings.iterations, settings.seed, progress)
    if method == "percentile":
        robust = partial(rules.percentile, percent=settings.percent)
        return run.from_histograms(robust, progress)
    if method == "mmse":
        # spikes of several thresholds' height are like so many more steps
        levels = settings.steps * settings.height
        least = partial(rules.mmse, timesteps=levels)
        return run.from_histograms(least, progress)
    assert method == "max"
    return run.maxima(progress)


class Calibrator:
    """Streams batches through an instrumented graph."""

    def __init__(self, job: Job) -> None:
        """Choose the sizes of a batch and of a pass."""
        self.job = job
        self.centres: Sequence[Array] | None = None
        """What is subtracted of each site before sizes are measured (`instrument`)."""
        self.sites = job.sites
        self.passes = SamplePasses(job)
        self.balanced = 0
        """Mini-batches that local threshold balancing took."""

    def open(self, statistic: str) -> ort.InferenceSession:
        """Return a session that computes the statistic of each site."""
        job = self.job
        granularity = job.settings.granularity
        samples = len(job.samples)
        graph = instrument(
            job.graph, self.sites, statistic, granularity, samples=samples, centres=self.centres
        )
        proto = to_proto(graph)
        return open_own_session(proto, job.threads)

    def statistics(
        self, session: ort.InferenceSession, indices: Array, extra: Feed
    ) -> list[ByPass]:
        """Return, per site, the statistic of each pass over some samples.

        Args:
            session: Where it is computed.
            indices: The samples.
            extra: The session's inputs beside the samples.
        """
        found, _ = self._run(session, indices, extra)
        return found

    def averages(self, session: ort.InferenceSession, indices: Array, extra: Feed) -> list[Array]:
        """Return, per site, the statistic averaged over some samples; `statistics` has the rest."""
        found, sizes = self._run(session, indices, extra)
        means = []
        for passes in found:
            values = np.asarray(passes, np.float64)
            mean = np.average(values, axis=0, weights=sizes)
            means.append(mean)
        return means

    def _run(
        self, session: ort.InferenceSession, indices: Array, extra: Feed
    ) -> tuple[list[ByPass], list[int]]:
        """Return the statistics by site, and how many samples each pass was fed."""
        by_site: list[ByPass] = [[] for _ in self.sites]
        sizes = []
        taken = {value.name for value in session.get_inputs()}
        for batch in self.passes.of(indices):
            feed = dict(extra)
            for name in taken.intersection(batch.feed):
                feed[name] = batch.feed[name]
            for passes, statistic in zip(by_site, session.run(None, feed), strict=True):
                passes.append(statistic)
            sizes.append(batch.fed)
        return by_site, sizes

    def theta_feeds(self, thetas: Sequence[Array]) -> Feed:
        """Return thresholds as inputs of an instrumented graph."""
        feeds = {}
        for site, theta in zip(self.sites, thetas, strict=True):
            name = threshold_input(site)
            feeds[name] = theta.astype(np.float32)
        return feeds

    def means(self) -> list[Array]:
        """Return the mean activations over one pass through the samples, in ANN units."""
        session = self.open("mean")
        totals = self._zeros()
        count = 0
        for indices in self.passes.epoch():
            found = self.averages(session, indices, {})
            for total, mean in zip(totals, found, strict=True):
                total += mean * len(indices)
            count += len(indices)
        return [total / count for total in totals]

    def maxima(self, progress: Progress) -> list[Array]:
        """Return the largest activations over one pass through the samples, in ANN units."""
        session = self.open("maximum")
        maxima = self._zeros()
        batches = self.passes.epoch(every=True)
        for done, indices in enumerate(batches, 1):
            found = self.statistics(session, indices, {})
            for maximum, passes in zip(maxima, found, strict=True):
                for largest in passes:
                    np.maximum(maximum, largest, out=maximum)
            progress("maxima", done, len(batches))
        return maxima

    def local(
        self, iterations: int | None, seed: int, progress: Progress, rate: float = 1.0
    ) -> list[Array]:
        """Balance thresholds locally (paper, eq. 11-15), all sites in one forward pass.

        Where a batch takes several passes, each clips at θ updated by its own samples, and θ is
        updated by the average of all.

        Args:
            iterations: Batches, each an update of θ, which starts at 0; None: until thresholds
                have settled, but at most 1,000.
            seed: Of the order of the samples.
            progress: Called after each.
            rate: The step size η.

        Returns:
            Thresholds in ANN units, those of silent channels 0.
        """
        session = self.open("overshoot")
        thetas = self._zeros()
        order = self.passes.shuffled(seed)
        doubled = np.array([2.0 * rate], np.float32)
        most = iterations or settling.MOST
        estimate = settling.Estimate(most, self.passes.batch, at_most=iterations is None)
        progression = settling.Settling()
        for done in range(1, most + 1):
            indices = next(order)
            feeds = self.theta_feeds(thetas)
            feeds[RATE] = doubled
            found = self.averages(session, indices, feeds)
            for index, site in enumerate(self.sites):
                theta = thetas[index]
                thetas[index] = rules.local_update(theta, found[index], rate, site.upper)
            estimate.tell(done)
            self.balanced = done
            if iterations is None and progression.settled(done, thetas):
                most = done
            progress("local threshold balancing", done, most)
            if done == most:
                break
        return thetas

    def histograms(self, progress: Progress) -> list[Histogram]:
        """Return the histogram of each site's activations.

        A row is a threshold. One pass through the samples finds the maxima, one the counts, of
        some positions of a large map; memory is O(rows x bins).
        """
        maxima = self.maxima(progress)
        counters = self._counted(maxima, progress)
        give_back()
        found = []
        for counter, maximum in zip(counters, maxima, strict=True):
            found.append(Histogram(counter.counts, maximum.ravel()))
        return found

    def _counted(self, maxima: Sequence[Array], progress: Progress) -> list[Counter]:
        """Count activations in bins up to given maxima."""
        session = self.open("histogram")
        # the bins of a silent channel have any width but 0
        spans = [np.where(maximum > 0, maximum, 1.0) for maximum in maxima]
        feeds = self.theta_feeds(spans)
        counters = [Counter(span.size, BINS) for span in spans]
        batches = self.passes.epoch()
        for done, indices in enumerate(batches, 1):
            found = self.statistics(session, indices, feeds)
            for counter, passes in zip(counters, found, strict=True):
                for numbers in passes:
                    counter.add(numbers)
            progress("histograms", done, len(batches))
        return counters

    def from_histograms(self, rule: HistogramRule, progress: Progress) -> list[Array]:
        """Return thresholds by a rule that takes rows of histograms and their maxima."""
        found = self.histograms(progress)
        thetas = []
        for site, histogram in zip(self.sites, found, strict=True):
            theta = histogram.by_row(rule)
            shape = self._shape(site)
            thetas.append(theta.reshape(shape))
        return thetas

    def _shape(self, site: Site) -> tuple[int, ...]:
        return site.threshold_shape(self.job.settings.granularity)

    def _zeros(self) -> list[Array]:
        """Return a zero for each threshold, per site."""
        shapes = [self._shape(site) for site in self.sites]
        return [np.zeros(shape) for shape in shapes]
