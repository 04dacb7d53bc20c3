"""The SNN against the ANN at T: agreement of their outputs, and the error of each site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.data.batches import Batch, batches
from onnx2snn.graph.editing import to_proto
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.sessions import open_own_session
from onnx2snn.protos.specs import output_specs
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.agreement import Agreement
from onnx2snn.score.intervals import drop_intervals
from onnx2snn.score.makers import natures_of
from onnx2snn.score.output_axes import output_axes
from onnx2snn.score.targets import with_targets
from onnx2snn.snn.step_model import read_step_model

LOW_AGREEMENT = 0.9
"""A share of agreement below this is worth a warning."""

BUDGET = 2**32
"""Samples times time-steps times neurons that the comparison takes at most."""

LEAST_SAMPLES = 16
"""Samples that are compared whatever it takes: fewer say little."""

BATCH = 50
"""Samples that are compared together, at most."""


@dataclass(frozen=True)
class SiteError:
    """A site's mean output r against the ANN's activation a after T steps, relative to ||a||.

    With x the mean input the SNN really got, and clip(x) the ANN's own activation of x:
    `own` is ||r - clip(x)||, from clipping and rounding in this layer;
    `inherited` is ||clip(x) - a||, from the layers before (the two terms of the paper's theorem 1);
    `total` is ||r - a||. `rate`: spikes a neuron and step.
    """

    site: str
    total: float
    own: float
    inherited: float
    rate: float


@dataclass(frozen=True)
class Comparison:
    """The SNN beside the ANN on some samples; `agreement` is a share of 1.

    `output` is the one that agrees least, `scored` how it is scored; `relative_error` is its
    ||SNN - ANN|| / ||ANN||, `interval` the 95 % interval of the agreement over samples.
    """

    agreement: float
    samples: int
    sites: tuple[SiteError, ...]
    output: str = ""
    scored: str = ""
    relative_error: float | None = None
    interval: tuple[float, float] | None = None

    def warnings(self, timesteps: int, random: bool) -> list[str]:
        """Return a sentence on low agreement (none on random inputs, where it says little)."""
        if random or self.agreement >= LOW_AGREEMENT:
            return []
        return [
            f"agreement with the ANN is only {self.agreement:.1%} at T = {timesteps}; "
            "more time-steps or more typical calibration data help"
        ]


def compare(
    job: Job, thresholds: Sequence[Array], snn: onnx.ModelProto, delay: int, size: int = BATCH
) -> Comparison:
    """Run ANN and SNN on the samples held back, batch by batch, and add up errors and agreement.

    Args:
        job: The prepared network and its data; T is that of its settings.
        thresholds: The neurons' thresholds per site, in ANN units.
        snn: The emitted spiking model.
        delay: Steps left out of the answer.
        size: Samples that run together, at most.
    """
    ann = _with_activations(job)
    step_model = read_step_model(snn, "model")
    opening = Opening(threads=job.threads)
    session = Simulation(step_model, opening, count_spikes=True, count_activity=True)
    errors = _Errors(job.sites, thresholds, job.settings.steps)
    return _compared(job, ann, session, errors, delay, size)


def compare_estimates(
    job: Job,
    scales: Sequence[Array],
    starts: Sequence[Array],
    snn: onnx.ModelProto,
    size: int = BATCH,
) -> Comparison:
    """Compare as `compare` does, a model with neurons in front of weighted operators.

    Args:
        job: The prepared network and its data.
        scales: λ per site, in ANN units.
        starts: Where estimates start per site, in ANN units.
        snn: The emitted spiking model.
        size: Samples that run together, at most.
    """
    ann = _with_activations(job)
    step_model = read_step_model(snn, "model")
    session = Simulation(step_model, Opening(threads=job.threads), count_activity=True)
    errors = _EstimateErrors(job.sites, scales, job.settings.steps, starts)
    if step_model.coding == "rate":
        errors.told_in = job.settings.steps
    return _compared(job, ann, session, errors, 0, size)


def _compared(
    job: Job,
    ann: ort.InferenceSession,
    session: Simulation,
    errors: _Errors,
    delay: int,
    size: int,
) -> Comparison:
    """Run both batch by batch."""
    outputs = len(job.graph.outputs)
    samples, timesteps = job.data.held_back, job.settings.steps
    proto = to_proto(job.graph)
    names = [output.name for output in proto.graph.output]
    axes = output_axes(proto, job.specs, samples, ann)
    natures = with_targets(natures_of(proto), output_specs(proto), job.data.samples)
    agreement = Agreement(names, natures=natures)
    count = affordable_samples(len(samples), timesteps, job.sites)
    rows = []
    exact = []
    if job.fixed_batch is None:
        size = affordable_batch(session, samples.batch([0]), size)
    for batch in batches(samples, size, job.fixed_batch, count):
        found = _ann_outputs(ann, batch)
        feed = {spec.name: batch.feed[spec.name] for spec in job.specs}
        answer = session.run(feed, timesteps, delay)
        expected = axes.by_sample(axes.own(batch, found[:outputs]))
        answered = axes.by_sample(axes.own(batch, answer))
        rows.append(agreement.measure(answered, expected))
        exact.append(agreement.measure(expected, expected))
        errors.add(session, found[outputs:], batch.count)
    sites = errors.relative(count)
    name, how = agreement.judged(rows)
    error = agreement.beside(rows)["relative_error"]
    (drop,) = drop_intervals(agreement, count, exact, [rows])
    interval = _agreement_interval(drop)
    return Comparison(agreement.score(rows), count, sites, name, how, error, interval)


def affordable_samples(available: int, timesteps: int, sites: Sequence[Site]) -> int:
    """Return how many samples ANN and SNN are compared on: as many as `BUDGET` pays for."""
    neurons = sum(site.neurons for site in sites)
    paid = BUDGET // max(1, neurons * timesteps)
    return min(available, max(LEAST_SAMPLES, paid))


def _agreement_interval(drop: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the interval of an agreement, a fraction, from that of the drop below 1."""
    if drop is None:
        return None
    low, high = drop
    return max(0.0, 1.0 - high), min(1.0, 1.0 - low)


def _ann_outputs(session: ort.InferenceSession, batch: Batch) -> list[Array]:
    taken = {value.name for value in session.get_inputs()}
    feed = {name: value for name, value in batch.feed.items() if name in taken}
    return list(session.run(None, feed))


def _with_activations(job: Job) -> ort.InferenceSession:
    """Return the ANN with the activations of its sites as further outputs."""
    graph = job.graph.copy()
    tensors = graph.tensors()
    activations = [tensors[site.tensor] for site in job.sites]
    graph.outputs = [*graph.outputs, *activations]
    return open_own_session(to_proto(graph), job.threads)


class _Errors:
    """Sums of squared errors per site: total, own and inherited, and the squared norm of a."""

    def __init__(self, sites: Sequence[Site], thresholds: Sequence[Array], timesteps: int) -> None:
        self.sites, self.thresholds, self.timesteps = sites, thresholds, timesteps
        self.squares = np.zeros((len(sites), 4))
        self.spikes = np.zeros(len(sites))

    def add(self, session: Simulation, activations: Sequence[Array], count: int) -> None:
        """Add what a batch's run left in the session; `count` samples of it are its own."""
        counts, potentials = session.spike_counts(), session.potentials()
        activity = session.activity()
        for index, site in enumerate(self.sites):
            theta, a = self.thresholds[index], activations[index]
            sent = counts[site.name]
            rate = theta * sent / self.timesteps
            # all that came in was sent or is still held: x = θ (spikes + potential) / T
            current = theta * (sent + potentials[site.name]) / self.timesteps
            expected = np.clip(current, 0, site.upper)
            differences = (rate - a, rate - expected, expected - a, a)
            self.squares[index] += [_squared_norm(values) for values in differences]
            self.spikes[index] += activity[site.name].mean() / self.timesteps * count

    def relative(self, samples: int) -> tuple[SiteError, ...]:
        """Return the errors relative to ||a||; absolute where that is 0."""
        norms = np.sqrt(self.squares)
        whole = np.where(norms[:, 3:] > 0, norms[:, 3:], 1.0)
        shares = norms[:, :3] / whole
        rates = self.spikes / samples
        return tuple(
            SiteError(site.name, float(total), float(own), float(inherited), float(rate))
            for site, (total, own, inherited), rate in zip(self.sites, shares, rates, strict=True)
        )


class _EstimateErrors(_Errors):
    """The same with neurons in front of weighted operators, r being the estimate of the tensor a.

    `own` is the estimate less the tensor that the SNN really computed, `inherited` that tensor less
    the ANN's.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        thresholds: Sequence[Array],
        timesteps: int,
        starts: Sequence[Array],
    ) -> None:
        super().__init__(sites, thresholds, timesteps)
        self.starts = starts
        self.told_in = 1
        """Steps over which a mean is told: in rate coding all of them."""

    def add(self, session: Simulation, activations: Sequence[Array], count: int) -> None:
        """Add what a batch's run left in the session; `count` samples of it are its own."""
        sent, given, activity = session.sent(), session.given(), session.activity()
        for index, site in enumerate(self.sites):
            scale, start, a = self.thresholds[index], self.starts[index], activations[index]
            told = scale / self.told_in
            estimate = told * sent[site.name] + start
            computed = told * given[site.name] + start
            differences = (estimate - a, estimate - computed, computed - a, a)
            self.squares[index] += [_squared_norm(values) for values in differences]
            self.spikes[index] += activity[site.name].mean() / self.timesteps * count


def _squared_norm(values: Array) -> float:
    return float(np.sum(np.square(values, dtype=np.float64)))
