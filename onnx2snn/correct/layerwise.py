"""Corrections layer by layer, in one simulation of the network over all T steps.

Layers are taken in order, each with the spike trains that the corrected layers before it really send: first its weights
and its bias are fitted so that the mean input current is the ANN's, then bias and initial potential so that the mean
output is, then it fires, with the neuron function that the model is emitted with. That minimises the error bound of the
paper's theorem 1 term by term: what is handed down is corrected before a layer adds its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.correction import (
    Correction,
    with_offsets,
    with_shifts,
    with_weights,
    within_threshold,
)
from onnx2snn.correct.layer_simulation import Sent, Sweep, fire
from onnx2snn.correct.ridge import fit_weights
from onnx2snn.correct.segments import Response, Segment, segments
from onnx2snn.errors import UsageError
from onnx2snn.graph.types import Node
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.snn.neurons import INITIAL_POTENTIAL

MOST_SAMPLES = 200

OUTPUT_ROUNDS, OUTPUT_SAMPLES = 1, 50
"""Times a bias is corrected by what the mean output lacks, after the mean input current has been, and from how many
samples; potentials, of which each neuron has its own, are corrected from all."""

ORDERED = 3
"""Samples on which it is seen that tensors keep them apart and in order, where the batch is not fixed."""

MOST_VALUES = 2**28
"""Spikes of one layer over all steps and samples (int8)."""


def correct_layerwise(job: Job, thresholds: Sequence[Array], delay: int) -> Correction:
    """Correct what `settings.corrections` names, layer by layer; `thresholds` per site in ANN units.

    At most 200 samples are simulated, fewer where T steps of a large layer would not fit into memory.
    """
    graph, parts, samples, settings = job.graph, job.partition, job.samples, job.settings
    pieces = segments(graph, parts)
    count = _affordable(parts.sites, len(samples), settings.steps)
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(samples))[:count])
    sweep = Sweep(
        graph, graph.copy(), samples.batch(chosen), count, job.fixed_batch, settings, delay
    )
    _require_order(sweep, pieces)
    offsets, potentials = [], []
    for done, piece in enumerate(pieces):
        if piece.site is None:
            break
        offset, potential = _correct_site(sweep, piece, piece.site, thresholds[done])
        offsets.append(offset)
        potentials.append(potential)
        for name in set(sweep.sent) - {
            name for later in pieces[done + 1 :] for name in later.takes
        }:
            del sweep.sent[name]
        job.progress("corrections", done + 1, len(pieces))
    _correct_readout(sweep, pieces[-1])
    job.progress("corrections", len(pieces), len(pieces))
    corrected = with_offsets(sweep.graph, parts.sites, offsets)
    kept = tuple(potentials) if "potential" in settings.corrections else None
    return Correction(corrected, kept, tuple(sweep.skipped))


def _affordable(sites: Sequence[Site], samples: int, timesteps: int) -> int:
    largest = max(site.neurons for site in sites)
    return int(np.clip(MOST_VALUES // (largest * timesteps), 1, min(samples, MOST_SAMPLES)))


def _correct_site(sweep: Sweep, piece: Segment, site: Site, theta: Array) -> tuple[Array, Array]:
    """Correct and fire one site; its offset in ANN units and its initial potential in threshold units."""
    assert piece.current is not None
    what, steps = sweep.settings.corrections, sweep.settings.steps
    wanted = sweep.run(sweep.original, piece, piece.tensors, sweep.activations(piece))
    means = sweep.means(piece, 0)
    if "weights" in what:
        for response in piece.responses:
            _fit(sweep, piece, response, wanted, means)
    session = sweep.open(sweep.graph, piece, [piece.current])
    shape = site.threshold_shape("channel")
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    activation = np.clip(wanted[piece.current], 0, site.upper).astype(np.float32)
    offset = np.zeros(shape)
    potential = np.full(shape, INITIAL_POTENTIAL)

    def output_lacks(samples: int) -> Array:
        _, total = fire(sweep, session, piece, offset, theta, potential, samples)
        return _lacking(activation[: len(total)], total * (theta / steps).astype(np.float32))

    if "bias" in what:
        lacking = _lacking(wanted[piece.current], sweep.mean_current(session, piece, means))
        offset += lacking.mean(axis=axes, keepdims=True, dtype=np.float64)
        for _ in range(OUTPUT_ROUNDS):
            offset += output_lacks(OUTPUT_SAMPLES).mean(axis=axes, keepdims=True, dtype=np.float64)
    if "potential" in what:
        over = 0 if all(isinstance(d, int) for d in site.shape[1:]) else axes
        lacks = output_lacks(sweep.count).mean(axis=over, keepdims=True)
        potential = within_threshold(potential + steps / theta * lacks)
    spikes, total = fire(sweep, session, piece, offset, theta, potential, sweep.count)
    sweep.sent[site.tensor] = Sent(activation, spikes, total, theta)
    return offset, potential


def _fit(
    sweep: Sweep,
    piece: Segment,
    response: Response,
    wanted: Mapping[str, Array],
    means: Mapping[str, Array],
) -> None:
    """Fit an operator's weights at these mean outputs of the sites before it, once: a site it has served has fired."""
    if response.node in sweep.fitted:
        return
    sweep.fitted.add(response.node)
    node = sweep.node(response.node)
    x = node.inputs[0].name
    found = sweep.run(sweep.graph, piece, [x, response.y], means)
    lacking = _lacking(wanted[response.y], found[response.y])
    inputs = np.nan_to_num(found[x], posinf=0.0, neginf=0.0) if piece.analog else found[x]
    change = fit_weights(node, inputs, lacking, centred="bias" in sweep.settings.corrections)
    if isinstance(change, str):
        sweep.skipped.append((response.node, change))
    else:
        with_weights(sweep.graph, node, change)


def _correct_readout(sweep: Sweep, piece: Segment) -> None:
    """Fit weights and biases of the readout's operators in order, at the mean output after the delay."""
    what = sweep.settings.corrections
    if not piece.responses or not {"bias", "weights"}.intersection(what):
        return
    wanted = sweep.run(sweep.original, piece, piece.tensors, sweep.activations(piece))
    means = sweep.means(piece, sweep.delay)
    for response in piece.responses:
        if "weights" in what:
            _fit(sweep, piece, response, wanted, means)
        if "bias" in what:
            lacking = _lacking(
                wanted[response.y], sweep.run(sweep.graph, piece, [response.y], means)[response.y]
            )
            axis = _output_axis(sweep.node(response.node), lacking.ndim)
            over = tuple(a for a in range(lacking.ndim) if a != axis)
            shift = lacking.mean(axis=over, keepdims=True, dtype=np.float64)
            sweep.graph = with_shifts(sweep.graph, {(response.y, None): shift})


def _lacking(wanted: Array, found: Array) -> Array:
    """What the SNN's answer lacks of the ANN's; nothing where either is no number."""
    difference: Array = wanted - found
    if not np.isfinite(difference.sum()):
        difference[~np.isfinite(difference)] = 0.0
    return difference


def _require_order(sweep: Sweep, pieces: Sequence[Segment]) -> None:
    """Raise UsageError where a tensor does not hold the samples one after another along axis 0."""
    names = list(dict.fromkeys(name for piece in pieces for name in (*piece.takes, *piece.tensors)))
    size = sweep.fixed or min(ORDERED, sweep.count)
    session = sweep.open(sweep.original, Segment(None, (), None, ()), names)
    given = {i.name: sweep.inputs[i.name] for i in session.get_inputs()}
    feed = {name: np.resize(x, (size, *x.shape[1:])) for name, x in given.items()}
    ahead, back = (
        session.run(None, {n: np.ascontiguousarray(x[::way]) for n, x in feed.items()})
        for way in (1, -1)
    )
    for name, one, other in zip(names, ahead, back, strict=True):
        fits = one.ndim > 0 and len(one) % size == 0
        if fits:
            turned = one.reshape(size, -1, *one.shape[1:])[::-1].reshape(one.shape)
            near = 1e-3 * float(
                np.abs(one, where=np.isfinite(one), out=np.zeros_like(one)).max(initial=0.0)
            )
            fits = np.allclose(turned, other, rtol=0.0, atol=near, equal_nan=True)
        if not fits:
            raise UsageError(
                f"tensor '{name}' does not hold its samples one after another along axis 0, which correcting layer by "
                "layer needs; give --correct none, or --correct bias --rounds 8 for all layers at once"
            )


def _output_axis(node: Node, ndim: int) -> int:
    """The axis of a weighted operator's output channels."""
    return 1 if node.op.startswith("Conv") else ndim - 1
