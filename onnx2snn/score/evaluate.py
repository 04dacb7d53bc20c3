"""ANN and SNN side by side on labelled data, at several T out of one simulation."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

from onnx2snn.aliases import ModelSource, Progress
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.protos.load import LoadedModel, load_model
from onnx2snn.protos.notes import NOTES
from onnx2snn.protos.specs import fixed_batch, input_specs
from onnx2snn.protos.unbatched import by_sample
from onnx2snn.runtime.by_sample import read_by_sample
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.score.choice import fitting_metric
from onnx2snn.score.early_exit import EarlyExit
from onnx2snn.score.elsewhere import early_exit_work, evaluation_work, simulation_of
from onnx2snn.score.evaluation import Evaluation, planned
from onnx2snn.score.plan import BATCH
from onnx2snn.score.question import Question, check_ann, check_pair
from onnx2snn.score.results import EvaluationResult
from onnx2snn.score.streaming import Streaming
from onnx2snn.spread.work import HERE, Spread


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during an evaluation; `result` is that of the samples done, marked as partial."""

    def __init__(self, result: EvaluationResult) -> None:
        """Keep the result of the samples done."""
        super().__init__()
        self.result = result


def run_evaluation(
    ann: ModelSource,
    snn: ModelSource,
    data: object,
    question: Question,
    progress: Progress,
    spread: Spread = HERE,
) -> EvaluationResult:
    """Score an ANN and its spiking model: `api.evaluate` with the options as one object.

    They are checked, and the data is opened, before any work.

    Args:
        ann: The ANN.
        snn: The spiking model that was made of it.
        data: Anything calibration data may be, with labels, masks or boxes beside the inputs.
        question: The options.
        progress: Called with ("evaluating", samples done, samples in all).
        spread: Where batches are scored.

    Returns:
        The scores of both, and what they cost a sample.

    Raises:
        UsageError: An option makes no sense, or the models do not belong together.
        ModelFileError: A file is no model of its kind.
        DataError: The data do not fit the model, or the metric.
        ClusterError: The workers are lost.
        EvaluationInterrupted: Ctrl-C, after at least one batch.
    """
    started = time.perf_counter()
    source = load_model(ann)
    check_ann(source)
    question.check()
    simulation = simulation_of(read_by_sample(snn), question)
    source = by_sample(source, simulation.metadata.get("unbatched", []))
    check_pair(source, simulation)
    if question.stream:
        simulation.require_streams()
    with ExitStack() as stack:
        if isinstance(data, Samples):
            samples = data
        else:
            samples = stack.enter_context(_opened(data, source))
        size = BATCH
        if fixed_batch(input_specs(source.proto)) is None:
            size = affordable_batch(simulation, samples.batch([0]), BATCH)
        name, metric = fitting_metric(source, samples, question, size, stack)
        question = replace(question, metric=name)
        evaluation = planned(source, simulation, samples, metric, question)
        _check_baseline(evaluation, question)
        stream = Streaming(evaluation) if question.stream else None
        early = EarlyExit(evaluation) if question.exit_margin is not None else None
        try:
            evaluation.run(progress, spread, evaluation_work(evaluation, question))
            if stream is not None:
                if spread is not HERE:
                    NOTES.info("a stream goes from sample to sample: it is scored here")
                stream.run(progress)
            exit_result = None
            if early is not None:
                margin = _exit_margin(evaluation, question, progress, spread)
                trace = early.trace(progress, spread, early_exit_work(early, question))
                exit_result = early.result(trace, margin)
        except KeyboardInterrupt:
            if not evaluation.done:
                raise
            raise EvaluationInterrupted(_timed(evaluation, stream, started)) from None
        result = _timed(evaluation, stream, started)
        if exit_result is not None:
            result["exit"] = exit_result
        return result


def _check_baseline(evaluation: Evaluation, question: Question) -> None:
    """Refuse a baseline of another question (UsageError)."""
    if question.baseline is None:
        return
    plan = evaluation.plan
    largest = max(t for t, _ in plan.windows[: plan.asked])
    prices = None
    if evaluation.bill is not None:
        prices = (evaluation.bill.prices.sop, evaluation.bill.prices.flop)
    question.baseline.require_comparable(
        plan.name, plan.count, largest, prices, streamed=question.stream
    )


def _opened(data: object, source: LoadedModel) -> Samples:
    specs = input_specs(source.proto)
    return open_samples(data, specs, unbatched=source.unbatched)


def _exit_margin(
    evaluation: Evaluation, question: Question, progress: Progress, spread: Spread
) -> float:
    """Return the margin that is given, or the one chosen on the data for it."""
    if question.exit_margin != "auto":
        return float(cast(float, question.exit_margin))
    with _opened(question.exit_data, evaluation.models.source) as samples:
        # the metric's targets are those of these data
        plan = replace(evaluation.plan, samples=samples, count=len(samples))
        early = EarlyExit(replace(evaluation, plan=plan))
        assert question.exit_loss is not None  # checked with the options
        trace = early.trace(progress, spread, early_exit_work(early, question))
        return early.chosen(trace, question.exit_loss)


def _timed(evaluation: Evaluation, stream: Streaming | None, started: float) -> EvaluationResult:
    result = evaluation.result()
    if stream is not None:
        result["stream"] = stream.rows(result)
        result["partial"] = result["partial"] or not stream.complete
    seconds = time.perf_counter() - started
    return {**result, "seconds": round(seconds, 3)}
