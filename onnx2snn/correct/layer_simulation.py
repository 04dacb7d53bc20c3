"""The network simulated layer by layer: the state of the work, and running its segments.

Every layer is simulated over all T steps before the next one is looked at, given the spike trains
that the sites before it have sent. Samples run in chunks and steps in blocks, so that what is
computed together stays in a processor's cache, or at least in memory. Chunks are computed side by
side, each by a thread: what lies between two convolutions is many small operators, which two
threads compute no faster than one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.chunks import Chunk, Gathered
from onnx2snn.correct.segments import Names, Segment, segment_model
from onnx2snn.correct.sent import Sent
from onnx2snn.correct.shelf import Shelf
from onnx2snn.data.ahead import side_by_side
from onnx2snn.graph.editing import Editor
from onnx2snn.graph.types import Graph, Node
from onnx2snn.prepare.job import Job
from onnx2snn.protos.sessions import open_own_session, shared_out

CACHED = 2**17
"""Neurons computed together: their inputs and outputs stay in a processor's cache."""

CACHED_STEPS = 2**19
"""The same of neurons times steps, where they are computed over the time-steps."""

MOST_AT_ONCE = 2**21
"""Neurons times steps computed in one run: a large layer takes several runs for all its steps."""

READ = 2**22
"""Elements of the network's inputs read at once."""

LEAST_CHUNKS = 4
"""Samples are divided into so many chunks where there are as many, for threads to share."""

Made = TypeVar("Made")

ByTensor = Mapping[str, Array]
"""The sites' answers to a chunk, by the name of their tensor."""


class LayerSimulation:
    """The work so far.

    `original` is the ANN and stays as it is; `graph` is the same as corrected so far. `sent` holds
    the answers of the sites that have fired and are still needed, by tensor. `fitted` names the
    operators whose weights have had their turn, `skipped` those that could not be fitted, and why.
    """

    def __init__(self, job: Job, chosen: Array, delay: int, shelf: Shelf) -> None:
        """Read the samples.

        Args:
            job: The conversion.
            chosen: The numbers of the samples that are simulated.
            delay: Steps left out of the answer.
            shelf: Where what is held for all samples waits.
        """
        self.job = job
        self.delay = delay
        self.shelf = shelf
        self.fixed = job.fixed_batch
        self._workers, self._threads = shared_out(job.threads)
        self.chosen = chosen
        self.count = len(chosen)
        self._scalars: dict[str, Array] = {}
        self._inputs: dict[str, Gathered] = {}
        self._read_inputs()
        self.original = job.graph
        self.replace_graph(job.graph.copy())
        self.sent: dict[str, Sent] = {}
        self.fitted: set[str] = set()
        self.skipped: list[tuple[str, str]] = []

    def _read_inputs(self) -> None:
        """Read the network's inputs of all samples, some at a time."""
        one = self.job.samples.batch(self.chosen[:1])
        elements = sum(values.size for values in one.values())
        size = max(1, READ // max(1, elements))
        for start in range(0, self.count, size):
            chunk = Chunk(start, min(start + size, self.count))
            read = self.job.samples.batch(self.chosen[start : chunk.stop])
            for name, values in read.items():
                if not values.ndim:
                    # the same for all samples
                    self._scalars[name] = values
                    continue
                self._inputs.setdefault(name, self.gathered()).write(values, chunk)

    def gathered(self) -> Gathered:
        """Return an array of all samples, to be written chunk by chunk."""
        return Gathered(self.shelf, self.count)

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

    def means(self, segment: Segment, start: int, chunk: Chunk) -> dict[str, Array]:
        """Return a chunk's mean outputs of the sites before a segment, after step `start`."""
        return {name: self.sent[name].mean(start, chunk) for name in segment.takes}

    def activations(self, segment: Segment, chunk: Chunk) -> dict[str, Array]:
        """Return a chunk's activations of the ANN at the sites before a segment."""
        return {name: self.sent[name].activation.read(chunk) for name in segment.takes}

    def wanted(self, segment: Segment) -> dict[str, Gathered]:
        """Return the ANN's own tensors of a segment, for all samples."""
        names = segment.tensors
        found = {name: self.gathered() for name in names}
        run = SegmentRun(self, self.original, segment, names)

        def compute(chunk: Chunk) -> None:
            values = run.tensors(self.activations(segment, chunk), chunk)
            for name, part in zip(names, values, strict=True):
                found[name].write(part, chunk)

        for _ in self.each(compute, self.chunks(segment)):
            pass
        return found

    def each(self, work: Callable[[Chunk], Made], chunks: Iterable[Chunk]) -> Iterator[Made]:
        """Yield what a function makes of chunks, in their order; several threads are at work."""
        return side_by_side(work, chunks, self._workers)

    def open(self, graph: Graph, segment: Segment, names: Names) -> ort.InferenceSession:
        """Return a session of a segment that computes some tensors, for `each`."""
        return self.open_model(segment_model(graph, segment, names))

    def open_model(self, model: onnx.ModelProto) -> ort.InferenceSession:
        """Return a session whose runs go side by side, for `each`."""
        return open_own_session(model, self._threads)

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
        if name in self._scalars:
            return self._scalars[name]
        return self._inputs[name].read(chunk)

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
        # the same numbers of samples whatever the threads: so are sums
        share = -(-total // LEAST_CHUNKS)
        good = max(1, min(share, neurons // self.largest(segment)))
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
        sizes = [self.sent[name].activation.size for name in segment.takes]
        if segment.site is not None:
            sizes.append(segment.site.neurons)
        return max(sizes)


class SegmentRun:
    """Runs of one segment of a graph, for some of its tensors; one session serves them all."""

    def __init__(
        self, simulation: LayerSimulation, graph: Graph, segment: Segment, names: Names
    ) -> None:
        """Open a session, where not all tensors are the sites' own."""
        self._simulation = simulation
        self._names = names
        self._computed = [name for name in names if name not in segment.takes]
        self._session: ort.InferenceSession | None = None
        if self._computed:
            self._session = simulation.open(graph, segment, self._computed)

    def tensors(self, sites: ByTensor, chunk: Chunk) -> list[Array]:
        """Return the tensors of a chunk.

        Args:
            sites: The answers of the sites before the segment.
            chunk: The samples.
        """
        found = dict(sites)
        if self._session is not None:
            values = self._simulation.compute(self._session, sites, chunk)
            found.update(zip(self._computed, values, strict=True))
        return [found[name] for name in self._names]
