"""The subject of a page: the models and data that are run for what it shows beside the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array, Delay
from onnx2snn.data.batches import batches
from onnx2snn.data.samples import Samples
from onnx2snn.display.network import network_parts, threshold_quartiles
from onnx2snn.display.page_data import PageData, Raster
from onnx2snn.display.pictures import PictureRows, detection_rows, picture, segmentation_rows
from onnx2snn.errors import UsageError, quoted
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.sessions import open_session
from onnx2snn.protos.specs import fixed_batch, image_axes, input_specs, output_specs
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.detection import MeanAveragePrecision
from onnx2snn.score.metrics import IGNORE

RASTER_NEURONS = 96
RASTER_STEPS = 256
PICTURED = 4
"""Samples that are shown as pictures."""
PICTURED_METRICS = ("miou", "map")


@dataclass(frozen=True)
class Subject:
    """The models, samples and windows that a page is about."""

    source: LoadedModel
    simulation: Simulation
    samples: Samples
    windows: list[tuple[int, Delay]]
    metric: str
    threads: int | None

    def page_data(self, site: str | None) -> PageData:
        """Run the first samples once more; UsageError for a `site` that is none."""
        names = [neuron["name"] for neuron in self.simulation.neurons]
        if site is not None and site not in names:
            raise UsageError(f"there is no neuron site '{site}'; the sites are {quoted(names)}")
        chosen = site or names[len(names) // 2]
        return PageData(
            raster=self.raster(chosen),
            pictures=self.pictures(),
            thresholds=tuple(threshold_quartiles(self.simulation.model)),
            parts=tuple(network_parts(self.simulation.model)),
        )

    def raster(self, site: str) -> Raster:
        """Return the spikes of a site for the first sample, of neurons that fire if any does."""
        # in two passes: which neurons fire, then the trains of those that are shown
        fires = self._firing(site)
        fired = np.flatnonzero(fires)
        candidates = fired if len(fired) else np.arange(len(fires))
        # evenly spread over the site, from its first neuron to its last
        count = min(len(candidates), RASTER_NEURONS)
        places = np.linspace(0, len(candidates) - 1, count)
        shown = candidates[np.unique(places.astype(int))]
        trains = [spikes[shown] for spikes in self._spikes(site)]
        return Raster(site, np.stack(trains), len(fires), len(fired))

    def _firing(self, site: str) -> Array:
        """Return which neurons [neurons] of a site fire at any step."""
        trains = self._spikes(site)
        fires: Array = next(trains) != 0
        for spikes in trains:
            fires |= spikes != 0
        return fires

    def _spikes(self, site: str) -> Iterator[Array]:
        """Yield at each step the spikes [neurons] of a site for the first sample."""
        longest = max(timesteps for timesteps, _ in self.windows)
        # a fixed batch is filled up with the same sample
        size = fixed_batch(self.simulation.inputs) or 1
        feed = self.samples.batch(np.zeros(size, np.int64))
        for step in self.simulation.steps(feed, min(longest, RASTER_STEPS), 0):
            first = step.spikes[site][0]
            yield first.ravel()

    def pictures(self) -> PictureRows | None:
        """Return input, truth, ANN and SNN at each T of some samples, where these are pictures."""
        if self.metric not in PICTURED_METRICS:
            return None
        count = min(PICTURED, len(self.samples))
        feeds = self._feeds(count)
        pixels = self._pixels(feeds)[:count]
        if not pixels:
            return None
        indices = np.arange(count)
        targets = {key: self.samples.target(key, indices) for key in self.samples.targets}
        answers = self._answers(feeds, count)
        if self.metric == "miou":
            return _segmentation(pixels, targets, answers)
        names = [spec.name for spec in output_specs(self.source.proto)]
        return _detection(pixels, targets, answers, names)

    def _feeds(self, count: int) -> list[dict[str, Array]]:
        """Return the first samples in batches that the models take; the last is filled up."""
        fixed = fixed_batch(input_specs(self.source.proto))
        return [batch.feed for batch in batches(self.samples, count, fixed, count)]

    def _pixels(self, feeds: Sequence[dict[str, Array]]) -> list[Array]:
        """Return the samples of the first input that holds images; none where no input does."""
        for spec in input_specs(self.source.proto):
            axes = image_axes(spec)
            if picture(feeds[0][spec.name][0], axes) is None:
                continue
            inputs = np.concatenate([feed[spec.name] for feed in feeds])
            pixels = [picture(sample, axes) for sample in inputs]
            return [shown for shown in pixels if shown is not None]
        return []

    def _answers(self, feeds: Sequence[dict[str, Array]], count: int) -> dict[str, list[Array]]:
        """Return the outputs of the ANN and of the SNN after each window, by a label."""
        windows = sorted(set(self.windows), key=lambda window: window[0])
        labels = ["ANN", *(f"SNN, T = {timesteps}" for timesteps, _ in windows)]
        reference = open_session(self.source.proto, self.threads)
        batches: dict[str, list[list[Array]]] = {label: [] for label in labels}
        for feed in feeds:
            expected = reference.run(None, feed)
            spiking = self.simulation.run_at(feed, windows)
            for label, outputs in zip(labels, [expected, *spiking], strict=True):
                batches[label].append(outputs)
        answers = {}
        for label, found in batches.items():
            joined = [np.concatenate(parts) for parts in zip(*found, strict=True)]
            answers[label] = [output[:count] for output in joined]
        return answers


def _segmentation(
    pixels: Sequence[Array],
    targets: dict[str, Array],
    answers: dict[str, list[Array]],
) -> PictureRows:
    truth = targets["masks"].astype(np.int64)
    found = {label: _classes(outputs, truth.shape) for label, outputs in answers.items()}
    return segmentation_rows(pixels, truth, found, IGNORE)


def _classes(outputs: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """Return the first output that is class scores or classes of the masks' shape."""
    for output in outputs:
        if output.ndim < 3:
            continue
        if output.ndim == 4 and output.shape[1] > 1:
            # scores [N, C, H, W]
            classes = output.argmax(axis=1)
        else:
            classes = output.reshape(output.shape[0], *output.shape[-2:])
        if classes.shape == shape:
            return np.asarray(classes, np.int64)
    raise ValueError(f"no output has classes of shape {shape}")  # the metric refused it before


def _detection(
    pixels: Sequence[Array],
    targets: dict[str, Array],
    answers: dict[str, list[Array]],
    names: Sequence[str],
) -> PictureRows:
    metric = MeanAveragePrecision(names)
    wanted = [targets["boxes"], targets["classes"]]
    found = {}
    for label, outputs in answers.items():
        rows = metric.measure(outputs, wanted)
        found[label] = [boxes for boxes, _ in rows]
        truth = [boxes for _, boxes in rows]
    return detection_rows(pixels, truth, found)
