"""Corrections of all layers at once, in a few simulated rounds (light calibration, Li et al. 2021).

Each round adds to the bias what the mean output over all T steps still lacks of the mean
activation, b += (mean(a) - mean(r(T))) / 2, damped since all layers move at once; or the same to
the initial potential, T / θ as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.correct.correction import Correction, with_offsets, within_threshold
from onnx2snn.correct.means import broadcast_axes, mean_over
from onnx2snn.data.batches import Batch, batches
from onnx2snn.prepare.job import Job
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.snn.neurons import INITIAL_POTENTIAL
from onnx2snn.snn.step_model import read_step_model

DAMPING = 0.5

MOST_SIMULATED = 300
"""Samples simulated in a round."""

BATCH = 50
"""The most samples simulated together."""


def correct_in_rounds(
    job: Job,
    build: Callable[[Correction], onnx.ModelProto],
    thresholds: Sequence[Array],
    activations: Sequence[Array],
) -> Correction:
    """Correct bias and potential of all layers at once.

    Args:
        job: The conversion; `settings.corrections` are made in `settings.rounds`.
        build: Makes the spiking model of a correction.
        thresholds: Per site, in ANN units.
        activations: The ANN's mean activations, likewise.
    """
    settings = job.settings
    bias = "bias" in settings.corrections
    potential = "potential" in settings.corrections
    offsets = _zeros(thresholds)
    potentials = [np.full(zero.shape, INITIAL_POTENTIAL) for zero in offsets]

    def correction() -> Correction:
        graph = with_offsets(job.graph, job.sites, offsets)
        if potential:
            return Correction(graph, tuple(potentials))
        return Correction(graph)

    for done in range(1, settings.rounds + 1):
        model = read_step_model(build(correction()), "model")
        session = Simulation(model, Opening(threads=job.threads), count_spikes=True)
        rates = mean_outputs(job, session, thresholds)
        for index, theta in enumerate(thresholds):
            # (mean(a) - mean(r(T))) / 2
            lacking = activations[index] - rates[index]
            step = DAMPING * lacking
            if bias:
                offsets[index] = offsets[index] + step
            if potential:
                # in threshold units, and once for all T steps
                once = settings.steps * step / theta
                potentials[index] = within_threshold(potentials[index] + once)
        job.progress("corrections", done, settings.rounds)
    return correction()


def mean_outputs(job: Job, session: Simulation, thresholds: Sequence[Array]) -> list[Array]:
    """Return the mean of r(T) per site over samples and positions.

    Args:
        job: The conversion.
        session: The spiking model; it counts spikes.
        thresholds: Per site, in ANN units.

    Returns:
        Per site in ANN units, of the thresholds' shapes.
    """
    steps = job.settings.steps
    totals = _zeros(thresholds)
    ran = 0
    for batch in _whole_batches(job, session):
        session.run(batch.feed, steps, 0)
        counts = session.spike_counts()
        for index, theta in enumerate(thresholds):
            sent = counts[job.sites[index].name]
            spikes = mean_over(sent, broadcast_axes(theta.shape))
            # r(T) = (θ / T) Σ s(t)
            totals[index] += theta / steps * spikes
        ran += 1
    return [total / ran for total in totals]


def _whole_batches(job: Job, session: Simulation) -> Iterator[Batch]:
    """Yield full batches alone, or a single one that is filled up."""
    samples = job.samples
    available = len(samples)
    count = min(available, MOST_SIMULATED)
    size = job.fixed_batch
    if size is None:
        one = samples.batch([0])
        size = affordable_batch(session, one, min(count, BATCH))
    whole = count // size * size
    if whole == 0:
        whole = min(size, available)
    return batches(samples, size, job.fixed_batch, whole)


def _zeros(thresholds: Sequence[Array]) -> list[Array]:
    return [np.zeros_like(theta) for theta in thresholds]
