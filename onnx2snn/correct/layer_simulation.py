"""The network simulated layer by layer: the state of the work, and running its segments.

Every layer is simulated over all T steps before the next one is looked at, given the spike trains
that the sites before it have sent. Samples run in chunks and steps in blocks, so that what is
computed together stays in a processor's cache, or at least in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk, Gathered
from onnx2snn.correct.segments import Names, Segment, segment_model
from onnx2snn.correct.sent import Sent
from onnx2snn.graph.editing import Editor
from onnx2snn.graph.types import Graph, Node
from onnx2snn.prepare.job import Job
from onnx2snn.protos.sessions import open_own_session

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

    @property
    def steps(self) -> int:
        """The number of time-steps T."""
        return self.job.settings.steps

    def rows(self, values: Array, chunk: Chunk) -> slice:
        """Return where an array of all samples holds a chunk."""
        return chunk.rows_in(values, self.count)

    def means(self, segment: Segment, start: int) -> dict[str, Array]:
        """Return the mean outputs of the sites before a segment, over the steps after `start`."""
        means = {}
        for name in segment.takes:
            site = self.sent[name]
            means[name] = site.mean(start)
        return means

    def wanted(self, segment: Segment) -> dict[str, Array]:
        """Return the ANN's own tensors of a segment, for all samples."""
        activations = {}
        for name in segment.takes:
            site = self.sent[name]
            activations[name] = site.activation
        return self._run(self.original, segment, segment.tensors, activations)

    def corrected(self, segment: Segment, names: Names, sites: ByTensor) -> dict[str, Array]:
        """Return tensors of a segment as corrected so far, for all samples.

        Args:
            segment: The segment.
            names: The names of the tensors.
            sites: The answers of the sites before it, for all samples.
        """
        return self._run(self.graph, segment, names, sites)

    def _run(
        self, graph: Graph, segment: Segment, names: Names, sites: ByTensor
    ) -> dict[str, Array]:
        found = {}
        computed = []
        for name in names:
            if name in sites:
                found[name] = sites[name]
            else:
                computed.append(name)
        if not computed:
            return found
        # chunk by chunk, so that what goes in and comes out stays in the cache
        session = self.open(graph, segment, computed)
        whole = [Gathered(self.count) for _ in computed]
        for chunk in self.chunks(segment):
            given = {}
            for name, values in sites.items():
                rows = self.rows(values, chunk)
                given[name] = values[rows]
            outputs = self.compute(session, given, chunk)
            for gathered, part in zip(whole, outputs, strict=True):
                gathered.write(part, chunk)
        for name, gathered in zip(computed, whole, strict=True):
            found[name] = gathered.values
        return found

    def open(self, graph: Graph, segment: Segment, names: Names) -> ort.InferenceSession:
        """Return a session of a segment that computes some tensors."""
        model = segment_model(graph, segment, names)
        return open_own_session(model, self.job.threads)

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
                feed[name] = self._input(name, chunk)
        if not self.fixed:
            found: list[Array] = session.run(None, feed)
            return found
        # rows come again until the batch is full; their answers are left out
        for name, values in feed.items():
            if not values.ndim:
                continue
            rows = chunk.rows_each(values) * self.fixed
            shape = (rows, *values.shape[1:])
            feed[name] = np.resize(values, shape)
        own = []
        for output in session.run(None, feed):
            each = len(output) // self.fixed
            rows = each * chunk.count
            own.append(output[:rows])
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
        steps = max(len(values) for values in sites.values())
        if self.fixed:
            # a batch holds no more than one step
            found = []
            for t in range(steps):
                now = {name: values[t] for name, values in sites.items()}
                found += self.compute(session, now, chunk)
            return np.stack(found)
        # time folded into the batch axis: [k, n, ...] -> [k · n, ...]
        feed = {}
        for value in session.get_inputs():
            name = value.name
            if name in sites:
                values = sites[name]
                shape = values.shape[2:]
                feed[name] = values.reshape(-1, *shape)
            else:
                own = self._input(name, chunk)
                feed[name] = np.concatenate([own] * steps) if own.ndim else own
        (output,) = session.run(None, feed)
        shape = output.shape[1:]
        return np.asarray(output).reshape(steps, -1, *shape)

    def _input(self, name: str, chunk: Chunk) -> Array:
        """Return a chunk of one of the network's own inputs."""
        values = self.inputs[name]
        if not values.ndim:
            # the same for all samples
            return values
        return values[chunk.start : chunk.stop]

    def chunks(
        self, segment: Segment, count: int | None = None, steps: int | None = None
    ) -> Iterator[Chunk]:
        """Yield samples, as many at a time as is good for a segment.

        Args:
            segment: The segment.
            count: How many samples in all (None: all there are).
            steps: Steps that are computed with each chunk, one after another (None: none are).
        """
        total = self.count
        if count is not None:
            total = min(count, total)
        neurons = CACHED
        if steps is not None:
            neurons = CACHED_STEPS // steps
        good = max(1, neurons // self.largest(segment))
        size = self.fixed or good
        for start in range(0, total, size):
            stop = min(start + size, total)
            yield Chunk(start, stop)

    def blocks(self, segment: Segment, chunk: Chunk) -> Iterator[slice]:
        """Yield the time-steps, as many at a time as memory should hold for a chunk."""
        samples = self.fixed or chunk.count
        neurons = samples * self.largest(segment)
        size = max(1, MOST_AT_ONCE // neurons)
        for start in range(0, self.steps, size):
            stop = min(start + size, self.steps)
            yield slice(start, stop)

    def largest(self, segment: Segment) -> int:
        """Return the neurons per sample of the largest site before a segment, or of its own."""
        sizes = []
        for name in segment.takes:
            activation = self.sent[name].activation
            sizes.append(activation.size // self.count)
        if segment.site is not None:
            sizes.append(segment.site.neurons)
        return max(sizes)
