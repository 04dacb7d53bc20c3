"""Corrections layer by layer, in one simulation of the network over all T steps.

Layers are taken in order, each with the spike trains that the corrected layers before it really send: first its weights
and its bias are fitted so that the mean input current is the ANN's, then bias and initial potential so that the mean
output is, then it fires, with the neuron function that the model is emitted with. That minimises the error bound of the
paper's theorem 1 term by term: what is handed down is corrected before a layer adds its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort

from ._correct import Correction, with_offsets, with_shifts, with_weights, within_threshold
from ._data import Samples
from ._graph import Array, Graph, Node
from ._neuron import INITIAL_POTENTIAL, neuron_for, neuron_model
from ._ort import open_session
from ._partition import Partition, Site
from ._progress import Progress
from ._ridge import fit_weights
from ._segments import Response, Segment, segment_model, segments
from ._settings import Settings
from ._specs import TensorSpec, fixed_batch

MOST_SAMPLES, BATCH = 300, 50

OUTPUT_ROUNDS, OUTPUT_SAMPLES = 1, 100
"""Times a bias is corrected by what the mean output lacks, after the mean input current has been, and from how many
samples."""

CACHED = 2**18
"""Neurons simulated together: their potentials stay in a processor's cache from step to step."""

MOST_VALUES = 2**27
"""Of one layer's input current over all steps and samples (float32)."""


@dataclass
class Sent:
    """What one site answers on the samples: the ANN's activations [N, ...] and the spikes [T, N, ...], in ANN units
    times `theta`."""

    activation: Array
    spikes: Array
    theta: Array

    def mean(self, start: int, end: int) -> Array:
        """Mean output over steps start+1..end, in ANN units."""
        return self.scaled(self.spikes[start:end].sum(axis=0, dtype=np.float32), end - start)

    def scaled(self, total: Array, steps: int) -> Array:
        """Spikes summed over some steps as a mean output, in ANN units."""
        return total * (self.theta / steps).astype(np.float32)


@dataclass
class _Sweep:
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
        return known | dict(zip(wanted, self.compute(session, sites), strict=True))

    def open(self, graph: Graph, segment: Segment, outputs: Sequence[str]) -> ort.InferenceSession:
        """A session of a segment."""
        return open_session(segment_model(graph, segment, outputs), self.settings.threads)

    def compute(self, session: ort.InferenceSession, sites: Mapping[str, Array]) -> list[Array]:
        """A session's outputs for all samples, batch by batch."""
        feed = {i.name: sites[i.name] if i.name in sites else self.inputs[i.name] for i in session.get_inputs()}
        size = self.fixed or BATCH
        found: list[Array] = []
        for start in range(0, self.count, size):
            few = slice(start, min(start + size, self.count))
            rows: Any = np.resize(np.arange(few.start, few.stop), size) if self.fixed else few
            outputs = session.run(None, {name: values[rows] for name, values in feed.items()})
            found = found or [np.empty((self.count, *output.shape[1:]), output.dtype) for output in outputs]
            for whole, output in zip(found, outputs, strict=True):
                whole[few] = output[: few.stop - few.start]
        return found

    def activations(self, segment: Segment) -> dict[str, Array]:
        """The ANN's activations at the sites before a segment."""
        return {name: self.sent[name].activation for name in segment.takes}

    def means(self, segment: Segment, start: int, end: int) -> dict[str, Array]:
        """The SNN's mean outputs at the sites before a segment, over steps start+1..end."""
        return {name: self.sent[name].mean(start, end) for name in segment.takes}

    def each_step(self, segment: Segment) -> bool:
        """Whether a segment is computed of each step's output: the paper's max-pools; what is telescoped never is."""
        return self.settings.maxpool == "current" and not segment.analog

    def answers(self, segment: Segment) -> Iterator[dict[str, Array]]:
        """What the sites before a segment answer, step by step: the mean so far, or where each step is taken alone the
        step's own output."""
        sites = {name: self.sent[name] for name in segment.takes}
        if self.each_step(segment):
            yield from ({n: s.scaled(s.spikes[t], 1) for n, s in sites.items()} for t in range(self.settings.steps))
            return
        totals = {name: np.zeros(site.spikes.shape[1:], np.float32) for name, site in sites.items()}
        for t in range(self.settings.steps):
            for name, site in sites.items():
                totals[name] += site.spikes[t]
            yield {name: site.scaled(totals[name], t + 1) for name, site in sites.items()}


def correct_layerwise(
    graph: Graph,
    parts: Partition,
    thresholds: Sequence[Array],
    samples: Samples,
    specs: Sequence[TensorSpec],
    settings: Settings,
    delay: int,
    progress: Progress,
) -> Correction:
    """Correct what `settings.corrections` names, layer by layer; `thresholds` per site in ANN units.

    At most 300 samples are simulated, fewer where T steps of a large layer would not fit into memory.
    """
    pieces = segments(graph, parts)
    count = _affordable(parts.sites, len(samples), settings.steps)
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(samples))[:count])
    sweep = _Sweep(graph, graph.copy(), samples.batch(chosen), count, fixed_batch(specs), settings, delay)
    offsets, potentials = [], []
    for done, piece in enumerate(pieces):
        if piece.site is None:
            break
        offset, potential = _correct_site(sweep, piece, piece.site, thresholds[done])
        offsets.append(offset)
        potentials.append(potential)
        for name in set(sweep.sent) - {name for later in pieces[done + 1 :] for name in later.takes}:
            del sweep.sent[name]
        progress("corrections", done + 1, len(pieces))
    _correct_readout(sweep, pieces[-1])
    progress("corrections", len(pieces), len(pieces))
    corrected = with_offsets(sweep.graph, parts.sites, offsets)
    kept = tuple(potentials) if "potential" in settings.corrections else None
    return Correction(corrected, kept, tuple(sweep.skipped))


def _affordable(sites: Sequence[Site], samples: int, timesteps: int) -> int:
    largest = max(int(np.prod([d if isinstance(d, int) else 64 for d in site.shape[1:]])) for site in sites)
    return int(np.clip(MOST_VALUES // (largest * timesteps), 1, min(samples, MOST_SAMPLES)))


def _correct_site(sweep: _Sweep, piece: Segment, site: Site, theta: Array) -> tuple[Array, Array]:
    """Correct and fire one site; its offset in ANN units and its initial potential in threshold units."""
    assert piece.current is not None
    what, steps = sweep.settings.corrections, sweep.settings.steps
    wanted = sweep.run(sweep.original, piece, piece.tensors, sweep.activations(piece))
    if "weights" in what:
        means = sweep.means(piece, 0, steps)
        for response in piece.responses:
            _fit(sweep, piece, response, wanted, means)
    current = _currents(sweep, piece)
    shape = site.threshold_shape("channel")
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    activation = np.clip(wanted[piece.current], 0, site.upper)
    offset = np.zeros(shape)
    potential = np.full(shape, INITIAL_POTENTIAL)

    few = slice(OUTPUT_SAMPLES)

    def output_lacks() -> Array:
        sent = _fire(sweep, current[:, few], offset, theta, potential).sum(axis=0, dtype=np.float32)
        lacks: Array = activation[few] - sent * (theta / steps).astype(np.float32)
        return lacks

    if "bias" in what:
        offset += (wanted[piece.current] - current.mean(axis=0)).mean(axis=axes, keepdims=True, dtype=np.float64)
        for _ in range(OUTPUT_ROUNDS):
            offset += output_lacks().mean(axis=axes, keepdims=True, dtype=np.float64)
    if "potential" in what:
        over = 0 if all(isinstance(d, int) for d in site.shape[1:]) else axes
        potential = within_threshold(potential + steps / theta * output_lacks().mean(axis=over, keepdims=True))
    spikes = _fire(sweep, current, offset, theta, potential)
    sweep.sent[site.tensor] = Sent(activation.astype(np.float32), spikes, theta)
    return offset, potential


def _fit(
    sweep: _Sweep, piece: Segment, response: Response, wanted: Mapping[str, Array], means: Mapping[str, Array]
) -> None:
    """Fit an operator's weights at these mean outputs of the sites before it, once: a site it has served has fired."""
    if response.node in sweep.fitted:
        return
    sweep.fitted.add(response.node)
    node = sweep.node(response.node)
    x = node.inputs[0].name
    found = sweep.run(sweep.graph, piece, [x, response.y], means)
    lacking = wanted[response.y] - found[response.y]
    change = fit_weights(node, found[x], lacking, centred="bias" in sweep.settings.corrections)
    if isinstance(change, str):
        sweep.skipped.append((response.node, change))
    else:
        with_weights(sweep.graph, node, change)


def _currents(sweep: _Sweep, piece: Segment) -> Array:
    """The input current of a site at each step, [T, N, ...] in ANN units.

    Up to step t the current sums to t F(mean output so far), F the ANN's own segment: exact for every segment that is
    linear, and what a max-pool of the accumulated current or a telescoped operator sends by definition. With
    --maxpool current it is F of each step's own output, where nothing is telescoped.
    """
    assert piece.current is not None
    steps = sweep.settings.steps
    session = sweep.open(sweep.graph, piece, [piece.current])
    if not piece.takes:
        (constant,) = sweep.compute(session, {})
        return np.broadcast_to(constant, (steps, *constant.shape))
    found = np.empty(0, np.float32)
    for t, answer in enumerate(sweep.answers(piece)):
        (now,) = sweep.compute(session, answer)
        found = np.empty((steps, *now.shape), np.float32) if t == 0 else found
        found[t] = now
        if not sweep.each_step(piece):
            found[t] *= t + 1
    if not sweep.each_step(piece):
        for t in range(steps - 1, 0, -1):  # in place: this is the largest array of all
            found[t] -= found[t - 1]
    return found


def _fire(sweep: _Sweep, current: Array, offset: Array, theta: Array, potential: Array) -> Array:
    """The spikes [T, N, ...] of a layer, by its neuron function in onnxruntime."""
    settings = sweep.settings
    neuron = neuron_for(str(settings.chosen("neuron")), settings.levels)
    model = neuron_model(neuron, settings.levels, potential, current.ndim - 1)
    session = open_session(model, settings.threads)
    names = [i.name for i in session.get_inputs()]
    fresh = [np.zeros([1] * (current.ndim - 1), np.float32)] * len(neuron.states)
    scale, shift = (1.0 / theta).astype(np.float32), (offset / theta).astype(np.float32)
    spikes = np.empty(current.shape, np.int8 if settings.levels < 2**7 else np.int32)
    size = max(1, CACHED // int(np.prod(current.shape[2:])))
    for start in range(0, current.shape[1], size):
        few, states = slice(start, start + size), fresh
        for t in range(len(current)):
            x = current[t, few] * scale
            x += shift
            spikes[t, few], *states = session.run(None, dict(zip(names, [x, *states], strict=True)))
    return spikes


def _correct_readout(sweep: _Sweep, piece: Segment) -> None:
    """Fit weights and biases of the readout's operators in order, at the mean output after the delay."""
    what, steps = sweep.settings.corrections, sweep.settings.steps
    if not piece.responses or not {"bias", "weights"}.intersection(what):
        return
    wanted = sweep.run(sweep.original, piece, piece.tensors, sweep.activations(piece))
    means = sweep.means(piece, sweep.delay, steps)
    for response in piece.responses:
        if "weights" in what:
            _fit(sweep, piece, response, wanted, means)
        if "bias" in what:
            lacking = wanted[response.y] - sweep.run(sweep.graph, piece, [response.y], means)[response.y]
            axis = _output_axis(sweep.node(response.node), lacking.ndim)
            over = tuple(a for a in range(lacking.ndim) if a != axis)
            shift = lacking.mean(axis=over, keepdims=True, dtype=np.float64)
            sweep.graph = with_shifts(sweep.graph, {(response.y, None): shift})


def _output_axis(node: Node, ndim: int) -> int:
    """The axis of a weighted operator's output channels."""
    return 1 if node.op.startswith("Conv") else ndim - 1
