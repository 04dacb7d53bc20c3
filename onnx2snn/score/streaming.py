"""Scores of a stream: samples in order as frames, each going on from the estimates of the last.

The evaluation before it has scored the same samples with a reset for each; so both stand side by
side. A number of time-steps a frame is a stream of its own: it says where the next frame starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import tee
from typing import cast

from onnx2snn.aliases import Progress
from onnx2snn.data.batches import Batch, filled
from onnx2snn.score.energy import Bill, Spikes, Tally
from onnx2snn.score.evaluation import Evaluation
from onnx2snn.score.metrics import Rows
from onnx2snn.score.results import EvaluationRow, StreamRow, UntimedResult


class Streaming:
    """The frames of one evaluation at work: what is scored so far, by T."""

    def __init__(self, evaluation: Evaluation) -> None:
        """Score the samples of an evaluation, at the T that get a row in it."""
        self._evaluation = evaluation
        asked = evaluation.plan.windows[: evaluation.plan.asked]
        self._times = list(dict.fromkeys(t for t, _ in asked))
        self._measured: dict[int, list[Rows]] = {}
        self._bills: dict[int, Bill] = {}

    @property
    def complete(self) -> bool:
        """Whether every T is scored."""
        return len(self._measured) == len(self._times)

    def run(self, progress: Progress) -> None:
        """Score a stream for each T; after an interrupt, those that were finished are kept."""
        count = self._evaluation.plan.count
        for index, t in enumerate(self._times):
            measured = []
            bill = self._fresh_bill()
            for rows in self._scored(t, bill):
                measured.append(rows)
                done = index * count + len(measured)
                progress("streaming", done, len(self._times) * count)
            self._measured[t] = measured
            if bill is not None:
                self._bills[t] = bill

    def _scored(self, t: int, bill: Bill | None) -> Iterator[Rows]:
        """Yield the metric's rows of each frame, and add up its spikes."""
        evaluation = self._evaluation
        metric = evaluation.plan.metric
        simulation = evaluation.models.simulation
        frames, given = tee(self._frames())
        answers = simulation.stream((frame.feed for frame in given), t, reset=True)
        for frame, outputs in zip(frames, answers, strict=True):
            against = evaluation.ann_outputs if metric.against_ann else evaluation.targets
            own = evaluation.own_outputs(frame, outputs)
            if bill is not None:
                sent = bill.tally.measure(Spikes.of(simulation), frame.fed, frame.count)
                bill.tally.add(frame.count, {t: sent})
            yield metric.measure(own, against(frame), frame.first)

    def _frames(self) -> Iterator[Batch]:
        """Yield batches of one; a fixed batch is filled up with the same frame."""
        plan = self._evaluation.plan
        for index in range(plan.count):
            yield filled(plan.samples, [index], plan.fixed)

    def _fresh_bill(self) -> Bill | None:
        bill = self._evaluation.bill
        if bill is None:
            return None
        return Bill(Tally(bill.tally.wiring), bill.prices, bill.ann_flops)

    def rows(self, result: UntimedResult) -> list[StreamRow]:
        """Return a row for each T that is scored.

        Args:
            result: That of the evaluation with a reset for each.
        """
        alone = {row["timesteps"]: row for row in result["snn"]}
        name = self._evaluation.plan.name
        ann = result["ann"][name]
        return [self._row(t, ann, alone[t]) for t in self._measured]

    def _row(self, t: int, ann: float, alone: EvaluationRow) -> StreamRow:
        plan = self._evaluation.plan
        measured = self._measured[t]
        score = plan.metric.score(measured)
        row: dict[str, object] = {
            "timesteps": t,
            "delay": alone["delay"],
            plan.name: score,
            "drop": float(plan.metric.drop(ann, score)),
            "drop_95": None,
        }
        row.update(plan.metric.beside(measured))
        if t in self._bills:
            cost = self._bills[t].cost(t)
            row.update(cost)
            before = alone["sops"]
            row["sops_of_reset"] = cost["sops"] / before if before else None
        return cast(StreamRow, row)
