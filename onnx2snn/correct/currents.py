"""The input current of a layer at every time-step, from the spikes of the sites before it.

With F the ANN's own segment before the layer, the current at step t is F of that step's outputs
where F is affine, or where its max-pools pool each step's. Elsewhere the current up to step t sums
to t F(mean output so far): a max-pool of the accumulated current and a telescoped operator send
just that, by definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk
from onnx2snn.correct.layer_simulation import ByTensor, LayerSimulation, Made, SegmentRun
from onnx2snn.correct.segments import Segment, segment_model
from onnx2snn.correct.sent import step_numbers


class InputCurrent:
    """The input current x of one site, in ANN units or as `units` times x plus `shift`."""

    def __init__(
        self,
        simulation: LayerSimulation,
        segment: Segment,
        units: Array | None = None,
        shift: Array | None = None,
    ) -> None:
        """Take the corrected segment that leads to the site."""
        assert segment.current is not None
        self.simulation = simulation
        self.segment = segment
        self.name = segment.current
        self._model = segment_model(simulation.graph, segment, [self.name])
        if units is not None and shift is not None:
            _scale_output(self._model.graph, units, shift)
        self._session: ort.InferenceSession | None = None

    def opened(self) -> InputCurrent:
        """Open the session that computes it, which threads share then; return the current."""
        if self._session is None:
            self._session = self.simulation.open_model(self._model)
        return self

    def scaled(self, units: Array, shift: Array) -> InputCurrent:
        """Return units * x + shift, both broadcastable to the site's tensor."""
        return InputCurrent(self.simulation, self.segment, units, shift).opened()

    def blocks(self, chunk: Chunk) -> Iterator[Array]:
        """Yield the current [k, n, ...] of a chunk, k steps at a time.

        Where a sum of it is no number, nothing is sent.
        """
        if not self.segment.takes:
            return self._constant(chunk)
        if self._is_stepwise():
            return self._each_step(chunk)
        return self._telescoped(chunk)

    def means(self, use: Callable[[Chunk, Array], Made]) -> Iterator[Made]:
        """Yield what a function makes of the mean current over all steps, chunk by chunk."""
        simulation = self.simulation
        segment = self.segment
        pooled = segment.pools and self._is_stepwise()
        if not segment.analog and not pooled:
            # F(mean output): F is affine, or its sum telescopes to T F(mean output)
            run = SegmentRun(simulation, simulation.graph, segment, [self.name])

            def mean(chunk: Chunk) -> Made:
                (found,) = run.tensors(simulation.means(segment, 0, chunk), chunk)
                return use(chunk, found)

            return simulation.each(mean, simulation.chunks(segment))
        # the mean of a pooled current is not the pool of its mean
        steps = np.float32(simulation.steps)

        self.opened()

        def pooled_mean(chunk: Chunk) -> Made:
            found: Array = sum(block.sum(axis=0) for block in self.blocks(chunk)) / steps
            return use(chunk, found)

        chunks = simulation.chunks(segment, steps=simulation.steps)
        return simulation.each(pooled_mean, chunks)

    def _is_stepwise(self) -> bool:
        """Return whether the current at a step is F of that step's outputs."""
        if self.segment.analog:
            return False
        if not self.segment.pools:
            return True
        return self.simulation.job.settings.maxpool == "current"

    def _constant(self, chunk: Chunk) -> Iterator[Array]:
        """Yield the current of a site that only the encoder feeds."""
        assert self._session is not None
        (current,) = self.simulation.compute(self._session, {}, chunk)
        for steps in self._steps(chunk):
            count = steps.stop - steps.start
            shape = (count, *current.shape)
            yield np.broadcast_to(current, shape)

    def _each_step(self, chunk: Chunk) -> Iterator[Array]:
        """Yield x(t) = F(output at t)."""
        trains = self._trains(chunk)
        for steps in self._steps(chunk):
            outputs = {}
            for name, spikes in trains.items():
                site = self.simulation.sent[name]
                outputs[name] = site.outputs(spikes[steps])
            yield self._compute(outputs, chunk)

    def _telescoped(self, chunk: Chunk) -> Iterator[Array]:
        """Yield x(t) = S(t) - S(t-1) with S(t) = t F(mean output up to t)."""
        before: Array | None = None
        trains = self._trains(chunk)
        for steps in self._steps(chunk):
            means = {}
            for name, spikes in trains.items():
                site = self.simulation.sent[name]
                means[name] = site.means_so_far(spikes, steps)
            sums = self._compute(means, chunk)
            sums *= step_numbers(steps, sums.ndim)
            if before is None:
                before = np.zeros_like(sums[:1])
            # S(t) - S(t-1), over the border of two blocks, too
            joined = np.concatenate([before, sums])
            sums = _last_numbers(joined)
            before = sums[-1:]
            yield np.diff(sums, axis=0)

    def _steps(self, chunk: Chunk) -> Iterator[slice]:
        return self.simulation.blocks(self.segment, chunk)

    def _trains(self, chunk: Chunk) -> dict[str, Array]:
        """Return the spikes [T, n, ...] of a chunk that the sites before this one have sent."""
        return {name: self.simulation.sent[name].trains(chunk) for name in self.segment.takes}

    def _compute(self, sites: ByTensor, chunk: Chunk) -> Array:
        """Return F at each of k steps."""
        assert self._session is not None
        return self.simulation.compute_steps(self._session, sites, chunk)


def _scale_output(graph: onnx.GraphProto, units: Array, shift: Array) -> None:
    """Let a model's one output be units * y + shift, which onnxruntime folds into weights."""
    (output,) = graph.output
    y = output.name
    names = [f"{y}/units", f"{y}/shift", f"{y}/scaled", f"{y}/shifted"]
    for name, values in zip(names, (units, shift), strict=False):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    graph.node.append(helper.make_node("Mul", [y, names[0]], [names[2]]))
    graph.node.append(helper.make_node("Add", [names[2], names[1]], [names[3]]))
    output.name = names[3]


def _last_numbers(sums: Array) -> Array:
    """Let each that is no number be the last along axis 0 that was one, as `Increase` does."""
    missing = ~np.isfinite(sums)
    if not missing.any():
        return sums
    for t in range(1, len(sums)):
        before = sums[t - 1]
        np.copyto(sums[t], before, where=missing[t])
    return sums
