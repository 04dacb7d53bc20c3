"""Each stage against the one before it, and the SNN against the ANN at T."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.calibrate.instrument import RATE, instrument, threshold_input
from onnx2snn.data.samples import Samples
from onnx2snn.errors import StageMismatchError
from onnx2snn.graph.editing import make_constant, to_proto
from onnx2snn.graph.operators import ACCUMULATED_MAX_POOL, INCREASE, MEAN_SO_FAR, RUNNING_MEAN
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.sessions import open_session
from onnx2snn.protos.specs import TensorSpec, first_samples, fixed_batch
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.session import SpikingSession
from onnx2snn.score.metrics import Agreement, difference
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP

TOLERANCE = 1e-3
"""Largest relative L2 difference between two stages; float32 rounding alone stays near 1e-6."""

LOW_AGREEMENT = 0.9


def check_stage(stage: str, before: Sequence[Array], after: Sequence[Array], tolerance: float = TOLERANCE) -> float:
    """The largest relative L2 difference between two stages' outputs; StageMismatchError beyond the tolerance."""
    worst = 0.0
    for one, other in zip(before, after, strict=True):
        if one.dtype.kind != "f":
            continue
        difference = relative_error(other, one)
        if not difference <= tolerance:
            raise StageMismatchError(
                f"stage '{stage}' changes the network's output by {difference:.2g} (relative L2; rounding stays below "
                f"{tolerance:.0e}); please report this model"
            )
        worst = max(worst, difference)
    return worst


def relative_error(found: Array, wanted: Array) -> float:
    """||found - wanted|| / ||wanted||, 0 where both are 0; the same infinity, or both undefined, is no difference."""
    norm = float(np.linalg.norm(wanted[np.isfinite(wanted)].astype(np.float64)))
    error = float(np.linalg.norm(difference(found, wanted).ravel()))
    return error / norm if norm else (0.0 if error == 0 else float("inf"))


def run_model(model: onnx.ModelProto | Graph, feed: Mapping[str, Array], threads: int | None) -> list[Array]:
    """The outputs of a model or graph for one feed."""
    proto = model if isinstance(model, onnx.ModelProto) else to_proto(model)
    session = open_session(proto, threads)
    taken = {i.name for i in session.get_inputs()}
    return list(session.run(None, {name: value for name, value in feed.items() if name in taken}))


def run_balanced(
    graph: Graph,
    sites: Sequence[Site],
    thresholds: Sequence[Array],
    granularity: str,
    feed: Mapping[str, Array],
    threads: int | None,
) -> list[Array]:
    """The ANN's outputs with every activation clipped at its threshold."""
    clipped = instrument(graph, sites, "overshoot", granularity, keep_outputs=True)
    extra = {threshold_input(s): t.astype(np.float32) for s, t in zip(sites, thresholds, strict=True)}
    outputs = run_model(clipped, {**feed, **extra, RATE: np.zeros(1, np.float32)}, threads)
    return outputs[: len(graph.outputs)]


def as_clipped(graph: Graph) -> Graph:
    """A copy of a spiking graph in the limit of many steps: neurons are clip(x, 0, levels), means are their input."""
    graph = graph.copy()
    for node in graph.nodes:
        if node.domain != SNN_DOMAIN:
            continue
        if node.op in BY_OP:
            bounds = {"low": 0, "high": node.attrs["levels"]}
            node.op, node.attrs = "Clip", {}
            node.inputs.extend([make_constant(f"{node.name}/{n}", np.array(b, np.float32)) for n, b in bounds.items()])
        elif node.op in (RUNNING_MEAN, MEAN_SO_FAR, INCREASE):
            node.op = "Identity"
        elif node.op == ACCUMULATED_MAX_POOL:
            node.attrs = dict(node.attrs)
            node.op = node.attrs.pop("pool")
        node.domain = None
    return graph


@dataclass(frozen=True)
class SiteError:
    """A site's mean output r against the ANN's activation a after T steps, relative to ||a||.

    With x the mean input the SNN really got: `own` is ||r - clip(x)||, clipping and rounding in this layer; `inherited`
    is ||clip(x) - a||, what came from the layers before (the two terms of the paper's theorem 1); `total` is ||r - a||.
    Here clip(x) is the ANN's own activation of x. `rate`: spikes a neuron and step.
    """

    site: str
    total: float
    own: float
    inherited: float
    rate: float


@dataclass(frozen=True)
class Comparison:
    """How the SNN compares with the ANN on some samples."""

    agreement: float
    samples: int
    sites: tuple[SiteError, ...]

    def warnings(self, timesteps: int, random: bool) -> list[str]:
        """Low agreement is worth a sentence (on random inputs it says little)."""
        if random or self.agreement >= LOW_AGREEMENT:
            return []
        return [
            f"agreement with the ANN is only {self.agreement:.1%} at T = {timesteps}; "
            "more time-steps or more typical calibration data help"
        ]


def compare(
    graph: Graph,
    sites: Sequence[Site],
    thresholds: Sequence[Array],
    snn: onnx.ModelProto,
    samples: Samples,
    specs: Sequence[TensorSpec],
    *,
    timesteps: int,
    delay: int,
    batch: int,
    threads: int | None,
) -> Comparison:
    """Run both on the samples, batch by batch, and add up errors and agreement."""
    ann = _with_activations(graph, sites, threads)
    session = SpikingSession(snn, threads=threads, count_spikes=True, count_activity=True)
    outputs = len(graph.outputs)
    squares, rates = np.zeros((len(sites), 4)), np.zeros(len(sites))
    agreement, rows = Agreement(), []
    fixed = fixed_batch(specs)
    size = fixed or affordable_batch(session, samples.batch([0]), batch)
    names = {i.name for i in ann.get_inputs()}
    for start in range(0, len(samples), size):
        indices = np.arange(start, min(start + size, len(samples)))
        feed = samples.batch(np.resize(indices, fixed) if fixed else indices)
        found = ann.run(None, {name: value for name, value in feed.items() if name in names})
        answer = session.run(None, {s.name: feed[s.name] for s in specs}, timesteps, delay)
        rows.append(
            agreement.measure(first_samples(answer, len(indices)), first_samples(found[:outputs], len(indices)))
        )
        counts, potentials = session.spike_counts(), session.potentials()
        for row, site, theta, a in zip(squares, sites, thresholds, found[outputs:], strict=True):
            rate = theta * counts[site.name] / timesteps
            current = theta * (counts[site.name] + potentials[site.name]) / timesteps
            expected = np.clip(current, 0, site.upper)
            row += [np.sum(np.square(d, dtype=np.float64)) for d in (rate - a, rate - expected, expected - a, a)]
        activity = session.activity()
        rates += [activity[site.name].mean() / timesteps * len(indices) for site in sites]
    norms = np.sqrt(squares)
    norms[:, :3] /= np.where(norms[:, 3:] > 0, norms[:, 3:], 1.0)
    rates /= len(samples)
    errors = tuple(
        SiteError(site.name, *map(float, (*row[:3], rate))) for site, row, rate in zip(sites, norms, rates, strict=True)
    )
    return Comparison(agreement.score(rows), len(samples), errors)


def _with_activations(graph: Graph, sites: Sequence[Site], threads: int | None) -> ort.InferenceSession:
    graph = graph.copy()
    tensors = graph.tensors()
    graph.outputs = list(graph.outputs) + [tensors[site.tensor] for site in sites]
    return open_session(to_proto(graph), threads)
