"""From models, data and results to the pages of `--html`.

Only this module and `subject` run models: what a page shows beside the results is computed there,
and the other modules draw it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from onnx2snn.aliases import Delay, ModelSource, Progress, silent_progress
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.display.page import conversion_page, evaluation_page
from onnx2snn.display.subject import Subject
from onnx2snn.errors import DataError, UsageError
from onnx2snn.pipeline.calibration_data import reopened
from onnx2snn.pipeline.convert import Conversion
from onnx2snn.protos.load import LoadedModel, load_model
from onnx2snn.protos.specs import input_specs
from onnx2snn.protos.unbatched import by_sample
from onnx2snn.runtime.by_sample import read_by_sample
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.evaluate import run_evaluation
from onnx2snn.score.question import Question
from onnx2snn.score.results import EvaluationResult, metric_of
from onnx2snn.settings import Settings

MOST_HELD_BACK = 200
"""Held-back samples a conversion's page is about."""


def present_evaluation(  # noqa: PLR0913 - arguments of `evaluate`, by keyword
    ann: ModelSource,
    snn: ModelSource,
    data: object,
    result: EvaluationResult,
    *,
    delay: Delay = None,
    site: str | None = None,
    threads: int | None = None,
) -> str:
    """Return the page of an evaluation.

    Args:
        ann: The ANN that was evaluated.
        snn: Its spiking model.
        data: The data they were evaluated on.
        result: The answer of `evaluate` for these.
        delay: The delay that was evaluated.
        site: The layer whose spikes are drawn; the middle one by default.
        threads: onnxruntime's threads.

    Returns:
        The page, an HTML document.

    Raises:
        UsageError: There is no such `site`.
    """
    simulation = Simulation(read_by_sample(snn), Opening(threads=threads))
    source = _like(simulation, ann)
    windows = [(row["timesteps"], delay) for row in result["snn"]]
    metric = metric_of(result)
    with _opened(data, source) as samples:
        subject = Subject(source, simulation, samples, windows, metric, threads)
        shown = subject.page_data(site)
    return evaluation_page(result, shown, simulation.metadata, source.name)


def _opened(data: object, source: LoadedModel) -> AbstractContextManager[Samples]:
    """Return samples to be closed after use, unless the caller has opened them."""
    if isinstance(data, Samples):
        return nullcontext(data)
    return open_samples(data, input_specs(source.proto), unbatched=source.unbatched)


def _like(simulation: Simulation, ann: ModelSource) -> LoadedModel:
    """Return an ANN that takes samples as its simulation does: in batches, or one by one."""
    return by_sample(load_model(ann), simulation.metadata.get("unbatched", []))


def present_conversion(
    model: ModelSource,
    calibration: object,
    conversion: Conversion,
    settings: Settings,
    *,
    site: str | None = None,
    progress: Progress = silent_progress,
) -> str:
    """Return the page of a conversion, with an evaluation on samples held back from fitting.

    Args:
        model: The ANN that was converted.
        calibration: The data it was calibrated on; None for random inputs.
        conversion: The result.
        settings: The settings of the conversion.
        site: The layer whose spikes are drawn; the middle one by default.
        progress: Told how far the evaluation is.

    Returns:
        The page, an HTML document.

    Raises:
        UsageError: There is no such `site`.
    """
    threads = settings.threads
    simulation = Simulation(read_by_sample(conversion.model), Opening(threads=threads))
    source = _like(simulation, model)
    if calibration is None:
        settings = settings.without_data()
    timesteps = _powers_of_two(conversion.report.timesteps)
    data = reopened(source, calibration, settings.seed)
    with data.samples:
        question = Question(timesteps=timesteps, limit=MOST_HELD_BACK, threads=threads)
        samples = data.held_back
        result = _scored_by_what_fits(model, conversion, samples, question, progress)
        metric = metric_of(result)
        windows: list[tuple[int, Delay]] = [(t, None) for t in timesteps]
        subject = Subject(source, simulation, samples, windows, metric, threads)
        shown = subject.page_data(site)
    return conversion_page(conversion.report, result, shown, simulation.metadata)


def _scored_by_what_fits(
    model: ModelSource,
    conversion: Conversion,
    samples: Samples,
    question: Question,
    progress: Progress,
) -> EvaluationResult:
    """Evaluate by the metric the data is for, or by agreement where that one does not fit.

    No conversion is lost for a metric that nobody asked for.
    """
    warnings = []
    try:
        result = run_evaluation(model, conversion.model, samples, question, progress)
    except (DataError, UsageError) as error:
        warnings = [f"the page is scored by agreement: {error}"]
        question = replace(question, metric="agreement")
        result = run_evaluation(model, conversion.model, samples, question, progress)
    result["warnings"] = warnings  # those of the conversion are in its report
    return result


def _powers_of_two(last: int) -> list[int]:
    """Return 1, 2, 4 and so on below a number of time-steps, and that number."""
    found = []
    timesteps = 1
    while timesteps < last:
        found.append(timesteps)
        timesteps *= 2
    return [*found, last]
