"""The network simulated layer by layer: the state of the work, and running its segments.

Every layer is simulated over all T steps before the next one is looked at, given the spike trains
that the sites before it have sent. Samples run in chunks and steps in blocks, so that what is
computed together stays in a processor's cache, or at least in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk, Gathered
from onnx2snn.correct.segments import Segment, segment_model
from onnx2snn.correct.sent import Sent
from onnx2snn.graph.editing import Editor
from onnx2snn.graph.types import Graph, Node
from onnx2snn.prepare.job import Job
from onnx2snn.protos.sessions import open_session

CACHED = 2**17
"""Neurons computed together: their inputs and outputs stay in a processor's cache."""

CACHED_STEPS = 2**19
"""The same of neurons times steps, where they are computed over the time-steps."""

MOST_AT_ONCE = 2**22
"""Neurons times steps computed in one run: a large layer takes several runs for all its steps."""

ByTensor = Mapping[str, Array]
"""The sites' answers by the name of their tensor."""


class LayerSimulation:
    """The work so far.

    `original` is the ANN and stays as it is; `graph` is the same as corrected so far. `sent` holds
    the answers of the sites that have fired and are still needed, by tensor. `fitted` names the
    operators whose weights have had their turn, `skipped` those that could not be fitted, and why.
    """

    def __init__(self, job: Job, chosen: Array, delay: int) -> None:
        """Read the samples.

        Args:
            job: The conversion.
            chosen: The numbers of the samples that are simulated.
            delay: Steps left out of the answer.
        """
        self.job = job
        self.delay = delay
        self.fixed = job.fixed_batch
        self.chosen = chosen
        self.inputs = job.samples.batch(chosen)
        self.count = len(chosen)
        self.original = job.graph
        self.replace_graph(job.graph.copy())
        self.sent: dict[str, Sent] = {}
        self.fitted: set[str] = set()
        self.skipped: list[tuple[str, str]] = []

    def replace_graph(self, graph: Graph) -> None:
        """Go on with another graph as the corrected one."""
        self.graph = graph
        self.editor = Editor(graph)
        self._nodes = {node.name: node for node in graph.nodes}

    def node(self, name: str) -> Node:
        """Return a node of the corrected graph."""
        return self._nodes[name]

    def activations(self, segment: Segment) -> dict[str, Array]:
        """Return the ANN's activations at the sites before a segment."""
        return {name: self.sent[name].activation for name in segment.takes}

    def means(self, segment: Segment, start: int) -> dict[str, Array]:
        """Return the mean outputs of the sites before a segment, over the steps after `start`."""
        return {name: self.sent[name].mean(start) for name in segment.takes}

    def run(
        self, graph: Graph, segment: Segment, outputs: Sequence[str], sites: ByTensor
    ) -> dict[str, Array]:
        """Compute some tensors of a segment for all samples.

        Args:
            graph: `original` or `graph`.
            segment: The segment.
            outputs: The names of the tensors.
            sites: The answers of the sites before it, for all samples.

        Returns:
            The tensors by name.
        """
        known = {name: sites[name] for name in outputs if name in sites}
        wanted = [name for name in outputs if name not in known]
        if not wanted:
            return known
        session = self.open(graph, segment, wanted)
        whole = {name: Gathered(self.count) for name in wanted}
        for chunk in self.chunks(segment):
            given = {}
            for name, values in sites.items():
                given[name] = values[chunk.rows_in(values, self.count)]
            found = self.compute(session, given, chunk)
            for gathered, part in zip(whole.values(), found, strict=True):
                gathered.write(part, chunk)
        computed = {name: gathered.values for name, gathered in whole.items()}
        return known | computed

    def open(self, graph: Graph, segment: Segment, outputs: Sequence[str]) -> ort.InferenceSession:
        """Return a session of a segment that computes some tensors."""
        model = segment_model(graph, segment, outputs)
        return open_session(model, self.job.threads)

    def compute(self, session: ort.InferenceSession, sites: ByTensor, chunk: Chunk) -> list[Array]:
        """Return a session's outputs for a chunk; a fixed batch is filled up.

        Args:
            session: Of a segment.
            sites: The answers of the sites before it to this chunk.
            chunk: The samples.
        """
        feed = {}
        for value in session.get_inputs():
            name = value.name
            if name in sites:
                feed[name] = sites[name]
            else:
                feed[name] = self.inputs[name][chunk.start : chunk.stop]
        if not self.fixed:
            return list(session.run(None, feed))
        for name, values in feed.items():
            rows = chunk.rows_each(values) * self.fixed
            feed[name] = np.resize(values, (rows, *values.shape[1:]))
        own = []
        for output in session.run(None, feed):
            each = len(output) // self.fixed
            own.append(output[: each * chunk.count])
        return own

    def compute_steps(self, session: ort.InferenceSession, sites: ByTensor, chunk: Chunk) -> Array:
        """Return a session's one output at each of k steps.

        The steps are a batch of their own, where the network's is not fixed.

        Args:
            session: Of a segment.
            sites: The answers [k, n, ...] of the sites before it to this chunk, at these steps.
            chunk: The samples.

        Returns:
            [k, n, ...].
        """
        steps = len(next(iter(sites.values())))
        if self.fixed:
            return self._step_by_step(session, sites, chunk)
        feed = {}
        for value in session.get_inputs():
            name = value.name
            if name in sites:
                values = sites[name]
                feed[name] = values.reshape(-1, *values.shape[2:])
            else:
                own = self.inputs[name][chunk.start : chunk.stop]
                feed[name] = np.concatenate([own] * steps)
        (found,) = session.run(None, feed)
        return np.asarray(found).reshape(steps, -1, *found.shape[1:])

    def _step_by_step(self, session: ort.InferenceSession, sites: ByTensor, chunk: Chunk) -> Array:
        steps = len(next(iter(sites.values())))
        found = []
        for t in range(steps):
            now = {name: values[t] for name, values in sites.items()}
            (output,) = self.compute(session, now, chunk)
            found.append(output)
        return np.stack(found)

    def chunks(
        self, segment: Segment, count: int | None = None, steps: int | None = None
    ) -> Iterator[Chunk]:
        """Yield samples, as many at a time as is good for a segment.

        Args:
            segment: The segment.
            count: How many samples in all (None: all there are).
            steps: Steps that are computed with each chunk, one after another (None: none are).
        """
        total = self.count if count is None else min(count, self.count)
        neurons = CACHED if steps is None else CACHED_STEPS // steps
        size = self.fixed or max(1, neurons // self.largest(segment))
        for start in range(0, total, size):
            yield Chunk(start, min(start + size, total))

    def blocks(self, segment: Segment, chunk: Chunk) -> Iterator[slice]:
        """Yield the time-steps, as many at a time as memory should hold for a chunk."""
        steps = self.job.settings.steps
        samples = self.fixed or chunk.count
        neurons = samples * self.largest(segment)
        size = max(1, MOST_AT_ONCE // neurons)
        for start in range(0, steps, size):
            yield slice(start, min(start + size, steps))

    def largest(self, segment: Segment) -> int:
        """Return the neurons per sample of the largest site before a segment, or of its own."""
        sizes = []
        for name in segment.takes:
            activation = self.sent[name].activation
            sizes.append(activation.size // self.count)
        if segment.site is not None:
            sizes.append(segment.site.neurons)
        return max(sizes)
