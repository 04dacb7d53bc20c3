"""The way from an ANN to a spiking model, one call a stage.

prepared -> calibrate -> correct -> rewrite -> fold -> emit -> verify -> report
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from onnx2snn.aliases import Array, ModelSource, Progress, silent_progress
from onnx2snn.calibrate import saved
from onnx2snn.calibrate.batchnorm import informed
from onnx2snn.calibrate.calibrator import calibrate
from onnx2snn.calibrate.first_spikes import automatic_delay
from onnx2snn.calibrate.rules import settle
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.correct.correction import Correction
from onnx2snn.correct.layerwise import correct_layerwise
from onnx2snn.correct.rounds import correct_in_rounds
from onnx2snn.errors import GateError, OutputError, UnsupportedGraphError
from onnx2snn.pipeline.assemble import Assembly
from onnx2snn.pipeline.cost import cost
from onnx2snn.pipeline.page_site import require_site
from onnx2snn.pipeline.prepared import Prepared, blaming_data, prepared
from onnx2snn.pipeline.report import Findings, Report, build_report
from onnx2snn.pipeline.search import fewest_timesteps
from onnx2snn.pipeline.stage_checks import as_clipped, check_stage, run_clipped, run_model
from onnx2snn.pipeline.verify import compare
from onnx2snn.pipeline.warnings import conversion_warnings
from onnx2snn.prepare.job import Job
from onnx2snn.protos.large import fits, serialise
from onnx2snn.protos.save import save_model, write_npz
from onnx2snn.settings import Settings
from onnx2snn.snn.window import resolve_delay


@dataclass(frozen=True)
class Conversion:
    """A spiking model and the report on it."""

    model: onnx.ModelProto
    report: Report
    _thresholds: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, whole or not at all; over 2 GiB with its weights in `PATH.data`.

        Raises:
            OutputError: It cannot be written there.
        """
        save_model(path, self.model)

    def save_thresholds(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration as .npz, which `convert` takes as `thresholds`.

        Raises:
            OutputError: It cannot be written there.
        """
        write_npz(path, self._thresholds)

    def to_bytes(self) -> bytes:
        """Return the model file's bytes, the same for the same input, options and seed.

        Raises:
            OutputError: The model is over 2 GiB, more than one file can hold.
        """
        if not fits(self.model):
            raise OutputError(
                "the model is over 2 GiB, more than one file can hold; save() puts its weights "
                "beside it"
            )
        return serialise(self.model)


def run_conversion(
    model: ModelSource,
    calibration: object,
    settings: Settings,
    progress: Progress = silent_progress,
    page_site: str | None = None,
) -> Conversion:
    """Turn a pretrained network into a spiking one; warnings are in the report alone.

    No file is written: neither the model nor its thresholds.

    Args:
        model: The ANN: path, bytes or ModelProto.
        calibration: Anything `open_samples` takes, or None for random inputs.
        settings: The options.
        progress: Called with (stage, done, total).
        page_site: The layer whose spikes a page will show, which has to be among the sites.

    Raises:
        Onnx2snnError: As `onnx2snn.convert` says.
    """
    with prepared(model, calibration, settings, progress) as ready:
        require_site(page_site, [site.name for site in ready.job.sites])
        if ready.job.settings.timesteps == "auto":
            conversion, found = _with_fewest_timesteps(ready)
        else:
            found = _find_thresholds(ready, ready.job)
            conversion = _spiking(ready, ready.job, found)
    _check_drop(conversion.report, settings.max_drop)
    thresholds = saved.stored(found, ready.job.sites, ready.source.sha256)
    return replace(conversion, _thresholds=thresholds)


def _find_thresholds(ready: Prepared, job: Job) -> Calibration:
    """Take thresholds from a file or from the data, else from what BatchNormalization recorded."""
    with ready.clock("calibrate"), blaming_data(ready):
        path = job.settings.thresholds
        if path is not None:
            return saved.load(path, job.sites, ready.source.sha256, job.settings.granularity)
        found = informed(job, ready.statistics, calibrate)
    _require_finite(job, found)
    return found


def _require_finite(job: Job, found: Calibration) -> None:
    """Refuse a network whose activations are NaN or infinite on the samples."""
    for site, theta, mean in zip(job.sites, found.thresholds, found.means, strict=True):
        if not (np.isfinite(theta).all() and np.isfinite(mean).all()):
            reason = (
                "its activations are NaN or infinite on the calibration data; mend the model, or "
                "give data that it can compute"
            )
            raise UnsupportedGraphError(site.source, "activation", reason)


def _spiking(ready: Prepared, job: Job, found: Calibration) -> Conversion:
    """Make the spiking model of one number of time-steps, from given thresholds."""
    settings, clock = job.settings, ready.clock
    settled = [settle(theta) for theta in found.thresholds]
    # the largest output of a layer is `levels` thresholds high
    ceilings = [thresholds.values for thresholds in settled]
    thetas = [ceiling / settings.height for ceiling in ceilings]
    automatic = automatic_delay(job.graph, job.sites, thetas, found.means)
    delay = resolve_delay(settings.asked_delay, settings.steps, 0, automatic)
    assembly = Assembly(ready.source, job, tuple(thetas), found, delay, automatic)
    with clock("correct"):
        correction = _correct(assembly)
    with clock("rewrite"):
        spiking, folding = assembly.fold(correction)
        clipped = run_clipped(job, correction.graph, ceilings, ready.feed)
        check_stage("fold", clipped, run_model(as_clipped(spiking), ready.feed, job.threads))
    with clock("annotate"):
        proto = assembly.emit(spiking)
    with clock("verify"):
        comparison = compare(job, thetas, proto, delay)
    said = [
        *conversion_warnings(ready, job, found, settled),
        *comparison.warnings(settings.steps, job.data.random),
    ]
    spent = None
    if ready.inference is not None:
        spent = cost(ready.inference, clock.seconds, len(job.samples), settings)
    findings = Findings(ready, proto, settled, folding, correction, comparison)
    return Conversion(proto, build_report(findings, said, spent))


def _correct(assembly: Assembly) -> Correction:
    """Correct what the settings name, on the samples that thresholds were fitted on."""
    job, thetas = assembly.job, assembly.thresholds
    if not job.settings.corrections:
        return Correction(job.graph)
    if job.settings.rounds:
        return correct_in_rounds(job, assembly.model, thetas, assembly.found.means)
    return correct_layerwise(job, thetas, assembly.delay)


def _with_fewest_timesteps(ready: Prepared) -> tuple[Conversion, Calibration]:
    """Search for `--timesteps auto`; thresholds that do not depend on T are found once."""
    max_drop = ready.job.settings.max_drop
    assert max_drop is not None
    kept: list[Calibration] = []

    def make(timesteps: int) -> tuple[Conversion, Calibration]:
        job = ready.job.with_settings(replace(ready.job.settings, timesteps=timesteps))
        found = kept[0] if kept else _find_thresholds(ready, job)
        if "fitted_timesteps" not in found.settings:
            kept[:] = [found]
        return _spiking(ready, job, found), found

    return fewest_timesteps(make, lambda made: _drop(made[0].report), max_drop)


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
