"""The SNN against the ANN at T: agreement of their outputs, and the error of each site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.data.batches import batches
from onnx2snn.graph.editing import to_proto
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.sessions import open_session
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.session import SpikingSession
from onnx2snn.score.closeness import Agreement

LOW_AGREEMENT = 0.9

BATCH = 50
"""Samples that are compared together, at most."""


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
    job: Job, thresholds: Sequence[Array], snn: onnx.ModelProto, delay: int, batch: int = BATCH
) -> Comparison:
    """Run both on the samples, batch by batch, and add up errors and agreement."""
    graph, sites, samples, timesteps = job.graph, job.sites, job.data.held_back, job.settings.steps
    ann = _with_activations(graph, sites, job.threads)
    session = SpikingSession(snn, threads=job.threads, count_spikes=True, count_activity=True)
    outputs = len(graph.outputs)
    squares, rates = np.zeros((len(sites), 4)), np.zeros(len(sites))
    agreement, rows = Agreement(), []
    size = job.fixed_batch or affordable_batch(session, samples.batch([0]), batch)
    names = {i.name for i in ann.get_inputs()}
    for few in batches(samples, size, job.fixed_batch):
        found = ann.run(None, {name: value for name, value in few.feed.items() if name in names})
        answer = session.run(None, {s.name: few.feed[s.name] for s in job.specs}, timesteps, delay)
        rows.append(agreement.measure(few.own(answer), few.own(found[:outputs])))
        counts, potentials = session.spike_counts(), session.potentials()
        for row, site, theta, a in zip(squares, sites, thresholds, found[outputs:], strict=True):
            rate = theta * counts[site.name] / timesteps
            current = theta * (counts[site.name] + potentials[site.name]) / timesteps
            expected = np.clip(current, 0, site.upper)
            row += [
                np.sum(np.square(d, dtype=np.float64))
                for d in (rate - a, rate - expected, expected - a, a)
            ]
        activity = session.activity()
        rates += [activity[site.name].mean() / timesteps * few.count for site in sites]
    norms = np.sqrt(squares)
    norms[:, :3] /= np.where(norms[:, 3:] > 0, norms[:, 3:], 1.0)
    rates /= len(samples)
    errors = tuple(
        SiteError(site.name, *map(float, (*row[:3], rate)))
        for site, row, rate in zip(sites, norms, rates, strict=True)
    )
    return Comparison(agreement.score(rows), len(samples), errors)


def _with_activations(
    graph: Graph, sites: Sequence[Site], threads: int | None
) -> ort.InferenceSession:
    graph = graph.copy()
    tensors = graph.tensors()
    graph.outputs = list(graph.outputs) + [tensors[site.tensor] for site in sites]
    return open_session(to_proto(graph), threads)
