"""The network simulated layer by layer over all T steps: what each site sends, given what the sites before it sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.correct.segments import Segment, segment_model
from onnx2snn.correct.spike_trains import spike_train_model, state_input
from onnx2snn.graph.types import Graph, Node
from onnx2snn.protos.sessions import open_session
from onnx2snn.settings import Settings
from onnx2snn.snn.neurons import neuron_for

CACHED, CACHED_STEPS = 2**17, 2**19
"""Neurons computed together, once and over the time-steps: what they get and send stays in a processor's cache."""

MOST_AT_ONCE = 2**22
"""Neurons times steps computed in one run: a large layer takes several runs for all of its steps."""


@dataclass
class Sent:
    """What one site answers on the samples: the ANN's activations [N, ...], the spikes [T, N, ...], in units of `theta`
    (in ANN units), and their sum over time [N, ...].

    Here N counts rows, of which every sample has as many.
    """

    activation: Array
    spikes: Array
    total: Array
    theta: Array

    def mean(self, start: int) -> Array:
        """Mean output over the steps after `start`, in ANN units."""
        total = (
            self.total - self.spikes[:start].sum(axis=0, dtype=np.float32) if start else self.total
        )
        return total * (self.theta / (len(self.spikes) - start)).astype(np.float32)

    def outputs(self, steps: slice, rows: slice) -> Array:
        """Outputs of some rows at some steps, in ANN units."""
        return np.multiply(
            self.spikes[steps, rows], self.theta.astype(np.float32), dtype=np.float32
        )

    def means_so_far(self, steps: slice, rows: slice) -> Array:
        """Mean outputs of some rows up to each of some steps, in ANN units."""
        total = np.cumsum(self.spikes[steps, rows], axis=0, dtype=np.float32)
        if steps.start:
            total += self.spikes[: steps.start, rows].sum(axis=0, dtype=np.float32)
        return total * (self.theta / _numbers(steps, total.ndim)).astype(np.float32)


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
            found = self.compute(
                session,
                {name: values[self.rows(values, few)] for name, values in sites.items()},
                few,
            )
            whole = whole or [self.room(values, few) for values in found]
            for values, part in zip(whole, found, strict=True):
                values[self.rows(values, few)] = part
        return known | dict(zip(wanted, whole, strict=True))

    def open(self, graph: Graph, segment: Segment, outputs: Sequence[str]) -> ort.InferenceSession:
        """A session of a segment."""
        return open_session(segment_model(graph, segment, outputs), self.settings.threads)

    def rows(self, values: Array, few: slice) -> slice:
        """Where an array of all samples holds some: a sample may have several rows."""
        each = len(values) // self.count
        return slice(few.start * each, few.stop * each)

    def room(self, part: Array, few: slice, count: int | None = None) -> Array:
        """An empty array for `count` samples (None: all), like one of a few."""
        each = len(part) // (few.stop - few.start)
        return np.empty(
            ((self.count if count is None else count) * each, *part.shape[1:]), part.dtype
        )

    def pieces(self, segment: Segment, count: int | None = None, steps: int = 0) -> Iterator[slice]:
        """The first `count` samples (None: all), as many at a time as is good for a segment, or for `steps` of it."""
        count = self.count if count is None else min(count, self.count)
        room = CACHED_STEPS // steps if steps else CACHED
        size = self.fixed or max(1, room // self.largest(segment))
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def blocks(self, segment: Segment, few: slice) -> Iterator[slice]:
        """The time-steps, as many at a time as memory should hold for some samples."""
        samples = self.fixed or few.stop - few.start
        size = max(1, MOST_AT_ONCE // (samples * self.largest(segment)))
        steps = self.settings.steps
        return (slice(start, min(start + size, steps)) for start in range(0, steps, size))

    def largest(self, segment: Segment) -> int:
        """Neurons per sample of the largest site before a segment, or of its own."""
        before = [self.sent[name].activation.size // self.count for name in segment.takes]
        return max([*before, *([segment.site.neurons] if segment.site is not None else [])])

    def compute(
        self, session: ort.InferenceSession, sites: Mapping[str, Array], few: slice
    ) -> list[Array]:
        """A session's outputs for some samples, given what the sites answer to these; a fixed batch is filled up."""
        names = [i.name for i in session.get_inputs()]
        feed = {name: sites[name] if name in sites else self.inputs[name][few] for name in names}
        samples = few.stop - few.start
        if not self.fixed:
            return list(session.run(None, feed))
        sizes = {name: len(values) // samples * self.fixed for name, values in feed.items()}
        feed = {
            name: np.resize(values, (sizes[name], *values.shape[1:]))
            for name, values in feed.items()
        }
        return [output[: len(output) // self.fixed * samples] for output in session.run(None, feed)]

    def compute_steps(
        self, session: ort.InferenceSession, sites: Mapping[str, Array], few: slice
    ) -> Array:
        """A session's one output at each of some steps, [k, n, ...], given what the sites answer, alike; the steps are
        a batch, where that is not fixed."""
        steps = len(next(iter(sites.values())))
        if self.fixed:
            each = [{name: values[t] for name, values in sites.items()} for t in range(steps)]
            return np.stack([self.compute(session, values, few)[0] for values in each])
        own = [i.name for i in session.get_inputs() if i.name not in sites]
        feed = {name: np.concatenate([self.inputs[name][few]] * steps) for name in own}
        feed |= {name: values.reshape(-1, *values.shape[2:]) for name, values in sites.items()}
        (found,) = session.run(None, feed)
        return np.asarray(found).reshape(steps, -1, *found.shape[1:])

    def activations(self, segment: Segment) -> dict[str, Array]:
        """The ANN's activations at the sites before a segment."""
        return {name: self.sent[name].activation for name in segment.takes}

    def means(self, segment: Segment, start: int) -> dict[str, Array]:
        """The SNN's mean outputs at the sites before a segment, over the steps after `start`."""
        return {name: self.sent[name].mean(start) for name in segment.takes}

    def stepwise(self, segment: Segment) -> bool:
        """Whether a segment's current at each step is the ANN's own segment of that step's output: where it is affine,
        or its max-pools pool each step's; never where it is telescoped."""
        return not segment.analog and (not segment.pools or self.settings.maxpool == "current")

    def currents(
        self, session: ort.InferenceSession, segment: Segment, few: slice
    ) -> Iterator[Array]:
        """The input current of a site, [k, n, ...] in ANN units for some samples, some steps at a time.

        With F the ANN's own segment it is F of each step's output, or where that is another thing (`stepwise`) the
        current up to step t sums to t F(mean output so far): what a max-pool of the accumulated current or a telescoped
        operator sends by definition. Where that is no number, nothing is sent.
        """
        sites = {name: self.sent[name] for name in segment.takes}
        before: Array | None = None
        for steps in self.blocks(segment, few):
            if not sites:
                (constant,) = self.compute(session, {}, few)
                yield np.broadcast_to(constant, (steps.stop - steps.start, *constant.shape))
            elif self.stepwise(segment):
                outputs = {
                    name: site.outputs(steps, self.rows(site.total, few))
                    for name, site in sites.items()
                }
                yield self.compute_steps(session, outputs, few)
            else:
                means = {
                    name: site.means_so_far(steps, self.rows(site.total, few))
                    for name, site in sites.items()
                }
                sums = self.compute_steps(session, means, few)
                sums *= _numbers(steps, sums.ndim)
                before = np.zeros_like(sums[:1]) if before is None else before
                sums = _held(np.concatenate([before, sums]))
                before = sums[-1:]
                yield np.diff(sums, axis=0)

    def mean_current(
        self, session: ort.InferenceSession, segment: Segment, means: Mapping[str, Array]
    ) -> Array:
        """The mean input current of a site over all steps, for all samples, given the mean outputs before it."""
        assert segment.current is not None
        if not segment.analog and not (segment.pools and self.stepwise(segment)):
            return self.run(self.graph, segment, [segment.current], means)[segment.current]
        steps = self.settings.steps
        pieces = self.pieces(segment, steps=steps)
        sums = [
            sum(block.sum(axis=0) for block in self.currents(session, segment, few))
            for few in pieces
        ]
        return np.concatenate(sums) / np.float32(steps)


def _numbers(steps: slice, ndim: int) -> Array:
    """The numbers of some steps, from 1, along the first axis."""
    return np.arange(steps.start + 1, steps.stop + 1, dtype=np.float32).reshape(
        -1, *[1] * (ndim - 1)
    )


def _held(sums: Array) -> Array:
    """The same where all are numbers; elsewhere each keeps the last that was one along axis 0, as `Increase` does."""
    missing = ~np.isfinite(sums)
    if missing.any():
        for t in range(1, len(sums)):
            np.copyto(sums[t], sums[t - 1], where=missing[t])
    return sums


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
    neuron = neuron_for(settings.neuron_kind, settings.height)
    layer = open_session(
        spike_train_model(neuron, settings.height, potential, theta.ndim), settings.threads
    )
    units = {
        "scale": (1.0 / theta).astype(np.float32),
        "shift": (offset / theta).astype(np.float32),
    }
    count = min(count, sweep.count)
    spikes = total = np.empty(0)
    for few in sweep.pieces(piece, count, settings.steps):
        states: list[Array] = []
        start = 0
        for current in sweep.currents(session, piece, few):
            states = states or [np.zeros(current.shape[1:], np.float32) for _ in neuron.states]
            before = {
                state_input(label): state
                for (label, _), state in zip(neuron.states, states, strict=True)
            }
            found, summed, *states = layer.run(None, {"currents": current} | units | before)
            if not total.size:
                total = sweep.room(summed, few, count)
                spikes = np.empty((settings.steps, *total.shape), found.dtype)
            rows = slice(
                *(len(summed) // (few.stop - few.start) * end for end in (few.start, few.stop))
            )
            spikes[start : start + len(found), rows] = found
            total[rows] = total[rows] + summed if start else summed
            start += len(found)
    return spikes, total
