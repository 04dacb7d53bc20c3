"""An onnxruntime session of the ANN with thresholds as inputs and per-channel statistics as outputs; it streams.

Only statistics leave the graph, never an activation: memory is that of one batch, whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import onnxruntime as ort

from . import _balance
from ._data import Samples
from ._graph import Array, Graph, to_proto
from ._instrument import BINS, RATE, instrument, threshold_input
from ._ort import open_session
from ._partition import Site
from ._progress import Progress
from ._settings import Settings
from ._specs import TensorSpec, fixed_batch
from ._thresholds import Calibration


class Calibrator:
    """Streams batches through an instrumented graph."""

    def __init__(
        self,
        graph: Graph,
        sites: Sequence[Site],
        samples: Samples,
        batch: int,
        granularity: str,
        inputs: Sequence[TensorSpec],
        threads: int | None,
    ) -> None:
        """`batch`: samples per iteration, in several passes where the model's own batch size is fixed."""
        self.graph, self.sites, self.samples, self.threads = graph, tuple(sites), samples, threads
        self.granularity = granularity
        self.fixed = fixed_batch(inputs)
        self.batch = max(1, min(batch, len(samples)))

    def open(self, statistic: str) -> ort.InferenceSession:
        """A session that returns the statistic of each site."""
        graph = instrument(self.graph, self.sites, statistic, self.granularity)
        return open_session(to_proto(graph), self.threads)

    def passes(self, indices: Array) -> Iterator[dict[str, Array]]:
        """The feeds of one iteration: one, or several where the model's batch size is fixed (the last is filled up)."""
        size = self.fixed or len(indices)
        for start in range(0, len(indices), size):
            yield self.samples.batch(np.resize(indices[start : start + size], size) if self.fixed else indices)

    def statistics(self, session: ort.InferenceSession, indices: Array, extra: dict[str, Array]) -> list[list[Array]]:
        """Per site, the statistic of each pass over these samples."""
        taken = {i.name for i in session.get_inputs()}
        results = []
        for feed in self.passes(indices):
            feed = {name: value for name, value in feed.items() if name in taken}
            results.append(session.run(None, feed | extra))
        return [list(site) for site in zip(*results, strict=True)]

    def theta_feeds(self, thetas: Sequence[Array]) -> dict[str, Array]:
        """Thresholds as inputs of an instrumented graph."""
        return {threshold_input(s): t.astype(np.float32) for s, t in zip(self.sites, thetas, strict=True)}

    def epoch(self) -> list[Array]:
        """All samples in order, in batches."""
        order = np.arange(len(self.samples))
        return [order[start : start + self.batch] for start in range(0, len(order), self.batch)]

    def means(self) -> list[Array]:
        """Mean activation per channel over one pass through the samples (ANN units)."""
        session = self.open("mean")
        totals: list[Array] = [np.zeros(s.threshold_shape(self.granularity)) for s in self.sites]
        for indices in self.epoch():
            for total, found in zip(totals, self.statistics(session, indices, {}), strict=True):
                total += np.mean(np.asarray(found, np.float64), axis=0) * len(indices)
        return [total / len(self.samples) for total in totals]

    def maxima(self, progress: Progress) -> list[Array]:
        """Largest activation per channel (or per site) over one pass through the samples (ANN units)."""
        session = self.open("maximum")
        tops: list[Array] = [np.zeros(s.threshold_shape(self.granularity)) for s in self.sites]
        batches = self.epoch()
        for done, indices in enumerate(batches, 1):
            found = self.statistics(session, indices, {})
            tops = [np.maximum(top, np.max(f, axis=0)) for top, f in zip(tops, found, strict=True)]
            progress("maxima", done, len(batches))
        return tops

    def local(self, iterations: int, seed: int, progress: Progress, rate: float = 1.0) -> list[Array]:
        """Local threshold balancing (paper, eq. 11-15): θ from 0, one update a batch, all sites in one forward pass."""
        session = self.open("overshoot")
        thetas: list[Array] = [np.zeros(s.threshold_shape(self.granularity)) for s in self.sites]
        order = self._shuffled(seed)
        step = {RATE: np.array([2.0 * rate], np.float32)}
        for done in range(1, iterations + 1):
            found = self.statistics(session, next(order), self.theta_feeds(thetas) | step)
            thetas = [
                _balance.local_update(theta, np.mean(np.asarray(g, np.float64), axis=0), rate, site.upper)
                for theta, g, site in zip(thetas, found, self.sites, strict=True)
            ]
            progress("local threshold balancing", done, iterations)
        return thetas

    def histograms(self, progress: Progress) -> list[tuple[Array, Array]]:
        """Per site the counts [rows, bins] of its activations and their maxima [rows], a row per threshold.

        One pass for the maxima, one for the counts; memory is O(rows x bins).
        """
        tops = self.maxima(progress)
        safe = [np.where(top > 0, top, 1.0) for top in tops]
        session = self.open("histogram")
        counts: list[Array] = [np.zeros((top.size, BINS)) for top in tops]
        batches = self.epoch()
        for done, indices in enumerate(batches, 1):
            for total, found in zip(counts, self.statistics(session, indices, self.theta_feeds(safe)), strict=True):
                total += np.sum(np.asarray(found, np.float64), axis=0).reshape(total.shape)
            progress("histograms", done, len(batches))
        return [(count, top.ravel()) for count, top in zip(counts, tops, strict=True)]

    def from_histograms(self, rule: Callable[[Array, Array], Array], progress: Progress) -> list[Array]:
        """Thresholds by a rule that takes each site's histogram and maxima."""
        shapes = [s.threshold_shape(self.granularity) for s in self.sites]
        found = self.histograms(progress)
        return [rule(count, top).reshape(shape) for (count, top), shape in zip(found, shapes, strict=True)]

    def _shuffled(self, seed: int) -> Iterator[Array]:
        """Endless batches of equal size, each epoch in a new order."""
        rng = np.random.default_rng(seed)
        waiting = np.empty(0, np.int64)
        while True:
            while len(waiting) < self.batch:
                waiting = np.concatenate([waiting, rng.permutation(len(self.samples))])
            yield waiting[: self.batch]
            waiting = waiting[self.batch :]


def calibrate(
    graph: Graph,
    sites: Sequence[Site],
    samples: Samples,
    inputs: Sequence[TensorSpec],
    settings: Settings,
    progress: Progress,
    *,
    random: bool,
) -> Calibration:
    """Thresholds by the method asked for (default: local threshold balancing; the maximum on random inputs).

    They are the largest outputs of a layer: `levels` times the threshold of a neuron that sends that many at once.
    """
    method = str(settings.chosen("method"))
    run = Calibrator(graph, sites, samples, settings.batch_size, settings.granularity, inputs, settings.threads)
    rules = {
        "local": lambda: run.local(settings.iterations, settings.seed, progress),
        "percentile": lambda: run.from_histograms(partial(_balance.percentile, percent=settings.percentile), progress),
        "mmse": lambda: run.from_histograms(
            partial(_balance.mmse, timesteps=settings.steps * settings.levels), progress
        ),
        "max": lambda: run.maxima(progress),
    }
    return Calibration(tuple(rules[method]()), tuple(run.means()), settings.calibration(method), calibrated=not random)
