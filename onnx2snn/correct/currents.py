"""The input current of a layer at every time-step, from the spikes of the sites before it.

With F the ANN's own segment before the layer, the current at step t is F of that step's outputs
where F is affine, or where its max-pools pool each step's. Elsewhere the current up to step t sums
to t F(mean output so far): a max-pool of the accumulated current and a telescoped operator send
just that, by definition.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk
from onnx2snn.correct.layer_simulation import ByTensor, LayerSimulation
from onnx2snn.correct.segments import Segment
from onnx2snn.correct.sent import step_numbers


def currents(
    simulation: LayerSimulation, session: ort.InferenceSession, segment: Segment, chunk: Chunk
) -> Iterator[Array]:
    """Yield the input current of a site, some steps at a time.

    Args:
        simulation: The work so far.
        session: Computes the current from the outputs of the sites before it.
        segment: The segment that leads to the site.
        chunk: The samples.

    Yields:
        [k, n, ...] in ANN units, for k steps. Where a sum of it is no number, nothing is sent.
    """
    if not segment.takes:
        return _constant(simulation, session, segment, chunk)
    if _stepwise(simulation, segment):
        return _each_step(simulation, session, segment, chunk)
    return _telescoped(simulation, session, segment, chunk)


def _stepwise(simulation: LayerSimulation, segment: Segment) -> bool:
    """Return whether the current at a step is the segment of that step's outputs."""
    if segment.analog:
        return False
    return not segment.pools or simulation.job.settings.maxpool == "current"


def _constant(
    simulation: LayerSimulation, session: ort.InferenceSession, segment: Segment, chunk: Chunk
) -> Iterator[Array]:
    """Yield the current of a site that only the encoder feeds."""
    (current,) = simulation.compute(session, {}, chunk)
    for steps in simulation.blocks(segment, chunk):
        count = steps.stop - steps.start
        yield np.broadcast_to(current, (count, *current.shape))


def _each_step(
    simulation: LayerSimulation, session: ort.InferenceSession, segment: Segment, chunk: Chunk
) -> Iterator[Array]:
    """Yield x(t) = F(output at t)."""
    for steps in simulation.blocks(segment, chunk):
        outputs = {}
        for name in segment.takes:
            site = simulation.sent[name]
            rows = chunk.rows_in(site.total, simulation.count)
            outputs[name] = site.outputs(steps, rows)
        yield simulation.compute_steps(session, outputs, chunk)


def _telescoped(
    simulation: LayerSimulation, session: ort.InferenceSession, segment: Segment, chunk: Chunk
) -> Iterator[Array]:
    """Yield x(t) = S(t) - S(t-1) with S(t) = t F(mean output up to t)."""
    before: Array | None = None
    for steps in simulation.blocks(segment, chunk):
        means = {}
        for name in segment.takes:
            site = simulation.sent[name]
            rows = chunk.rows_in(site.total, simulation.count)
            means[name] = site.means_so_far(steps, rows)
        sums = simulation.compute_steps(session, means, chunk)
        sums *= step_numbers(steps, sums.ndim)
        if before is None:
            before = np.zeros_like(sums[:1])
        sums = _last_numbers(np.concatenate([before, sums]))
        before = sums[-1:]
        yield np.diff(sums, axis=0)


def _last_numbers(sums: Array) -> Array:
    """Let each that is no number be the last along axis 0 that was one, as `Increase` does."""
    missing = ~np.isfinite(sums)
    if missing.any():
        for t in range(1, len(sums)):
            np.copyto(sums[t], sums[t - 1], where=missing[t])
    return sums


def mean_current(
    simulation: LayerSimulation, session: ort.InferenceSession, segment: Segment, means: ByTensor
) -> Array:
    """Return the mean input current of a site over all steps, for all samples, in ANN units.

    Args:
        simulation: The work so far.
        session: Computes the current from the outputs of the sites before it.
        segment: The segment that leads to the site.
        means: The mean outputs of the sites before it.
    """
    assert segment.current is not None
    pooled = segment.pools and _stepwise(simulation, segment)
    if not segment.analog and not pooled:
        # F(mean output): F is affine, or its sum telescopes to T F(mean output)
        found = simulation.run(simulation.graph, segment, [segment.current], means)
        return found[segment.current]
    steps = simulation.job.settings.steps
    sums = []
    for chunk in simulation.chunks(segment, steps=steps):
        blocks = currents(simulation, session, segment, chunk)
        sums.append(sum(block.sum(axis=0) for block in blocks))
    return np.concatenate(sums) / np.float32(steps)
