"""An onnxruntime session of the ANN with thresholds as inputs and a statistic per site as output.

Batches of samples stream through it. Statistics leave the graph, of single activations at most
their bins: memory is that of one batch, however many samples there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TypeVar, cast

import numpy as np
import onnx

from onnx2snn.aliases import Array, Progress, silent_progress
from onnx2snn.calibrate import rules, settling
from onnx2snn.calibrate.histograms import Counter, Histogram, HistogramRule
from onnx2snn.calibrate.instrument import RATE, instrument, threshold_input
from onnx2snn.calibrate.sample_passes import SamplePasses
from onnx2snn.calibrate.saved import Calibration, CalibrationSettings
from onnx2snn.calibrate.statistics import (
    Counts,
    Feed,
    Probing,
    StatisticRecipe,
    Statistics,
    Summaries,
    Summary,
    Taken,
)
from onnx2snn.data.elsewhere import openable
from onnx2snn.graph.editing import to_proto
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.freeing import give_back
from onnx2snn.spread.messages import message
from onnx2snn.spread.work import HERE, Finished, Openable, Work

Kind = TypeVar("Kind", bound=Probing)


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
    """Streams batches through an instrumented graph, here or on the workers of a cluster."""

    def __init__(self, job: Job, *, signed: bool = False) -> None:
        """Choose the sizes of a batch and of a pass; `signed`: values at sites may be negative."""
        self.job = job
        self.signed = signed
        self.centres: Sequence[Array] | None = None
        """What is subtracted of each site before sizes are measured (`instrument`)."""
        self.sites = job.sites
        self.passes = SamplePasses.of_job(job)
        self._summaries: list[Summary] = []
        """Of each site, once they are found."""
        self.balanced = 0
        """Mini-batches that local threshold balancing took."""

    def work(self, statistic: str, kind: type[Kind]) -> Work[Kind]:
        """Return the work that takes a statistic of each site.

        Args:
            statistic: One of `instrument.PROBES`.
            kind: What is made of it.
        """
        shapes = [self._shape(site) for site in self.sites]
        threads = self.job.threads

        def here() -> Kind:
            return kind.opened(self._instrumented(statistic), threads, self.passes, shapes)

        def recipe() -> StatisticRecipe:
            model = message(self._instrumented(statistic), "the network")
            passes = self.passes
            return StatisticRecipe(
                kind, model, shapes, threads, passes.fixed, passes.batch, passes.size
            )

        return Work(here, recipe, lambda: self._data)

    def _instrumented(self, statistic: str) -> onnx.ModelProto:
        job = self.job
        granularity = job.settings.granularity
        samples = len(job.samples)
        # means and extremes are known before the centres
        centres = None if statistic == "summary" else self.centres
        graph = instrument(
            job.graph,
            self.sites,
            statistic,
            granularity,
            samples=samples,
            centres=centres,
            signed=self.signed,
        )
        return to_proto(graph)

    @cached_property
    def _data(self) -> Openable:
        return openable(self.job.samples)

    def theta_feeds(self, thetas: Sequence[Array]) -> Feed:
        """Return thresholds as inputs of an instrumented graph."""
        feeds = {}
        for site, theta in zip(self.sites, thetas, strict=True):
            name = threshold_input(site)
            feeds[name] = theta.astype(np.float32)
        return feeds

    def means(self, progress: Progress = silent_progress) -> list[Array]:
        """Return the mean activations over the samples, in ANN units."""
        return [summary.mean for summary in self._summarised(progress)]

    def maxima(self, progress: Progress) -> list[Array]:
        """Return the largest activations over the samples, in ANN units."""
        found = self._summarised(progress)
        if self.centres is None:
            return [np.maximum(summary.largest, 0.0).astype(np.float64) for summary in found]
        sizes = []
        for summary, centre in zip(found, self.centres, strict=True):
            minus = (-centre).astype(np.float32)
            # the largest |y - m| is that of the largest or the least y, rounding included
            above, below = np.abs(summary.largest + minus), np.abs(summary.least + minus)
            sizes.append(np.maximum(above, below).astype(np.float64))
        return sizes

    def _summarised(self, progress: Progress) -> list[Summary]:
        """Return the summary of each site; the first time that takes a pass through the samples."""
        if self._summaries:
            return self._summaries
        whole = self.passes.epoch()
        # what fills up a pass counts in no mean
        batches = [*whole, *self.passes.rest()]
        finished = _telling(progress, "maxima", len(batches))
        work = self.work("summary", Summaries)
        taken = self.job.spread.map(work, batches, None, finished)
        totals = self._zeros()
        found: list[Summary] = []
        for number, (indices, of_batch) in enumerate(zip(batches, taken, strict=True)):
            if number < len(whole):
                for total, summary in zip(totals, of_batch, strict=True):
                    total += summary.mean * len(indices)
            pairs = zip(found or of_batch, of_batch, strict=True)
            found = [before.widened(summary) for before, summary in pairs]
        count = sum(map(len, whole))
        self._summaries = [
            replace(summary, mean=total / count)
            for summary, total in zip(found, totals, strict=True)
        ]
        return self._summaries

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
        work = self.work("overshoot", Statistics)
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
            found = _averages(self._by_pass(work, indices, feeds))
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

    def _by_pass(self, work: Work[Statistics], indices: Array, feeds: Feed) -> list[Taken]:
        """Return a statistic of each pass over a batch: a cluster shares them out."""
        passes = self.passes.split(indices)
        if self.job.spread is HERE or len(passes) == 1:
            return list(HERE.map(work, [indices], feeds))
        return list(self.job.spread.map(work, passes, feeds))

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
        # the bins of a silent channel have any width but 0
        spans = [np.where(maximum > 0, maximum, 1.0) for maximum in maxima]
        feeds = self.theta_feeds(spans)
        batches = self.passes.epoch()
        finished = _telling(progress, "histograms", len(batches))
        return self.job.spread.total(self.work("histogram", Counts), batches, feeds, finished)

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


def _averages(taken: Sequence[Taken]) -> list[Array]:
    """Return, per site, a statistic averaged over all samples of some passes."""
    sizes = [size for part in taken for size in part.sizes]
    outputs = zip(*(part.by_output for part in taken), strict=True)
    by_output = [[value for passes in several for value in passes] for several in outputs]
    return Taken(by_output, sizes).averages()


def _telling(progress: Progress, stage: str, total: int) -> Finished:
    """Return what tells of batches that are done."""

    def finished(done: int) -> None:
        progress(stage, done, total)

    return finished
