"""Corrections of all layers at once, in a few simulated rounds (light calibration, Li et al. 2021).

Each round adds to the bias what the mean output over all T steps still lacks of the mean
activation, b += (mean(a) - mean(r(T))) / 2, damped since all layers move at once; or the same to
the initial potential, T / θ as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.correct.correction import Correction, with_offsets, within_threshold
from onnx2snn.data.batches import batches
from onnx2snn.prepare.job import Job
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.snn.neurons import INITIAL_POTENTIAL

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
    offsets: list[Array] = [np.zeros_like(theta) for theta in thresholds]
    potentials: list[Array] = [np.full(theta.shape, INITIAL_POTENTIAL) for theta in thresholds]

    def correction() -> Correction:
        graph = with_offsets(job.graph, job.sites, offsets)
        if "potential" not in settings.corrections:
            return Correction(graph)
        return Correction(graph, tuple(potentials))

    for done in range(1, settings.rounds + 1):
        model = build(correction())
        session = Simulation(model, Opening(threads=job.threads), count_spikes=True)
        rates = mean_outputs(job, session, thresholds)
        for index, theta in enumerate(thresholds):
            # (mean(a) - mean(r(T))) / 2
            step = DAMPING * (activations[index] - rates[index])
            if "bias" in settings.corrections:
                offsets[index] = offsets[index] + step
            if "potential" in settings.corrections:
                # in threshold units, and once for all T steps
                potential = potentials[index] + settings.steps * step / theta
                potentials[index] = within_threshold(potential)
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
    samples, steps, fixed = job.samples, job.settings.steps, job.fixed_batch
    count = min(len(samples), MOST_SIMULATED)
    size = fixed or affordable_batch(session, samples.batch([0]), min(count, BATCH))
    # full batches alone, or one that is filled up
    whole = count // size * size or min(size, len(samples))
    totals: list[Array] = [np.zeros_like(theta) for theta in thresholds]
    ran = 0
    for batch in batches(samples, size, fixed, whole):
        session.run(batch.feed, steps, 0)
        counts = session.spike_counts()
        for total, site, theta in zip(totals, job.sites, thresholds, strict=True):
            axes = tuple(axis for axis, length in enumerate(theta.shape) if length == 1)
            spikes = counts[site.name].mean(axis=axes, keepdims=True, dtype=np.float64)
            # r(T) = (θ / T) Σ s(t)
            total += theta / steps * spikes
        ran += 1
    return [total / ran for total in totals]
