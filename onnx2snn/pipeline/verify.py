"""The SNN against the ANN at T: agreement of their outputs, and the error of each site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnxruntime as ort

from onnx2snn.aliases import Array
from onnx2snn.data.batches import batches
from onnx2snn.graph.editing import to_proto
from onnx2snn.pipeline.nearer import (
    LEAST_COMPARED,
    LEAST_TIMESTEPS,
    Nearness,
    OutputError,
    nearness,
)
from onnx2snn.pipeline.site_errors import EstimateErrors, SiteError, SiteErrors
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos import apart
from onnx2snn.protos.sessions import open_own_session
from onnx2snn.protos.specs import output_specs
from onnx2snn.runtime.memory import STATES, together
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.agreement import Agreement
from onnx2snn.score.intervals import drop_intervals
from onnx2snn.score.makers import natures_of
from onnx2snn.score.output_axes import OutputAxes, output_axes
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


ErrorsAt = Callable[[int], SiteErrors]
"""Makes sums of sites' errors for a number of time-steps."""


@dataclass(frozen=True)
class Comparison:
    """The SNN beside the ANN on some samples; `agreement` is a share of 1.

    `output` is the one that agrees least, `scored` how it is scored; `relative_error` is its
    ||SNN - ANN|| / ||ANN||, `interval` the 95 % interval of the agreement over samples;
    `nearness`: errors of the outputs at T/4 and T (None: T is small).
    """

    agreement: float
    samples: int
    sites: tuple[SiteError, ...]
    output: str = ""
    scored: str = ""
    relative_error: float | None = None
    interval: tuple[float, float] | None = None
    nearness: Nearness | None = None

    def warnings(self, timesteps: int, random: bool) -> list[str]:
        """Return what is wrong, in sentences (none on random inputs, where it says little)."""
        if random:
            return []
        stays = [] if self.nearness is None else self.nearness.warnings()
        if self.agreement >= LOW_AGREEMENT:
            return stays
        return [
            *stays,
            f"agreement with the ANN is only {self.agreement:.1%} at T = {timesteps}; "
            "more time-steps or more typical calibration data help",
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
    step_model = read_step_model(snn, "model")

    def opened() -> Simulation:
        opening = Opening(threads=job.threads)
        return Simulation(step_model, opening, count_spikes=True, count_activity=True)

    def errors_at(timesteps: int) -> SiteErrors:
        return SiteErrors(job.sites, thresholds, timesteps)

    return _compared(job, opened, errors_at, delay, size)


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
    step_model = read_step_model(snn, "model")

    def opened() -> Simulation:
        return Simulation(step_model, Opening(threads=job.threads), count_activity=True)

    def errors_at(timesteps: int) -> SiteErrors:
        told_in = timesteps if step_model.coding == "rate" else 1
        return EstimateErrors(job.sites, scales, timesteps, starts, told_in)

    return _compared(job, opened, errors_at, 0, size)


def _compared(
    job: Job,
    opened: Callable[[], Simulation],
    errors_at: ErrorsAt,
    delay: int,
    size: int,
) -> Comparison:
    """Run the ANN, then the SNN, batch by batch; the SNN is read at T/4 on the way to T."""
    proto = to_proto(job.graph)
    names = [output.name for output in proto.graph.output]
    natures = with_targets(natures_of(proto), output_specs(proto), job.data.samples)
    agreement = Agreement(names, natures=natures)
    samples = job.data.held_back
    count = affordable_samples(len(samples), job.settings.steps, job.sites)
    ann = _answers_of_ann(job, proto, size, count)
    windows = _windows(job, delay, count)
    sums = [errors_at(end) for end, _ in windows]
    off = [OutputError(len(names)) for _ in windows]
    rows = []
    exact = []
    session = opened()
    several = batches(samples, ann.size, job.fixed_batch, count)
    for batch, found in zip(several, ann.by_batch, strict=True):
        feed = {spec.name: batch.feed[spec.name] for spec in job.specs}
        expected = ann.axes.by_sample(ann.axes.own(batch, found[: len(names)]))
        for index, answer in session.answers(feed, windows):
            answered = ann.axes.by_sample(ann.axes.own(batch, answer))
            sums[index].add(session, found[len(names) :], batch.count)
            off[index].add(answered, expected)
        # T is the last of the windows to end
        rows.append(agreement.measure(answered, expected))
        exact.append(agreement.measure(expected, expected))
        apart.let_go()
    by_window = [errors.relative(count) for errors in sums]
    name, how = agreement.judged(rows)
    (drop,) = drop_intervals(agreement, count, exact, [rows])
    return Comparison(
        agreement.score(rows),
        count,
        by_window[-1],
        name,
        how,
        agreement.beside(rows)["relative_error"],
        _agreement_interval(drop),
        nearness([end for end, _ in windows], off, by_window),
    )


def _windows(job: Job, delay: int, samples: int) -> list[tuple[int, int]]:
    """Return the ends and delays of the windows that are compared: at T/4, if it tells something,
    and at T.
    """
    timesteps = job.settings.steps
    whole = (timesteps, delay)
    if job.data.random or samples < LEAST_COMPARED or timesteps < LEAST_TIMESTEPS:
        return [whole]
    quarter = timesteps // 4
    return [(quarter, delay * quarter // timesteps), whole]


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


@dataclass(frozen=True)
class _AnnAnswers:
    """Outputs and activations of the ANN, in batches of `size`; large ones stand apart."""

    axes: OutputAxes
    size: int
    by_batch: list[list[Array]]


def _answers_of_ann(job: Job, proto: onnx.ModelProto, size: int, count: int) -> _AnnAnswers:
    """Run the ANN on the samples; its session is closed before the SNN's is opened.

    Args:
        job: The prepared network and its data.
        proto: The network.
        size: Samples that run together, at most.
        count: Samples in all.
    """
    samples = job.data.held_back
    ann = _with_activations(job)
    axes = output_axes(proto, job.specs, samples, ann)
    if job.fixed_batch is None:
        activations = _ann_outputs(ann, samples.batch([0]))[len(job.graph.outputs) :]
        neurons = sum(values.size for values in activations)
        size = together(STATES * neurons, size)
    by_batch = []
    for batch in batches(samples, size, job.fixed_batch, count):
        found = [apart.put_apart(values) for values in _ann_outputs(ann, batch.feed)]
        by_batch.append(found)
        apart.let_go()
    return _AnnAnswers(axes, size, by_batch)


def _ann_outputs(session: ort.InferenceSession, feed: Mapping[str, Array]) -> list[Array]:
    taken = {value.name for value in session.get_inputs()}
    own = {name: value for name, value in feed.items() if name in taken}
    return list(session.run(None, own))


def _with_activations(job: Job) -> ort.InferenceSession:
    """Return the ANN with the activations of its sites as further outputs."""
    graph = job.graph.copy()
    tensors = graph.tensors()
    activations = [tensors[site.tensor] for site in job.sites]
    graph.outputs = [*graph.outputs, *activations]
    return open_own_session(to_proto(graph), job.threads, once=True)
