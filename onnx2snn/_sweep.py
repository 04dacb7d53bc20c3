"""The network simulated layer by layer over all T steps: what each site sends, given what the sites before it sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from ._graph import Array, Graph, Node
from ._neuron import neuron_for
from ._ort import open_session
from ._segments import Segment, segment_model
from ._settings import Settings
from ._spike_train import spike_train_model, spike_type

CACHED = 2**17
"""Neurons computed together, and in T steps at once `CACHED_STEPS` of them: what they get and send stays in a
processor's cache."""
CACHED_STEPS = 2**19


@dataclass
class Sent:
    """What one site answers on the samples: the ANN's activations [N, ...], the spikes [T, N, ...], which are ANN units
    times `theta`, and their sum over time [N, ...]."""

    activation: Array
    spikes: Array
    total: Array
    theta: Array

    @property
    def neurons(self) -> int:
        """Neurons per sample."""
        return int(np.prod(self.activation.shape[1:]))

    def mean(self, start: int) -> Array:
        """Mean output over the steps after `start`, in ANN units."""
        total = self.total - self.spikes[:start].sum(axis=0, dtype=np.float32) if start else self.total
        return total * (self.theta / (len(self.spikes) - start)).astype(np.float32)

    def outputs(self, few: slice) -> Array:
        """Outputs of some samples at each step, in ANN units."""
        return np.multiply(self.spikes[:, few], self.theta.astype(np.float32), dtype=np.float32)

    def means_so_far(self, few: slice) -> Array:
        """Mean outputs of some samples up to each step, in ANN units."""
        total = np.cumsum(self.spikes[:, few], axis=0, dtype=np.float32)
        return total * (self.theta / _steps(total)).astype(np.float32)


@dataclass
class Sweep:
    """The work so far. `graph` is corrected in place, `original` stays as it is."""

    original: Graph
    graph: Graph
    inputs: dict[str, Array]
    count: int
    fixed: int | None
    settings: Settings
    delay: int
    sent: dict[str, Sent] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    fitted: set[str] = field(default_factory=set)

    def node(self, name: str) -> Node:
        """A node of the graph being corrected."""
        return next(node for node in self.graph.nodes if node.name == name)

    def run(
        self, graph: Graph, segment: Segment, outputs: Sequence[str], sites: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Some tensors of a segment for all samples, given what the sites before it answer."""
        known = {name: sites[name] for name in outputs if name in sites}
        wanted = [name for name in outputs if name not in known]
        if not wanted:
            return known
        session = self.open(graph, segment, wanted)
        whole: list[Array] = []
        for few in self.pieces(segment):
            found = self.compute(session, {name: values[few] for name, values in sites.items()}, few)
            whole = whole or [np.empty((self.count, *values.shape[1:]), values.dtype) for values in found]
            for values, part in zip(whole, found, strict=True):
                values[few] = part
        return known | dict(zip(wanted, whole, strict=True))

    def open(self, graph: Graph, segment: Segment, outputs: Sequence[str]) -> ort.InferenceSession:
        """A session of a segment."""
        return open_session(segment_model(graph, segment, outputs), self.settings.threads)

    def pieces(self, segment: Segment, count: int | None = None, steps: int = 0) -> Iterator[slice]:
        """The first `count` samples (None: all), as many at a time as is good for a segment, or for `steps` of it."""
        count = self.count if count is None else min(count, self.count)
        sizes = [self.sent[name].neurons for name in segment.takes]
        sizes += [segment.site.neurons] if segment.site is not None else []
        room = CACHED_STEPS // steps if steps else CACHED
        size = self.fixed or max(1, room // max(sizes))
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def compute(self, session: ort.InferenceSession, sites: Mapping[str, Array], few: slice) -> list[Array]:
        """A session's outputs for some samples, given what the sites answer to these; a fixed batch is filled up."""
        names = [i.name for i in session.get_inputs()]
        feed = {name: sites[name] if name in sites else self.inputs[name][few] for name in names}
        if self.fixed:
            feed = {name: np.resize(values, (self.fixed, *values.shape[1:])) for name, values in feed.items()}
        return [output[: few.stop - few.start] for output in session.run(None, feed)]

    def compute_steps(self, session: ort.InferenceSession, sites: Mapping[str, Array], few: slice) -> Array:
        """A session's one output at each step, [T, n, ...], given what the sites answer, alike; all steps are a batch,
        where that is not fixed."""
        steps, samples = self.settings.steps, few.stop - few.start
        if self.fixed:
            each = [{name: values[t] for name, values in sites.items()} for t in range(steps)]
            return np.stack([self.compute(session, values, few)[0] for values in each])
        own = [i.name for i in session.get_inputs() if i.name not in sites]
        feed = {name: np.concatenate([self.inputs[name][few]] * steps) for name in own}
        feed |= {name: values.reshape(steps * samples, *values.shape[2:]) for name, values in sites.items()}
        (found,) = session.run(None, feed)
        return np.asarray(found).reshape(steps, samples, *found.shape[1:])

    def activations(self, segment: Segment) -> dict[str, Array]:
        """The ANN's activations at the sites before a segment."""
        return {name: self.sent[name].activation for name in segment.takes}

    def means(self, segment: Segment, start: int) -> dict[str, Array]:
        """The SNN's mean outputs at the sites before a segment, over the steps after `start`."""
        return {name: self.sent[name].mean(start) for name in segment.takes}

    def stepwise(self, segment: Segment) -> bool:
        """Whether a segment is computed of each step's output: what is linear may be, and with the paper's max-pools
        they are; what is telescoped never is."""
        return not segment.analog and (not segment.pools or self.settings.maxpool == "current")

    def currents(self, session: ort.InferenceSession, segment: Segment, few: slice) -> Array:
        """The input current of a site at each step, [T, n, ...] in ANN units, for some samples.

        With F the ANN's own segment it is F of each step's output, where F is affine or --maxpool is current. Elsewhere
        the current up to step t sums to t F(mean output so far): what a max-pool of the accumulated current or a
        telescoped operator sends by definition.
        """
        sites = {name: self.sent[name] for name in segment.takes}
        if not sites:
            (constant,) = self.compute(session, {}, few)
            return np.broadcast_to(constant, (self.settings.steps, *constant.shape))
        if self.stepwise(segment):
            return self.compute_steps(session, {name: site.outputs(few) for name, site in sites.items()}, few)
        sums = self.compute_steps(session, {name: site.means_so_far(few) for name, site in sites.items()}, few)
        return np.diff(sums * _steps(sums), axis=0, prepend=np.float32(0))

    def mean_current(self, session: ort.InferenceSession, segment: Segment, means: Mapping[str, Array]) -> Array:
        """The mean input current of a site over all steps, for all samples, given the mean outputs before it."""
        assert segment.current is not None
        if segment.pools and self.stepwise(segment):
            pieces = self.pieces(segment, steps=self.settings.steps)
            return np.concatenate([self.currents(session, segment, few).mean(axis=0) for few in pieces])
        return self.run(self.graph, segment, [segment.current], means)[segment.current]


def _steps(values: Array) -> Array:
    """1, 2 ... T along the first axis of values [T, ...]."""
    return np.arange(1, len(values) + 1, dtype=np.float32).reshape(-1, *[1] * (values.ndim - 1))


def fire(
    sweep: Sweep,
    session: ort.InferenceSession,
    piece: Segment,
    offset: Array,
    theta: Array,
    potential: Array,
    count: int,
) -> tuple[Array, Array]:
    """The spikes [T, N, ...] of a layer for the first `count` samples and their sum over time, by its neuron function
    in onnxruntime.

    `session` computes the layer's input current.
    """
    settings = sweep.settings
    neuron = neuron_for(str(settings.chosen("neuron")), settings.height)
    layer = open_session(spike_train_model(neuron, settings.height, potential, theta.ndim), settings.threads)
    fixed = {"scale": (1.0 / theta).astype(np.float32), "shift": (offset / theta).astype(np.float32)}
    count = min(count, sweep.count)
    spikes = total = np.empty(0)
    for few in sweep.pieces(piece, count, settings.steps):
        found, summed = layer.run(None, {"currents": sweep.currents(session, piece, few)} | fixed)
        if not total.size:
            spikes = np.empty((settings.steps, count, *found.shape[2:]), spike_type(settings.height))
            total = np.empty((count, *found.shape[2:]), np.float32)
        spikes[:, few], total[few] = found, summed
    return spikes, total
