"""Evaluations that another process opens: of the same models, by the same metric."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import onnx

from onnx2snn.data.elsewhere import openable
from onnx2snn.data.samples import Samples
from onnx2snn.protos.load import LoadedModel
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.early_exit import EarlyExit
from onnx2snn.score.evaluation import Evaluation, planned
from onnx2snn.score.question import Question, open_metric
from onnx2snn.snn.step_model import StepModel, read_step_model
from onnx2snn.spread.messages import message
from onnx2snn.spread.work import Work


def simulation_of(model: StepModel, question: Question) -> Simulation:
    """Return a spiking model in time, which counts what a question asks for."""
    opening = Opening(
        providers=question.providers,
        threads=question.threads,
        float16=question.float16,
        kernels=question.kernels,
    )
    counting = question.energy
    return Simulation(model, opening, count_activity=counting, both_sizes=counting)


@dataclass(frozen=True)
class EvaluationRecipe:
    """An evaluation without its samples."""

    ann: bytes
    snn: bytes
    source: LoadedModel
    """The ANN, without its nodes and weights."""
    question: Question
    scored: str | None
    """The output that is scored, where that is known."""

    @classmethod
    def of(cls, evaluation: Evaluation, question: Question) -> EvaluationRecipe:
        """Return the recipe of an evaluation.

        Raises:
            StaysHere: A model is too large to be sent.
        """
        source = evaluation.models.source
        # a process that scores batches knows nothing of gates, nor of other data
        asked = replace(question, baseline=None, exit_data=None)
        return cls(
            ann=message(source.proto, source.name),
            snn=message(evaluation.models.simulation.model.proto, "the spiking model"),
            source=replace(source, proto=onnx.ModelProto()),
            question=asked,
            scored=evaluation.plan.metric.scored,
        )

    def open(self, samples: Samples, threads: int) -> Evaluation:
        """Return the evaluation on some samples."""
        asked = self.question.threads
        question = replace(self.question, threads=threads if asked is None else asked)
        source = replace(self.source, proto=onnx.ModelProto.FromString(self.ann))
        model = read_step_model(onnx.ModelProto.FromString(self.snn), "the spiking model")
        simulation = simulation_of(model, question)
        name = question.metric
        assert name is not None  # chosen before
        stack = ExitStack()
        metric = open_metric(name, source, samples, question.output, stack)
        metric.scored = self.scored
        evaluation = planned(source, simulation, samples, metric, question)
        evaluation.scripts = stack
        return evaluation


@dataclass(frozen=True)
class EarlyExitRecipe:
    """Early exit of an evaluation, without its samples."""

    evaluation: EvaluationRecipe

    def open(self, samples: Samples, threads: int) -> EarlyExit:
        """Return it on some samples."""
        return EarlyExit(self.evaluation.open(samples, threads))


def evaluation_work(evaluation: Evaluation, question: Question) -> Work[Evaluation]:
    """Return the scoring of an evaluation's samples, here or elsewhere."""
    return Work(
        here=lambda: evaluation,
        recipe=lambda: EvaluationRecipe.of(evaluation, question),
        data=lambda: openable(evaluation.plan.samples),
    )


def early_exit_work(early: EarlyExit, question: Question) -> Work[EarlyExit]:
    """Return the early exit of an evaluation's samples, here or elsewhere."""
    evaluation = early.evaluation
    return Work(
        here=lambda: early,
        recipe=lambda: EarlyExitRecipe(EvaluationRecipe.of(evaluation, question)),
        data=lambda: openable(evaluation.plan.samples),
    )
