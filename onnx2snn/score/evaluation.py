"""Evaluation at work: runs ANN and SNN batch by batch, and makes a result of those done so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import cast

from onnx2snn.aliases import Array, Progress
from onnx2snn.data.batches import Batch, Span, filled
from onnx2snn.data.samples import Samples
from onnx2snn.protos.computing import computing, simulating
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.sessions import open_session
from onnx2snn.protos.specs import fixed_batch, input_specs
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.energy import Bill, Prices, Sent, Spikes, Tally
from onnx2snn.score.intervals import drop_intervals
from onnx2snn.score.metrics import Metric, Rows
from onnx2snn.score.output_axes import output_axes
from onnx2snn.score.plan import BATCH, EvaluationPlan, Models
from onnx2snn.score.question import Question, steps_left_out
from onnx2snn.score.results import CostedRow, EvaluationRow, UntimedResult, score_of
from onnx2snn.score.synapses import multiply_accumulates, wiring
from onnx2snn.spread.work import Spread, Work


@dataclass(frozen=True)
class ScoredBatch:
    """Rows of the metric for some samples, the SNN's by window, and its spikes and SOPs by T."""

    count: int
    ann: Rows
    snn: list[Rows]
    sent: dict[int, Sent]
    told: object
    """What the metric was told beside its rows."""


@dataclass
class Evaluation:
    """One evaluation: the models, its plan, and the batches that are scored so far.

    Another process may score batches: what it finds is the same.
    """

    models: Models
    plan: EvaluationPlan
    bill: Bill | None
    """None where energy is not asked for."""
    scored: list[ScoredBatch] = field(default_factory=list)
    scripts: ExitStack | None = None
    """As long as it is open, the metric's script can import its neighbours."""

    @property
    def done(self) -> int:
        """Samples that are scored."""
        return sum(batch.count for batch in self.scored)

    def run(self, progress: Progress, spread: Spread, work: Work[Evaluation]) -> None:
        """Score all samples; after an interrupt, `scored` holds the batches that were finished.

        Args:
            progress: Called with ("evaluating", samples done, samples in all).
            spread: Where batches are scored.
            work: This evaluation, as others open it.
        """
        plan = self.plan

        def finished(batches: int) -> None:
            progress("evaluating", plan.samples_in(batches), plan.count)

        for scored in spread.map(work, plan.spans(), finished=finished):
            plan.metric.take_over(scored.told)
            self.scored.append(scored)

    def compute(self, items: Sequence[Span], shared: object = None) -> Iterator[ScoredBatch]:
        """Yield what is scored of each of some batches."""
        return map(self._score, self.plan.batches(items))

    def _score(self, batch: Batch) -> ScoredBatch:
        metric = self.plan.metric
        windows = self.plan.windows
        simulation = self.models.simulation
        expected = self.ann_outputs(batch)
        wanted = expected if metric.against_ann else self.targets(batch)
        ann = metric.measure(expected, wanted, batch.first)
        snn: list[Rows] = [None] * len(windows)
        sent: dict[int, Sent] = {}
        # Windows come as simulated time gets to their T, when the activity so far is at hand.
        for index, outputs in simulation.answers(batch.feed, windows):
            own = self.own_outputs(batch, outputs)
            snn[index] = metric.measure(own, wanted, batch.first)
            t, _ = windows[index]
            if self.bill is not None and t not in sent:
                tally = self.bill.tally
                sent[t] = tally.measure(Spikes.of(simulation), batch.fed, batch.count)
        return ScoredBatch(batch.count, ann, snn, sent, metric.hand_over())

    def targets(self, batch: Batch) -> list[Array]:
        """Return the arrays beside a batch's inputs that the metric takes."""
        samples = self.plan.samples
        return [samples.target(key, batch.indices) for key in self.plan.metric.targets]

    def ann_outputs(self, batch: Batch) -> list[Array]:
        """Return the ANN's outputs for a batch's own samples as the metric takes them."""
        return self.own_outputs(batch, self._reference_outputs(batch.feed))

    def own_outputs(self, batch: Batch, outputs: Sequence[Array]) -> list[Array]:
        """Return the outputs of a batch's own samples as the metric takes them."""
        axes = self.models.axes
        own = axes.own(batch, outputs)
        return axes.by_sample(own) if self.plan.metric.by_sample else own

    def _reference_outputs(self, feed: Mapping[str, Array]) -> Sequence[Array]:
        with computing(self.models.specs):
            return list(self.models.reference.run(None, feed))

    def result(self) -> UntimedResult:
        """Return the result of the batches that are scored."""
        plan = self.plan
        ann_rows = [batch.ann for batch in self.scored]
        ann = plan.metric.score(ann_rows)
        if self.bill is not None:
            for batch in self.scored:
                self.bill.tally.add(batch.count, batch.sent)
        rows = [self._costed_row(index) for index, _ in enumerate(plan.windows)]
        asked = rows[: plan.asked]
        snn_rows = [self._metric_rows(index) for index, _ in enumerate(asked)]
        intervals = drop_intervals(plan.metric, self.done, ann_rows, snn_rows)
        pairs = zip(asked, intervals, strict=True)
        result: UntimedResult = {
            "samples": self.done,
            "partial": self.done < plan.count,
            "ann": {plan.name: ann},
            "snn": [self._row(ann, row, interval) for row, interval in pairs],
            "scored": self._scored(),
            "warnings": [*self._warnings(), *_costly(asked)],
        }
        if self.bill is not None:
            energy = self.bill.result(plan.metric, plan.name, ann, rows)
            result["energy"] = energy
        return result

    def _metric_rows(self, window: int) -> list[Rows]:
        return [batch.snn[window] for batch in self.scored]

    def _costed_row(self, index: int) -> CostedRow:
        """Return score and cost in a window; without energy, the score alone."""
        window = self.plan.windows[index]
        t, _ = window
        metric_rows = self._metric_rows(index)
        row: dict[str, object] = {
            "timesteps": t,
            "delay": steps_left_out(window, self.models.simulation),
            self.plan.name: self.plan.metric.score(metric_rows),
        }
        row.update(self.plan.metric.beside(metric_rows))
        if self.bill is not None:
            row.update(self.bill.cost(t))
        return cast(CostedRow, row)

    def _row(
        self, ann: float, row: CostedRow, interval: tuple[float, float] | None
    ) -> EvaluationRow:
        """Return a row of the result: a score, its drop below the ANN's, then the cost."""
        name = self.plan.name
        score = score_of(row, name)
        drop = self.plan.metric.drop(ann, score)
        head = {
            "timesteps": row["timesteps"],
            "delay": row["delay"],
            name: score,
            "drop": float(drop),
            "drop_95": interval,
        }
        return cast(EvaluationRow, {**head, **row})

    def _scored(self) -> str:
        """Return which output was scored, and how, at the largest T."""
        last = max(range(self.plan.asked), key=lambda index: self.plan.windows[index][0])
        return self.plan.metric.described(self._metric_rows(last))

    def _warnings(self) -> list[str]:
        source = self.models.source
        if self.models.simulation.metadata["source_sha256"] == source.sha256:
            return []
        return [
            f"the spiking model was made from another file than '{source.name}' "
            "(their hashes differ)"
        ]


def _costly(rows: Sequence[CostedRow]) -> list[str]:
    """Return a warning where the SNN takes more energy than the ANN at the largest T asked for."""
    last = max(rows, key=lambda row: row["timesteps"])
    ratio = last.get("ratio_with_analog")
    if ratio is None or ratio >= 1:
        return []
    return [
        f"with everything counted the SNN takes {1 / ratio:.3g} times the ANN's energy at "
        f"T = {last['timesteps']}"
    ]


def planned(
    source: LoadedModel,
    simulation: Simulation,
    samples: Samples,
    metric: Metric,
    question: Question,
) -> Evaluation:
    """Return an evaluation that is ready to run.

    Args:
        source: The ANN.
        simulation: The SNN; it counts activity where energy is asked for.
        samples: The data, opened.
        metric: The metric, opened.
        question: The options.

    Raises:
        UsageError: A delay leaves no time-step.
    """
    specs = input_specs(source.proto)
    fixed = fixed_batch(specs)
    windows = question.windows(simulation, metric)
    starts = {steps_left_out(window, simulation) for window in windows}
    kept = len(starts - {0})  # sums that are kept at once, to be subtracted at the windows' ends
    size = fixed
    if size is None:
        one = samples.batch([0])
        size = affordable_batch(simulation, one, BATCH, kept)
    bill = None
    if question.energy:
        bill = _bill(source, simulation, samples, question.prices)
    count = len(samples)
    if question.limit is not None:
        count = min(count, question.limit)
    assert question.metric is not None  # chosen before
    name = question.metric
    asked = len(question.times(simulation))
    plan = EvaluationPlan(samples, count, size, fixed, metric, name, windows, asked)
    reference = open_session(source.proto, question.threads, question.providers)
    axes = output_axes(source.proto, specs, samples, reference)
    models = Models(source, specs, reference, simulation, axes)
    return Evaluation(models, plan, bill)


def _bill(source: LoadedModel, simulation: Simulation, samples: Samples, prices: Prices) -> Bill:
    """Count the synapses of the SNN and the FLOPs of the ANN, on one sample."""
    specs = input_specs(source.proto)
    one = filled(samples, [0], fixed_batch(specs)).feed
    with simulating():
        tally = Tally(wiring(simulation.model, one))
    with simulating("the ANN's operations on these inputs cannot be counted"):
        flops = multiply_accumulates(source.proto, one)
    return Bill(tally, prices, flops)
