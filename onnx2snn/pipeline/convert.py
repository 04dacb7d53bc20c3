"""The way from an ANN to a spiking model, one call a stage."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import onnx

from onnx2snn.aliases import Array, ModelSource, Progress, silent_progress
from onnx2snn.calibrate import saved
from onnx2snn.calibrate.batchnorm import BATCH_NORM, Gaussian, informed, recorded_statistics, site_statistics
from onnx2snn.calibrate.calibrator import calibrate
from onnx2snn.calibrate.first_spikes import automatic_delay
from onnx2snn.calibrate.rules import Thresholds, settle
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.correct.correction import Correction, correct_in_rounds
from onnx2snn.correct.layerwise import correct_layerwise
from onnx2snn.data.random import index_bounds
from onnx2snn.data.split import Split, gather
from onnx2snn.errors import DataError, GateError, OutputError, UnsupportedGraphError, UsageError
from onnx2snn.graph.types import Graph
from onnx2snn.pipeline.assemble import Assembly
from onnx2snn.pipeline.cost import cost, inference_seconds
from onnx2snn.pipeline.report import Report, build_report
from onnx2snn.pipeline.search import fewest_timesteps
from onnx2snn.pipeline.verify import as_clipped, check_stage, compare, run_balanced, run_model
from onnx2snn.prepare.max_pools import Arrangement, arrange
from onnx2snn.prepare.normalise import normalise
from onnx2snn.prepare.partition import Partition, partition
from onnx2snn.protos.large import fits, serialise
from onnx2snn.protos.load import LoadedModel, load_model
from onnx2snn.protos.save import check_writable, save_model
from onnx2snn.protos.sessions import computing
from onnx2snn.protos.specs import TensorSpec, fixed_batch, input_specs
from onnx2snn.settings import Settings
from onnx2snn.snn.format import METADATA_KEY, ROLLOUT_KEY, metadata_of
from onnx2snn.snn.window import resolve_delay

VERIFY_BATCH = 50


@dataclass(frozen=True)
class Conversion:
    """A spiking model and what is to be said about it."""

    model: onnx.ModelProto
    report: Report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, whole or not at all (OutputError); over 2 GiB with its weights in `PATH.data` beside it."""
        save_model(path, self.model)

    def to_bytes(self) -> bytes:
        """The model file's bytes; the same for the same input, options and seed (OutputError over 2 GiB)."""
        if not fits(self.model):
            raise OutputError("the model is over 2 GiB, more than one file can hold; save() puts its weights beside it")
        return serialise(self.model)


def convert(
    model: ModelSource, calibration: object = None, *, progress: Progress = silent_progress, **options: Any
) -> Conversion:
    """Turn a pretrained network into a spiking one.

    `model`: path, bytes or ModelProto. `calibration`: a path (.npy, .npz, .pb, a folder, `script.py:function`), arrays,
    a dict of arrays or batches; None converts with random inputs and warns. The options are those of the command
    line, by the same names: preset, timesteps, delay, method, percentile, granularity, maxpool, neuron, levels,
    correct, rounds, iterations, batch_size, seed, threads, save_thresholds, thresholds, max_drop, strict.
    `progress` is called with (stage, done, total).

    Raises UsageError, ModelFileError, DataError, UnsupportedGraphError, GateError (`max_drop`, `strict`) or
    StageMismatchError.
    """
    conversion = run(model, calibration, Settings.of(options), progress)
    for text in conversion.report.warnings:
        warnings.warn(text, UserWarning, stacklevel=2)
    return conversion


def run(
    model: ModelSource, calibration: object, settings: Settings, progress: Progress = silent_progress
) -> Conversion:
    """`convert` without Python warnings: they are in the report alone."""
    with _prepared(model, calibration, settings) as ready:
        if ready.settings.timesteps == "auto":
            conversion, found = _with_fewest_timesteps(ready, progress)
        else:
            found = _calibrated(ready, ready.settings, progress)
            conversion = _spiking(ready, ready.settings, found, progress)
    _check_drop(conversion.report, settings.max_drop)
    if settings.save_thresholds is not None:
        saved.save(settings.save_thresholds, found, ready.parts.sites, ready.source.sha256)
    return conversion


@dataclass(frozen=True)
class _Ready:
    """A network taken to its partition, and the data: all that does not depend on the number of time-steps.

    `statistics`: of each site's input current, as BatchNormalization has recorded them, where there is no data;
    `inference`: seconds per sample of the ANN (None: its inputs are random).
    """

    settings: Settings
    source: LoadedModel
    specs: Sequence[TensorSpec]
    data: Split
    feed: dict[str, Array]
    graph: Graph
    arrangement: Arrangement
    parts: Partition
    statistics: list[Gaussian | None]
    inference: float | None
    clock: _Clock


@contextmanager
def _prepared(model: ModelSource, calibration: object, settings: Settings) -> Iterator[_Ready]:
    """load -> normalise -> arrange -> partition; the data stays open meanwhile."""
    clock = _Clock()
    with clock("load"):
        source = load_model(model)
        _require_ann(source)
        specs = input_specs(source.proto)
        _require_numpy(specs)
        if settings.save_thresholds is not None:
            check_writable(settings.save_thresholds)
        free = calibration is None and settings.method is None
        if calibration is None:
            settings = settings.without_data()
        data = gather(calibration, specs, settings.seed, index_bounds(source.proto))
        recorded = recorded_statistics(source.proto) if free else {}
    with data.samples:
        feed = data.check_feed(specs)
        with clock("normalise"):
            graph = normalise(source)
            original = _original(source, data, feed, specs, settings.threads)
            normalised = run_model(graph, feed, settings.threads)
        with clock("arrange"):
            graph, arrangement = arrange(graph)
            parts = partition(graph, arrangement)
            parts.require_convertible()  # before the stages are compared: random numbers would differ
            if settings.strict:
                parts.require_spiking()
            check_stage("normalise", original, normalised)
            check_stage("arrange", normalised, run_model(graph, feed, settings.threads))
        statistics = site_statistics(graph, parts.sites, recorded)
        inference = None if data.random else inference_seconds(source.proto, data.fit, specs, settings)
        yield _Ready(settings, source, specs, data, feed, graph, arrangement, parts, statistics, inference, clock)


def _calibrated(ready: _Ready, settings: Settings, progress: Progress) -> Calibration:
    """Thresholds from a file, from the data, or without either from what BatchNormalization has recorded."""
    sites = ready.parts.sites
    with ready.clock("calibrate"), computing(ready.specs):
        if settings.thresholds is not None:
            return saved.load(settings.thresholds, sites, ready.source.sha256, settings.granularity)
        fit, random = ready.data.fit, ready.data.random
        measure = partial(calibrate, ready.graph, sites, fit, ready.specs, settings, progress, random=random)
        return informed(sites, ready.statistics, settings, measure)


def _with_fewest_timesteps(ready: _Ready, progress: Progress) -> tuple[Conversion, Calibration]:
    """--timesteps auto; thresholds that do not depend on T are found once."""
    assert ready.settings.max_drop is not None
    kept: list[Calibration] = []

    def make(timesteps: int) -> tuple[Conversion, Calibration]:
        settings = replace(ready.settings, timesteps=timesteps)
        found = kept[0] if kept else _calibrated(ready, settings, progress)
        if "fitted_timesteps" not in found.settings:
            kept[:] = [found]
        return _spiking(ready, settings, found, progress), found

    return fewest_timesteps(make, lambda made: _drop(made[0].report), ready.settings.max_drop)


def _spiking(ready: _Ready, settings: Settings, found: Calibration, progress: Progress) -> Conversion:
    """correct -> rewrite -> annotate -> verify -> report, for one number of time-steps."""
    source, specs, data, parts, clock = ready.source, ready.specs, ready.data, ready.parts, ready.clock
    balanced = [settle(theta) for theta in found.thresholds]
    tops = [b.values for b in balanced]
    thetas = [top / settings.height for top in tops]
    automatic = automatic_delay(ready.graph, parts.sites, thetas, found.means)
    delay = resolve_delay(settings.chosen("delay"), settings.steps, 0, automatic)
    plan = Assembly(source, parts, tuple(thetas), found, settings, delay, automatic)
    with clock("correct"):
        correction = _correct(plan, ready.graph, data, specs, progress)
    with clock("rewrite"):
        snn, folding = plan.spiking(correction)
        clipped = run_balanced(correction.graph, parts.sites, tops, settings.granularity, ready.feed, settings.threads)
        check_stage("fold", clipped, run_model(as_clipped(snn), ready.feed, settings.threads))
    with clock("annotate"):
        proto = plan.emit(snn)
    with clock("verify"):
        comparison = compare(
            ready.graph,
            parts.sites,
            thetas,
            proto,
            data.held,
            specs,
            timesteps=settings.steps,
            delay=delay,
            batch=VERIFY_BATCH,
            threads=settings.threads,
        )
    said = [*_complaints(ready, settings, found, balanced), *comparison.warnings(settings.steps, data.random)]
    scored = {"held_back": data.held_back, "random": data.random}
    spent = None if ready.inference is None else cost(ready.inference, clock.seconds, len(data.fit), settings)
    arrangement, seconds = ready.arrangement, clock.seconds
    report = build_report(
        source, proto, parts, arrangement, balanced, folding, correction, comparison, scored, said, seconds, spent
    )
    return Conversion(proto, report)


def _drop(report: Report) -> float:
    """Points of agreement with the ANN below 100."""
    return 100.0 * (1.0 - float(report.agreement["value"]))


def _check_drop(report: Report, max_drop: float | None) -> None:
    drop = _drop(report)
    if max_drop is not None and drop > max_drop:
        raise GateError(
            f"agreement with the ANN is {100 - drop:.2f} % at T = {report.timesteps}, {drop:.2f} points below 100, "
            f"more than --max-drop {max_drop:g}"
        )


def _correct(plan: Assembly, graph: Graph, data: Split, specs: Sequence[TensorSpec], progress: Progress) -> Correction:
    """What the settings say is to be corrected, on the samples thresholds were fitted on."""
    settings, sites = plan.settings, plan.parts.sites
    if not settings.corrections:
        return Correction(graph)
    if settings.rounds:
        means = plan.found.means
        return correct_in_rounds(plan.model, graph, sites, plan.thresholds, means, data.fit, specs, settings, progress)
    return correct_layerwise(graph, plan.parts, plan.thresholds, data.fit, specs, settings, plan.delay, progress)


def _require_ann(source: LoadedModel) -> None:
    if any(metadata_of(source.proto, key) is not None for key in (METADATA_KEY, ROLLOUT_KEY)):
        raise UsageError(f"'{source.name}' is a spiking model already; give the ANN it was made from")


def _require_numpy(specs: Sequence[TensorSpec]) -> None:
    for spec in specs:
        if spec.dtype.kind == "V":  # a type that NumPy does not know
            reason = f"onnxruntime takes no NumPy array for input '{spec}'; declare it as float32 or float16"
            raise UnsupportedGraphError("", "", reason)


def _original(
    source: LoadedModel, data: Split, feed: Mapping[str, Array], specs: Sequence[TensorSpec], threads: int | None
) -> list[Array]:
    """The ANN's outputs on the data; DataError, with what else may be wrong than the data, where there are none."""
    try:
        with computing(specs):
            return run_model(source.proto, feed, threads)
    except DataError as error:
        if data.random:
            guessed = f" ({'; '.join(data.notes)})" if data.notes else ""
            raise DataError(f"on random inputs{guessed} {error}: give --calibration with typical inputs") from error
        if fixed_batch(specs) is None and _computes(source, {n: v[:1] for n, v in feed.items()}, threads):
            named = ", ".join(f"'{spec.name}'" for spec in specs)
            reason = f"the model computes one sample at a time only, though {named} may have any number of samples"
            raise DataError(f"{reason}; fix its batch dimension to 1") from error
        raise


def _computes(source: LoadedModel, feed: Mapping[str, Array], threads: int | None) -> bool:
    try:
        with computing(()):
            run_model(source.proto, feed, threads)
    except DataError:
        return False
    return True


def _complaints(ready: _Ready, settings: Settings, found: Calibration, balanced: Sequence[Thresholds]) -> Iterator[str]:
    data, sites = ready.data, ready.parts.sites
    guessed = f" ({'; '.join(data.notes)})" if data.notes else ""
    if found.settings["method"] == BATCH_NORM:
        known = sum(z is not None for z in ready.statistics)
        rest = "" if known == len(sites) else f", those of the others are the maxima over random inputs{guessed}"
        yield (
            f"no calibration data: thresholds of {known} of {len(sites)} sites come from the statistics that "
            f"BatchNormalization has recorded{rest}; --calibration with some 100 to 1,000 typical inputs does better"
        )
    elif not found.calibrated:
        count = "" if settings.thresholds is not None else f"{len(data.fit)} "
        yield (
            f"no calibration data: thresholds are the maxima over {count}random inputs{guessed}, "
            "which costs much accuracy at few time-steps; give --calibration with some 100 to 1,000 typical inputs"
        )
    elif data.random and data.notes:
        yield f"the comparison below is on random inputs ({'; '.join(data.notes)})"
    asked = {"fitted_timesteps": settings.steps, "fitted_levels": settings.height}
    for name, kept in found.settings.items():
        if asked.get(name, kept) != kept:
            option = name.removeprefix("fitted_")
            yield (
                f"the thresholds of '{settings.thresholds}' were fitted to {kept} {option}, not {asked[name]}; "
                f"give --{option} {kept}, or find new ones"
            )
    for site, thresholds in zip(sites, balanced, strict=True):
        if thresholds.all_silent:
            yield f"site '{site.name}' never fired on the calibration data: its threshold is set to 1"


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + spent, 3)
