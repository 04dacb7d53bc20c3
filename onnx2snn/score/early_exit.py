"""Scores with early exit: each sample counts with the answer of the step that it stops at.

Answers, margins and costs of all steps come out of one simulation, so that a margin is chosen, or
scored, without another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from onnx2snn.aliases import Array, Progress
from onnx2snn.data.batches import Batch, Span, filled
from onnx2snn.errors import GateError, UsageError
from onnx2snn.runtime.early_exit import class_scores, margins, windows_up_to
from onnx2snn.runtime.simulation import Windows
from onnx2snn.score.evaluation import Evaluation
from onnx2snn.score.results import ExitResult
from onnx2snn.score.synapses import samples_first
from onnx2snn.spread.work import Spread, Work

METRICS = ("top1", "top5", "agreement")
"""Metrics of class scores."""

CANDIDATES = np.arange(101) / 100
"""Margins that a choice is made from."""


@dataclass(frozen=True)
class Trace:
    """Samples at each step: whether they repeat their class, margins, the metric's rows, costs.

    `repeats`, `margins`: [steps, N]. `rows`: [steps, N, K]. `sent`: spikes and SOPs so far,
    [steps, N, 2]. `ann`: the ANN's rows [N, K].
    """

    repeats: Array
    margins: Array
    rows: Array
    sent: Array
    ann: Array

    def exits(self, margin: float) -> Array:
        """Return the number of the step, from 0, that each sample stops at."""
        stable = self.repeats & (self.margins >= margin)
        # at the last step all that are left stop
        stable[-1] = True
        return np.asarray(stable.argmax(axis=0))

    def at(self, of_steps: Array, exits: Array) -> Array:
        """Return of an array [steps, N, ...] what belongs to each sample's step."""
        return np.asarray(of_steps[exits, np.arange(len(exits))])


class EarlyExit:
    """The samples of one evaluation, at work."""

    def __init__(self, evaluation: Evaluation) -> None:
        """Look at all steps up to the largest T of an evaluation.

        Raises:
            UsageError: What is scored is not the best of some classes.
        """
        plan = evaluation.plan
        if plan.name not in METRICS:
            raise _refusal(f"{plan.name} is scored")
        self.evaluation = evaluation
        last, delay = max(plan.windows[: plan.asked], key=lambda window: window[0])
        self._windows: Windows = windows_up_to(evaluation.models.simulation, last, delay)
        self._scores(evaluation.ann_outputs(filled(plan.samples, [0], plan.fixed)))

    def trace(self, progress: Progress, spread: Spread, work: Work[EarlyExit]) -> Trace:
        """Run all samples.

        Args:
            progress: Called with ("early exit", samples done, samples in all).
            spread: Where they run.
            work: These samples, as others open them.
        """
        plan = self.evaluation.plan

        def finished(batches: int) -> None:
            progress("early exit", plan.samples_in(batches), plan.count)

        found = list(spread.map(work, plan.spans(), finished=finished))

        def joined(name: str) -> Array:
            return np.concatenate([getattr(part, name) for part in found], axis=1)

        ann = np.concatenate([part.ann for part in found])
        return Trace(joined("repeats"), joined("margins"), joined("rows"), joined("sent"), ann)

    def compute(self, items: Sequence[Span], shared: object = None) -> Iterator[Trace]:
        """Yield what is found of each of some batches."""
        return map(self._traced, self.evaluation.plan.batches(items))

    def _traced(self, batch: Batch) -> Trace:
        evaluation = self.evaluation
        metric = evaluation.plan.metric
        expected = evaluation.ann_outputs(batch)
        wanted = expected if metric.against_ann else evaluation.targets(batch)
        ann = metric.measure(expected, wanted, batch.first)
        best: list[Array] = []
        margin, rows, sent = [], [], []
        for _, outputs in evaluation.models.simulation.answers(batch.feed, self._windows):
            own = evaluation.own_outputs(batch, outputs)
            scores = self._scores(own)
            best.append(scores.argmax(axis=1))
            margin.append(margins(scores))
            rows.append(metric.measure(own, wanted, batch.first))
            sent.append(self._sent(batch))
        classes = np.array(best)
        repeats = np.zeros(classes.shape, bool)
        repeats[1:] = classes[1:] == classes[:-1]
        return Trace(repeats, np.array(margin), np.array(rows), np.array(sent), ann)

    def _scores(self, outputs: list[Array]) -> Array:
        """Return the class scores [N, C] of the output that is scored."""
        offered = self.evaluation.plan.metric.offered(outputs)
        found = [class_scores(output) for output in offered.values()]
        if len(found) != 1 or found[0] is None:
            raise _refusal("the scored output is not that")
        return found[0]

    def _sent(self, batch: Batch) -> Array:
        """Return spikes and SOPs of each sample so far, [N, 2]; zeros where nothing is counted."""
        evaluation = self.evaluation
        total = np.zeros((batch.count, 2))
        if evaluation.bill is None:
            return total
        wiring = evaluation.bill.tally.wiring
        activity = evaluation.models.simulation.activity(copy=False)
        for site, heights in activity.items():
            by_sample = samples_first(heights, wiring.places.get(site), batch.fed)[: batch.count]
            total[:, 0] += by_sample.sum(axis=1, dtype=np.float64)
            total[:, 1] += by_sample.astype(np.float64) @ wiring.fan_out[site]
        return total

    def chosen(self, trace: Trace, points: float) -> float:
        """Return the smallest margin that loses at most some percentage points.

        No larger one loses more, either. The loss is against the answers at T.

        Raises:
            GateError: Every margin loses more.
        """
        metric = self.evaluation.plan.metric
        whole = metric.score([trace.rows[-1]])
        found = None
        for margin in CANDIDATES[::-1]:
            score = metric.score([trace.at(trace.rows, trace.exits(margin))])
            if 100 * float(metric.drop(whole, score)) > points:
                break
            found = float(margin)
        if found is None:
            raise GateError(f"no exit margin loses at most {points:g} points on the exit data")
        return found

    def result(self, trace: Trace, margin: float) -> ExitResult:
        """Return score, steps and costs at a margin."""
        plan = self.evaluation.plan
        exits = trace.exits(margin)
        times = np.array([t for t, _ in self._windows])
        steps = times[exits]
        score = plan.metric.score([trace.at(trace.rows, exits)])
        ann = plan.metric.score([trace.ann])
        mean = float(steps.mean())
        found: dict[str, object] = {
            "margin": margin,
            "timesteps": int(times[-1]),
            "mean_timesteps": mean,
            "histogram": {str(t): int((steps == t).sum()) for t in times},
            plan.name: score,
            "drop": float(plan.metric.drop(ann, score)),
        }
        bill = self.evaluation.bill
        if bill is not None:
            spikes, sops = trace.at(trace.sent, exits).mean(axis=0).tolist()
            wiring = bill.tally.wiring
            # core and readout run at each step, since the answer has to be looked at
            flops = wiring.encoder + mean * (wiring.step + wiring.readout)
            found["spikes"] = spikes
            found.update(bill.prices.snn(sops, flops, bill.ann_flops))
        return cast(ExitResult, found)


def _refusal(reason: str) -> UsageError:
    return UsageError(f"early exit needs a scored output of class scores, [N, classes]; {reason}")
