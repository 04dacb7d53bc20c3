"""Corrections layer by layer, in one simulation of the network over all T steps.

Layers are taken in order, each with the spike trains that the corrected layers before it really
send. First its weights and its bias are fitted so that the mean input current is the ANN's, then
bias and initial potential so that the mean output is. Then it fires, as the model's
neurons will. That minimises the error bound of the paper's theorem 1 term by term: an
error is corrected before it is handed down and a layer adds its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.correction import Correction, with_offsets
from onnx2snn.correct.layer_simulation import LayerSimulation
from onnx2snn.correct.operator_fits import correct_readout
from onnx2snn.correct.sample_order import in_sample_order
from onnx2snn.correct.segments import Segment, segments
from onnx2snn.correct.shelf import open_shelf
from onnx2snn.correct.site_layer import correct_site
from onnx2snn.prepare.job import Job

MOST_SAMPLES = 200
"""Samples that are simulated ..."""

PASSES = 15
"""... or as many as cost this many passes of the ANN over the calibration data ..."""

STEP_PASSES = 6
"""... where a time-step of a sample is reckoned to cost this many passes of it ..."""

OTHER_PASSES = 12
"""... and what is done once with a sample this many ..."""

LEAST_SAMPLES = 16
"""... but no fewer, where there are as many, ..."""

LEAST_WORK = 2**23
"""... nor fewer than fire so many neurons times steps: a small network's take no time."""

MOST_VALUES = 2**28
"""Spikes of one layer over all steps and samples (int8)."""


def correct_layerwise(job: Job, thresholds: Sequence[Array], delay: int) -> Correction:
    """Correct what `settings.corrections` names, layer by layer.

    At most 200 samples are simulated, fewer where they would cost more than some passes over the
    calibration data, or T steps of a large layer would be too many.

    Args:
        job: The conversion.
        thresholds: Per site, in ANN units.
        delay: Steps left out of the answer.

    Raises:
        UsageError: A tensor does not hold its samples along axis 0.
        OutputError: What memory should not hold finds no place for temporary files.
    """
    with open_shelf() as shelf:
        simulation = LayerSimulation(job, _chosen(job), delay, shelf)
        return _corrected(simulation, thresholds)


def _corrected(simulation: LayerSimulation, thresholds: Sequence[Array]) -> Correction:
    job = simulation.job
    found = in_sample_order(simulation, segments(job.graph, job.partition))
    last = _last_readers(found)
    count = len(found)
    offsets = []
    potentials = []
    for index, theta in enumerate(thresholds):
        neurons = correct_site(simulation, found[index], theta)
        offsets.append(neurons.offset)
        potentials.append(neurons.potential)
        # spike trains are large: each goes with its last reader
        for name in list(simulation.sent):
            if last.get(name, -1) <= index:
                simulation.sent.pop(name).discard()
        job.progress("corrections", index + 1, count)
    correct_readout(simulation, found[-1])
    job.progress("corrections", count, count)
    graph = with_offsets(simulation.graph, job.sites, offsets)
    starts = tuple(potentials) if "potential" in job.settings.corrections else None
    return Correction(graph, starts, tuple(simulation.skipped), simulation.count)


def simulated_samples(job: Job) -> int:
    """Return how many samples are simulated: as many as passes and memory pay for."""
    available = len(job.samples)
    steps = job.settings.steps
    # n / N of all samples cost n / N (6 T + 12) passes; fitting weights costs as much for a few
    paid = available * PASSES // (STEP_PASSES * steps + OTHER_PASSES)
    largest = max(site.neurons for site in job.sites)
    held = MOST_VALUES // (largest * steps)
    neurons = sum(site.neurons for site in job.sites)
    least = max(LEAST_SAMPLES, LEAST_WORK // (neurons * steps))
    most = min(MOST_SAMPLES, max(least, paid), available)
    return int(np.clip(held, 1, most))


def _chosen(job: Job) -> Array:
    """Return the numbers of the samples that are simulated, in order."""
    # random ones, in the order they are stored in
    rng = np.random.default_rng(job.settings.seed)
    order = rng.permutation(len(job.samples))
    return np.sort(order[: simulated_samples(job)])


def _last_readers(found: Sequence[Segment]) -> dict[str, int]:
    """Return, by the name of a site's tensor, the number of the last segment that takes it."""
    last = {}
    for index, segment in enumerate(found):
        for name in segment.takes:
            last[name] = index
    return last
