"""From models, data and results to the pages of `--html`; runs what the pages show beside the results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from onnx2snn.aliases import Delay, ModelSource, Progress, silent_progress
from onnx2snn.data.samples import Samples, open_samples
from onnx2snn.data.split import open_calibration
from onnx2snn.display.page import conversion_page, evaluation_page
from onnx2snn.display.page_data import exhibit
from onnx2snn.pipeline.convert import Conversion
from onnx2snn.protos.load import load_model
from onnx2snn.protos.specs import input_specs
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.evaluate import evaluate
from onnx2snn.settings import Settings

MOST = 200
"""Held-back samples a conversion's page is about."""


def present_evaluation(
    ann: ModelSource,
    snn: ModelSource,
    data: object,
    result: Mapping[str, Any],
    *,
    delay: Delay = None,
    site: str | None = None,
    threads: int | None = None,
) -> str:
    """The page of what `evaluate` returned for the same arguments; `site` is the layer whose spikes are drawn."""
    source, session = load_model(ann), Simulation(snn, Opening(threads=threads))
    metric, times = next(iter(result["ann"])), [row["timesteps"] for row in result["snn"]]
    opened = (
        nullcontext(data)
        if isinstance(data, Samples)
        else open_samples(data, input_specs(source.proto))
    )
    with opened as samples:
        shown = exhibit(
            source,
            session,
            samples,
            timesteps=times,
            delay=delay,
            metric=metric,
            site=site,
            threads=threads,
        )
    return evaluation_page(result, shown, session.metadata, source.name)


def present_conversion(
    model: ModelSource,
    calibration: object,
    conversion: Conversion,
    settings: Settings,
    *,
    site: str | None = None,
    progress: Progress = silent_progress,
) -> str:
    """The page of a conversion, with an evaluation on the calibration samples that were held back from fitting."""
    source, session = (
        load_model(model),
        Simulation(conversion.model, Opening(threads=settings.threads)),
    )
    settings = settings if calibration is not None else settings.without_data()
    last, threads = conversion.report.timesteps, settings.threads
    times = sorted({last, *(2**power for power in range(last.bit_length()) if 2**power < last)})
    with (data := open_calibration(calibration, input_specs(source.proto), settings.seed)).samples:
        result = evaluate(
            source.proto,
            conversion.model,
            data.held_back,
            timesteps=times,
            limit=MOST,
            threads=threads,
            progress=progress,
        )
        result["warnings"] = []  # those of the conversion are enough
        metric = next(iter(result["ann"]))
        shown = exhibit(
            source,
            session,
            data.held_back,
            timesteps=times,
            delay=None,
            metric=metric,
            site=site,
            threads=threads,
        )
    return conversion_page(conversion.report.to_dict(), result, shown, session.metadata)
