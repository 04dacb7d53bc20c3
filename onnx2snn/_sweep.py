"""The network simulated layer by layer over all T steps: what each site sends, given what the sites before it sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from ._graph import Array, Graph, Node
from ._neuron import neuron_for, neuron_model
from ._ort import open_session
from ._segments import Segment, segment_model
from ._settings import Settings

CACHED = 2**17
"""Neurons simulated together: what they get, hold and send stays in a processor's cache from step to step."""


@dataclass
class Sent:
    """What one site answers on the samples: the ANN's activations [N, ...] and the spikes [T, N, ...], in ANN units
    times `theta`."""

    activation: Array
    spikes: Array
    theta: Array

    @property
    def neurons(self) -> int:
        """Neurons per sample."""
        return int(np.prod(self.activation.shape[1:]))

    def mean(self, start: int, end: int) -> Array:
        """Mean output over steps start+1..end, in ANN units."""
        return self.scaled(self.spikes[start:end].sum(axis=0, dtype=np.float32), end - start)

    def scaled(self, total: Array, steps: int) -> Array:
        """Spikes summed over some steps as a mean output, in ANN units."""
        return total * (self.theta / steps).astype(np.float32)


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

    def pieces(self, segment: Segment, count: int | None = None) -> Iterator[slice]:
        """The first `count` samples (None: all), as many at a time as is good for a segment."""
        count = self.count if count is None else min(count, self.count)
        sizes = [self.sent[name].neurons for name in segment.takes]
        sizes += [segment.site.neurons] if segment.site is not None else []
        size = self.fixed or max(1, CACHED // max(sizes))
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def compute(self, session: ort.InferenceSession, sites: Mapping[str, Array], few: slice) -> list[Array]:
        """A session's outputs for some samples, given what the sites answer to these; a fixed batch is filled up."""
        names = [i.name for i in session.get_inputs()]
        feed = {name: sites[name] if name in sites else self.inputs[name][few] for name in names}
        if self.fixed:
            feed = {name: np.resize(values, (self.fixed, *values.shape[1:])) for name, values in feed.items()}
        return [output[: few.stop - few.start] for output in session.run(None, feed)]

    def activations(self, segment: Segment) -> dict[str, Array]:
        """The ANN's activations at the sites before a segment."""
        return {name: self.sent[name].activation for name in segment.takes}

    def means(self, segment: Segment, start: int, end: int) -> dict[str, Array]:
        """The SNN's mean outputs at the sites before a segment, over steps start+1..end."""
        return {name: self.sent[name].mean(start, end) for name in segment.takes}

    def each_step(self, segment: Segment) -> bool:
        """Whether a segment is computed of each step's output: the paper's max-pools; what is telescoped never is."""
        return self.settings.maxpool == "current" and not segment.analog

    def answers(self, segment: Segment, few: slice) -> Iterator[dict[str, Array]]:
        """What the sites before a segment answer to some samples, step by step: the mean so far, or where each step is
        taken alone the step's own output."""
        sites = {name: self.sent[name] for name in segment.takes}
        if self.each_step(segment):
            for t in range(self.settings.steps):
                yield {name: site.scaled(site.spikes[t, few], 1) for name, site in sites.items()}
            return
        totals = {name: np.zeros(site.spikes[0, few].shape, np.float32) for name, site in sites.items()}
        for t in range(self.settings.steps):
            for name, site in sites.items():
                totals[name] += site.spikes[t, few]
            yield {name: site.scaled(totals[name], t + 1) for name, site in sites.items()}

    def currents(self, session: ort.InferenceSession, segment: Segment, few: slice) -> Iterator[Array]:
        """The input current of a site at each step, [n, ...] in ANN units, for some samples.

        Up to step t the current sums to t F(mean output so far), F the ANN's own segment: exact for every segment that
        is linear, and what a max-pool of the accumulated current or a telescoped operator sends by definition. With
        --maxpool current it is F of each step's own output, where nothing is telescoped.
        """
        if not segment.takes:
            (constant,) = self.compute(session, {}, few)
            yield from (constant for _ in range(self.settings.steps))
            return
        before: Array | float = 0.0
        for t, answer in enumerate(self.answers(segment, few), 1):
            (now,) = self.compute(session, answer, few)
            if self.each_step(segment):
                yield now
                continue
            now = now * np.float32(t)
            yield now - before
            before = now

    def mean_current(self, session: ort.InferenceSession, segment: Segment) -> Array:
        """The mean input current of a site over all steps, for all samples."""
        assert segment.current is not None
        if not self.each_step(segment):
            return self.run(self.graph, segment, [segment.current], self.means(segment, 0, self.settings.steps))[
                segment.current
            ]
        return np.concatenate(
            [sum(self.currents(session, segment, few)) / self.settings.steps for few in self.pieces(segment)]
        )


def fire(
    sweep: Sweep,
    session: ort.InferenceSession,
    piece: Segment,
    offset: Array,
    theta: Array,
    potential: Array,
    count: int,
) -> Array:
    """The spikes [T, N, ...] of a layer for the first `count` samples, by its neuron function in onnxruntime.

    `session` computes the layer's input current.
    """
    settings = sweep.settings
    neuron = neuron_for(str(settings.chosen("neuron")), settings.levels)
    step = open_session(neuron_model(neuron, settings.levels, potential, theta.ndim), settings.threads)
    names = [i.name for i in step.get_inputs()]
    scale, shift = (1.0 / theta).astype(np.float32), (offset / theta).astype(np.float32)
    count = min(count, sweep.count)
    kind, spikes = (np.int8 if settings.levels < 2**7 else np.int32), np.empty(0)
    for few in sweep.pieces(piece, count):
        states = [np.zeros([1] * theta.ndim, np.float32)] * len(neuron.states)
        for t, current in enumerate(sweep.currents(session, piece, few)):
            x = current * scale
            x += shift
            if not spikes.size:
                spikes = np.empty((settings.steps, count, *x.shape[1:]), kind)
            spikes[t, few], *states = step.run(None, dict(zip(names, [x, *states], strict=True)))
    return spikes
