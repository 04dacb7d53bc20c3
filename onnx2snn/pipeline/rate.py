"""Rate coding: thresholds -> corrections -> neurons in place of activations -> the emitted model.

calibrate -> correct -> rewrite -> fold -> emit -> verify -> report
"""

from __future__ import annotations

from onnx2snn.calibrate import saved
from onnx2snn.calibrate.batchnorm import informed
from onnx2snn.calibrate.calibrator import calibrate
from onnx2snn.calibrate.first_spikes import automatic_delay
from onnx2snn.calibrate.rules import settle
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.correct.correction import Correction
from onnx2snn.correct.layerwise import correct_layerwise
from onnx2snn.correct.rounds import correct_in_rounds
from onnx2snn.pipeline.assemble import Assembly
from onnx2snn.pipeline.conversion import Conversion
from onnx2snn.pipeline.cost import cost
from onnx2snn.pipeline.prepared import Prepared, blaming_data, require_finite
from onnx2snn.pipeline.report import Findings, build_report
from onnx2snn.pipeline.stage_checks import as_clipped, check_stage, run_clipped, run_model
from onnx2snn.pipeline.verify import compare
from onnx2snn.pipeline.warnings import conversion_warnings
from onnx2snn.prepare.job import Job
from onnx2snn.protos.notes import NOTES
from onnx2snn.snn.window import resolve_delay
from onnx2snn.spread.work import HERE


def find_thresholds(ready: Prepared, job: Job) -> Calibration:
    """Take thresholds from a file or from the data, else from what BatchNormalization recorded."""
    with ready.clock("calibrate"), blaming_data(ready):
        path = job.settings.thresholds
        if path is not None:
            return saved.load(path, job.sites, ready.source.sha256, job.settings.granularity)
        found = informed(job, ready.statistics, calibrate)
    require_finite(job, found)
    return found


def spiking(ready: Prepared, job: Job, found: Calibration) -> Conversion:
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
        balanced = found.settings.get("iterations")
        spent = cost(ready.inference, clock.seconds, len(job.samples), settings, balanced)
    findings = Findings(ready, proto, settled, folding, correction, comparison)
    return Conversion(proto, build_report(findings, said, spent))


def _correct(assembly: Assembly) -> Correction:
    """Correct what the settings name, on the samples that thresholds were fitted on."""
    job, thetas = assembly.job, assembly.thresholds
    if not job.settings.corrections:
        return Correction(job.graph)
    if job.spread is not HERE:
        NOTES.info("corrections simulate few samples: they are computed here, not by the workers")
    if job.settings.rounds:
        return correct_in_rounds(job, assembly.model, thetas, assembly.found.means)
    return correct_layerwise(job, thetas, assembly.delay)
