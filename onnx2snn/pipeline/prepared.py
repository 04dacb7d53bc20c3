"""The first stages: load -> normalise -> arrange -> partition.

They do not depend on the number of time-steps, so `--timesteps auto` runs them once for all numbers
it tries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from onnx2snn.aliases import Array, ModelSource, Progress
from onnx2snn.calibrate.batchnorm import recorded_statistics
from onnx2snn.calibrate.gaussians import Gaussian, site_statistics
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.data.batches import batches
from onnx2snn.data.split import CalibrationData
from onnx2snn.errors import (
    ComputationError,
    DataError,
    UnbatchedError,
    UnsupportedGraphError,
    UsageError,
    quoted,
)
from onnx2snn.graph.types import Graph
from onnx2snn.pipeline.batch_check import require_batch_axis
from onnx2snn.pipeline.calibration_data import can_be_read_again, open_for, reopened, trial_of
from onnx2snn.pipeline.cost import Clock, inference_seconds
from onnx2snn.pipeline.forecast import foretell_conversion
from onnx2snn.pipeline.stage_checks import check_stage, run_model
from onnx2snn.prepare.arrange import Arrangement
from onnx2snn.prepare.codings import choose_coding
from onnx2snn.prepare.finite import not_a_number
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.normalise import normalise
from onnx2snn.prepare.partition import Partition, partition
from onnx2snn.protos import large
from onnx2snn.protos.batch_arrays import first_samples
from onnx2snn.protos.computing import computing, from_runtime
from onnx2snn.protos.load import LoadedModel, load_model
from onnx2snn.protos.save import check_writable
from onnx2snn.protos.sessions import open_session
from onnx2snn.protos.specs import TensorSpec, fixed_batch, input_specs
from onnx2snn.protos.unbatched import by_sample
from onnx2snn.settings import Settings
from onnx2snn.snn.format import is_emitted
from onnx2snn.spread.work import HERE, Spread


@dataclass(frozen=True)
class Prepared:
    """A network taken to its partition.

    `feed`: a few samples, on which each stage is compared with the one before; `statistics`: of
    each site's input current, as BatchNormalization has recorded them (None: unknown, or there are
    data); `inference`: seconds the ANN takes for a sample (None: its inputs are random).
    """

    job: Job
    source: LoadedModel
    arrangement: Arrangement
    feed: dict[str, Array]
    statistics: Sequence[Gaussian | None]
    inference: float | None
    clock: Clock
    chosen: str = ""
    """Why the coding was chosen, where the network decided."""
    doubt: str = ""
    """A warning on what counts samples."""


@contextmanager
def prepared(
    model: ModelSource,
    calibration: object,
    settings: Settings,
    progress: Progress,
    spread: Spread = HERE,
) -> Iterator[Prepared]:
    """Take a network to its partition; the calibration data stay open meanwhile.

    Args:
        model: The ANN.
        calibration: Anything `open_samples` takes, or None for random inputs.
        settings: The options of the conversion.
        progress: Called with (stage, done, total).
        spread: Where statistics of the samples are computed.

    Raises:
        UsageError: The model is a spiking one already, or an option needs data that are not there.
        UnsupportedGraphError: The network cannot be converted.
        DataError: The network cannot be computed on the data.
        GateError: `strict`, and an operator would be analog.
        StageMismatchError: A stage computes something else than the one before.
    """
    clock = Clock()
    with clock("load"):
        source = load_model(model)
        source = replace(source, proto=large.set_apart(source.proto))
        _require_ann(source)
        _require_numpy(input_specs(source.proto))
        if settings.save_thresholds is not None:
            check_writable(settings.save_thresholds)
        coding = settings.chosen_coding
        if calibration is None and coding is not None:
            # refused before the work, where the network has no say
            settings.coded(coding).without_data()
    with ExitStack() as stack:
        with clock("load"):
            source, data = open_for(source, calibration, settings.seed)
        stack.enter_context(data.samples)
        given = Given(source, data, calibration is None, progress, spread, clock)
        try:
            ready = _to_partition(given, settings)
        except UnbatchedError:
            if source.unbatched or not can_be_read_again(calibration):
                raise
            source = by_sample(source)
            data = reopened(source, calibration, settings.seed)
            stack.enter_context(data.samples)
            ready = _to_partition(replace(given, source=source, data=data), settings)
        yield ready


@dataclass(frozen=True)
class Given:
    """A network and its data, opened; `made_up`: they are random inputs."""

    source: LoadedModel
    data: CalibrationData
    made_up: bool
    progress: Progress
    spread: Spread
    clock: Clock


def _to_partition(given: Given, settings: Settings) -> Prepared:
    """Take a network to its partition, on data that are open."""
    source, data, clock = given.source, given.data, given.clock
    specs = input_specs(source.proto)
    # without data and a method, BatchNormalization may know how activations are distributed
    informed = given.made_up and settings.method is None
    recorded = recorded_statistics(source.proto) if informed else {}
    feed = data.check_feed(specs)
    with clock("normalise"):
        trial = trial_of(data, specs)
        graph = normalise(source, trial)
        original = _original_outputs(source, data, feed, specs, settings.threads)
        _require_numbers(source, data, original)
        normalised = run_model(graph, feed, settings.threads)
    with clock("arrange"):
        way = choose_coding(graph, trial, settings)
        settings = settings.coded(way.coding)
        if given.made_up:
            settings = settings.without_data()
        arranged = way.graph is not graph
        graph, arrangement, parts = way.graph, way.arrangement, way.partition
        if settings.keep:
            parts = _kept(graph, arrangement, parts, settings.keep)
        # before the stages are compared: random numbers would differ from run to run
        parts.require_convertible()
        if settings.strict:
            parts.require_spiking()
        doubt = require_batch_axis(graph, parts.sites, data, specs, settings.threads)
        check_stage("normalise", original, normalised)
        if arranged:
            check_stage("arrange", normalised, run_model(graph, feed, settings.threads))
    job = Job(graph, parts, specs, data, settings, given.progress, given.spread)
    inference = None if data.random else inference_seconds(job, source.proto)
    foretell_conversion(job, clock.seconds["load"] + clock.seconds["normalise"], inference)
    statistics = site_statistics(graph, job.sites, recorded)
    return Prepared(job, source, arrangement, feed, statistics, inference, clock, way.reason, doubt)


def _kept(
    graph: Graph, arrangement: Arrangement, parts: Partition, keep: Sequence[str]
) -> Partition:
    """Return the parts of a network some of whose activations are left as they are.

    Raises:
        UsageError: One of these is none that would fire.
    """
    sources = [site.source for site in parts.sites]
    names = [site.name for site in parts.sites]
    for name in keep:
        if name not in sources and name not in names:
            sites = quoted(list(dict.fromkeys(sources)))
            raise UsageError(
                f"keep names '{name}', which is no activation that would fire; these are {sites}"
            )
    return partition(graph, arrangement, keep)


def _require_numbers(source: LoadedModel, data: CalibrationData, outputs: Sequence[Array]) -> None:
    """Refuse a network that answers with NaN: nothing could be compared with it."""
    names = [output.name for output in source.proto.graph.output]
    name = not_a_number(names, outputs)
    if name is None:
        return
    where = "the calibration data; give data that the model can compute"
    if data.random:
        where = f"random inputs{data.guesses}; give --calibration with typical inputs"
    reason = f"output '{name}' of the ANN is NaN on {where}, or mend the model"
    raise UnsupportedGraphError("", "", reason)


def _require_ann(source: LoadedModel) -> None:
    if is_emitted(source.proto):
        raise UsageError(
            f"'{source.name}' is a spiking model already; give the ANN it was made from"
        )


def _require_numpy(specs: Sequence[TensorSpec]) -> None:
    for spec in specs:
        if spec.dtype.kind == "V":  # a type that NumPy does not know
            reason = (
                f"onnxruntime takes no NumPy array for input '{spec}'; "
                "declare it as float32 or float16"
            )
            raise UnsupportedGraphError("", "", reason)


def _original_outputs(
    source: LoadedModel,
    data: CalibrationData,
    feed: Mapping[str, Array],
    specs: Sequence[TensorSpec],
    threads: int | None,
) -> list[Array]:
    """Return the ANN's outputs.

    The DataError where there are none says what else may be wrong than the data.
    """
    try:
        with computing(specs):
            return run_model(source.proto, feed, threads)
    except DataError as error:
        if data.random:
            guessed = data.guesses
            raise DataError(
                f"on random inputs{guessed} {error}: give --calibration with typical inputs"
            ) from error
        if fixed_batch(specs) is not None:
            raise
        named = ", ".join(f"'{spec.name}'" for spec in specs)
        first = first_samples(feed, 1)
        if _computes(source, first, threads):
            raise DataError(
                f"the model computes one sample at a time only, though {named} may have any "
                "number of samples; fix its batch dimension to 1"
            ) from error
        raise DataError(f"{error}; axis 0 of {named} has to count samples") from error


def _computes(source: LoadedModel, feed: Mapping[str, Array], threads: int | None) -> bool:
    try:
        with computing(()):
            run_model(source.proto, feed, threads)
    except DataError:
        return False
    return True


@contextmanager
def blaming_data(ready: Prepared) -> Iterator[None]:
    """Where onnxruntime fails, blame the data if the ANN itself fails on them (DataError).

    Any other error, of a model of ours or of a progress callback, goes on as it is.
    """
    try:
        yield
    except Exception as error:
        if from_runtime(error) or isinstance(error, ComputationError):
            _require_computable(ready)
        raise


def _require_computable(ready: Prepared) -> None:
    """Run the ANN on all samples until it fails on some (DataError)."""
    job = ready.job
    session = open_session(ready.source.proto, job.threads)
    for batch in batches(job.data.samples, job.settings.batch_size, job.fixed_batch):
        with computing(job.specs):
            session.run(None, batch.feed)


def require_finite(job: Job, found: Calibration) -> None:
    """Refuse a network whose tensors are NaN or infinite on the samples."""
    for site, theta, mean in zip(job.sites, found.thresholds, found.means, strict=True):
        if not (np.isfinite(theta).all() and np.isfinite(mean).all()):
            reason = (
                "its activations are NaN or infinite on the calibration data; mend the model, or "
                "give data that it can compute"
            )
            raise UnsupportedGraphError(site.source, "activation", reason)
