"""The way from an ANN to a spiking model, one call a stage.

prepared -> thresholds -> spiking model (`pipeline.rate` or `pipeline.differential`) -> gates
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from onnx2snn.aliases import ModelSource, Progress, silent_progress
from onnx2snn.calibrate import saved
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.errors import GateError
from onnx2snn.pipeline import differential, rate
from onnx2snn.pipeline.conversion import Conversion as Conversion
from onnx2snn.pipeline.page_site import require_site
from onnx2snn.pipeline.prepared import Prepared, prepared
from onnx2snn.pipeline.report import Report
from onnx2snn.pipeline.search import fewest_timesteps
from onnx2snn.pipeline.verify import LOW_AGREEMENT
from onnx2snn.prepare.job import Job
from onnx2snn.protos.apart import weights_apart
from onnx2snn.protos.freeing import give_back
from onnx2snn.protos.inlining import inlined
from onnx2snn.protos.large import whole
from onnx2snn.rewrite.emit import unbatched_file
from onnx2snn.settings import Settings
from onnx2snn.spread.work import HERE, Spread


@dataclass(frozen=True)
class Stages:
    """The stages for some sites: what finds thresholds, and what makes a spiking model of them."""

    find: Callable[[Prepared, Job], Calibration]
    make: Callable[[Prepared, Job, Calibration], Conversion]


STAGES = {
    "activations": Stages(rate.find_thresholds, rate.spiking),
    "weighted": Stages(differential.find_scales, differential.spiking),
}
"""The stages behind the partition, by where neurons stand."""


def run_conversion(
    model: ModelSource,
    calibration: object,
    settings: Settings,
    progress: Progress = silent_progress,
    page_site: str | None = None,
    spread: Spread = HERE,
) -> Conversion:
    """Turn a pretrained network into a spiking one; warnings are in the report alone.

    No file is written: neither the model nor its thresholds.

    Args:
        model: The ANN: path, bytes or ModelProto.
        calibration: Anything `open_samples` takes, or None for random inputs.
        settings: The options.
        progress: Called with (stage, done, total).
        page_site: The layer whose spikes a page will show, which has to be among the sites.
        spread: Where statistics of the samples are computed.

    Raises:
        Onnx2snnError: As `onnx2snn.convert` says.
    """
    with weights_apart(), prepared(model, calibration, settings, progress, spread) as ready:
        require_site(page_site, [site.name for site in ready.job.sites])
        stages = STAGES[ready.job.settings.sites or "activations"]
        if ready.job.settings.timesteps == "auto":
            conversion, found = _with_fewest_timesteps(ready, stages)
        else:
            found = stages.find(ready, ready.job)
            conversion = _made(stages, ready, ready.job, found)
    _check_drop(conversion.report, settings.max_drop)
    _check_lasting(conversion.report, settings)
    if ready.source.unbatched:
        # as the network takes and gives it: without the axis of one sample
        conversion = replace(conversion, model=unbatched_file(conversion.model))
    thresholds = saved.stored(found, ready.job.sites, ready.source.sha256)
    written = inlined(conversion.model) if settings.inline else conversion.model
    return replace(conversion, model=written, _thresholds=thresholds)


def _with_fewest_timesteps(ready: Prepared, stages: Stages) -> tuple[Conversion, Calibration]:
    """Search for `--timesteps auto`; thresholds that do not depend on T are found once."""
    max_drop = ready.job.settings.max_drop
    assert max_drop is not None
    kept: list[Calibration] = []

    def make(timesteps: int) -> tuple[Conversion, Calibration]:
        job = ready.job.with_settings(replace(ready.job.settings, timesteps=timesteps))
        found = kept[0] if kept else stages.find(ready, job)
        if "fitted_timesteps" not in found.settings:
            kept[:] = [found]
        return _made(stages, ready, job, found), found

    return fewest_timesteps(make, lambda made: _drop(made[0].report), max_drop)


def _made(stages: Stages, ready: Prepared, job: Job, found: Calibration) -> Conversion:
    """Return the spiking model, which holds all of its weights, and the report."""
    with weights_apart():
        conversion = stages.make(ready, job, found)
        give_back()
        return replace(conversion, model=whole(conversion.model))


def _drop(report: Report) -> float:
    """Return the points of agreement with the ANN that are lost, of 100."""
    return 100.0 * (1.0 - float(report.agreement["value"]))


def _check_drop(report: Report, max_drop: float | None) -> None:
    drop = _drop(report)
    if max_drop is not None and drop > max_drop:
        raise GateError(
            f"agreement with the ANN is {100 - drop:.2f} % at T = {report.timesteps}, {drop:.2f} "
            "points below 100, "
            f"more than --max-drop {max_drop:g}"
        )


def _check_lasting(report: Report, settings: Settings) -> None:
    """Raise GateError where the error of the outputs lasts; see `Settings.lasting_limit`."""
    by_default = settings.max_lasting is None and not settings.strict
    agrees = report.agreement["value"] >= LOW_AGREEMENT
    if report.nearness is None or (by_default and agrees):
        return
    report.nearness.check(settings.lasting_limit)
