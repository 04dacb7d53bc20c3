"""The way from an ANN to a spiking model, one call a stage."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx

from . import _thresholds
from ._arrange import arrange
from ._assemble import Assembly
from ._balance import Thresholds, settle
from ._bulk import fits, serialise
from ._calibrate import calibrate
from ._correct import correct_bias
from ._delay import automatic_delay
from ._errors import DataError, GateError, OutputError, UnsupportedGraphError, UsageError
from ._graph import Array
from ._load import (
    LoadedModel,
    ModelSource,
    check_writable,
    input_specs,
    load_model,
    metadata_of,
    save_model,
)
from ._normalise import normalise
from ._partition import Partition, partition
from ._progress import Progress, silent_progress
from ._report import Report, build_report
from ._session import computing, resolve_delay
from ._settings import Settings
from ._specs import TensorSpec, fixed_batch
from ._split import Split, gather
from ._thresholds import Calibration
from ._verify import as_clipped, check_stage, compare, run_balanced, run_model
from ._vocabulary import index_bounds

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
    line, by the same names: preset, timesteps, delay, method, percentile, granularity, maxpool, iterations, batch_size,
    seed, threads, save_thresholds, thresholds, max_drop, strict. `progress` is called with (stage, done, total).

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
    clock = _Clock()
    with clock("load"):
        source = load_model(model)
        _require_ann(source)
        specs = input_specs(source.proto)
        _require_numpy(specs)
        if settings.save_thresholds is not None:
            check_writable(settings.save_thresholds)
        if calibration is None:
            settings = settings.without_data()
        data = gather(calibration, specs, settings.seed, index_bounds(source.proto))
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
        with clock("calibrate"), computing(specs):
            found = (
                _thresholds.load(settings.thresholds, parts.sites, source.sha256, settings.granularity)
                if settings.thresholds is not None
                else calibrate(graph, parts.sites, data.fit, specs, settings, progress, random=data.random)
            )
            balanced = [settle(theta) for theta in found.thresholds]
            thetas = [b.values for b in balanced]
        automatic = automatic_delay(graph, parts.sites, thetas, found.means)
        delay = resolve_delay(settings.chosen("delay"), settings.timesteps, 0, automatic)
        plan = Assembly(source, graph, parts, tuple(thetas), found, settings, delay, automatic)
        with clock("correct"):
            offsets = (
                correct_bias(plan.model, parts.sites, found, thetas, data.fit, specs, settings, progress)
                if settings.chosen("correct") == "bias"
                else []
            )
        with clock("rewrite"):
            snn, folding = plan.spiking(offsets)
            ann = plan.corrected(offsets)
            clipped = run_balanced(ann, parts.sites, thetas, settings.granularity, feed, settings.threads)
            check_stage("fold", clipped, run_model(as_clipped(snn), feed, settings.threads))
        with clock("annotate"):
            proto = plan.emit(snn)
        with clock("verify"):
            verdict = compare(
                graph,
                parts.sites,
                thetas,
                proto,
                data.held,
                specs,
                timesteps=settings.timesteps,
                delay=delay,
                batch=VERIFY_BATCH,
                threads=settings.threads,
            )
    from_file = settings.thresholds is not None
    said = [*_complaints(data, found, balanced, parts, from_file), *verdict.warnings(settings.timesteps, data.random)]
    scored = {"held_back": data.held_back, "random": data.random}
    report = build_report(source, proto, parts, arrangement, balanced, folding, verdict, scored, said, clock.seconds)
    drop = 100.0 * (1.0 - verdict.agreement)
    if settings.max_drop is not None and drop > settings.max_drop:
        raise GateError(
            f"agreement with the ANN is {100 - drop:.2f} % at T = {settings.timesteps}, {drop:.2f} points below 100, "
            f"more than --max-drop {settings.max_drop:g}"
        )
    if settings.save_thresholds is not None:
        _thresholds.save(settings.save_thresholds, found, parts.sites, source.sha256)
    return Conversion(proto, report)


def _require_ann(source: LoadedModel) -> None:
    if metadata_of(source.proto) is not None:
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


def _complaints(
    data: Split, found: Calibration, balanced: Sequence[Thresholds], parts: Partition, from_file: bool
) -> Iterator[str]:
    if not found.calibrated:
        guessed = f" ({'; '.join(data.notes)})" if data.notes else ""
        count = "" if from_file else f"{len(data.fit)} "
        yield (
            f"no calibration data: thresholds are the maxima over {count}random inputs{guessed}, "
            "which costs much accuracy at few time-steps; give --calibration with some 100 to 1,000 typical inputs"
        )
    elif data.random and data.notes:
        yield f"the comparison below is on random inputs ({'; '.join(data.notes)})"
    for site, thresholds in zip(parts.sites, balanced, strict=True):
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
        self.seconds[stage] = round(time.perf_counter() - started, 3)
