"""λ -> neurons in front of weighted operators -> the emitted model: differential coding, and rate
coding of the same sites, where θ is λ.

calibrate -> rewrite -> fold -> emit -> verify -> report
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.calibrate import ladders, saved
from onnx2snn.calibrate.calibrator import Calibrator, ceilings
from onnx2snn.calibrate.rules import settle
from onnx2snn.calibrate.saved import Calibration, CalibrationSettings
from onnx2snn.correct.correction import Correction
from onnx2snn.graph.flow import time_varying
from onnx2snn.pipeline.conversion import Conversion
from onnx2snn.pipeline.cost import cost
from onnx2snn.pipeline.prepared import Prepared, blaming_data, require_finite
from onnx2snn.pipeline.report import Findings, build_report
from onnx2snn.pipeline.stage_checks import as_converged, check_stage, run_model
from onnx2snn.pipeline.verify import compare_estimates
from onnx2snn.pipeline.warnings import conversion_warnings
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.starts import steady_starts
from onnx2snn.prepare.weighted_sites import WeightedPartition
from onnx2snn.rewrite.clips_by_channel import fold_past_clips
from onnx2snn.rewrite.differential import rewrite_differential
from onnx2snn.rewrite.emit import ConversionFacts, annotate_differential
from onnx2snn.rewrite.lowering_differential import Alphabet, Ladder, Levels
from onnx2snn.snn.differential import DIFFERENTIAL_IF
from onnx2snn.snn.rate_if import RATE_IF


def find_scales(ready: Prepared, job: Job) -> Calibration:
    """Take λ from a file, or find it on the data: with the means that estimates start at."""
    with ready.clock("calibrate"), blaming_data(ready):
        settings = job.settings
        if settings.thresholds is not None:
            return saved.load(
                settings.thresholds, job.sites, ready.source.sha256, settings.granularity
            )
        run = Calibrator(job, signed=True)
        run.centres = _starts(run, job)
        if settings.rated_weighted:
            return _thresholds(job, run)
        method, found = _ladders(run, job)
    calibration = Calibration(
        thresholds=tuple(ladder.scale for ladder in found),
        means=tuple(run.centres),
        settings=cast(CalibrationSettings, settings.calibration(method)),
        calibrated=not job.data.random,
        octaves=tuple(ladder.octaves for ladder in found),
    )
    require_finite(job, calibration)
    return calibration


def _thresholds(job: Job, run: Calibrator) -> Calibration:
    """Find the largest outputs of neurons in rate coding, k θ, of the sizes |y|."""
    settings = job.settings
    method = settings.threshold_method
    found = Calibration(
        thresholds=tuple(ceilings(run, method, job)),
        means=tuple(run.centres or ()),
        settings=cast(CalibrationSettings, settings.calibration(method)),
        calibrated=not job.data.random,
    )
    require_finite(job, found)
    return found


def _ladders(run: Calibrator, job: Job) -> tuple[str, list[ladders.SiteLadder]]:
    """Return the method, and the ladder of each site; without data the ladders are wide."""
    settings = job.settings
    if job.data.random:
        octaves = settings.octaves or ladders.WIDE
        return "max", ladders.wide_ladders(run, octaves, job.progress)
    rule = ladders.LadderRule(
        method=settings.threshold_method,
        octaves=settings.octave_count,
        widen=settings.octaves is None,
        spikes=settings.digit_count,
        changing=settings.later_digit_count < settings.digit_count,
        percent=settings.percent,
        at_once=_told_at_once(job),
    )
    return rule.method, ladders.find_ladders(run, rule, job.progress)


def _starts(run: Calibrator, job: Job) -> list[Array]:
    """Return where estimates start, in ANN units: at the means of sites that allow it, or at 0."""
    shapes = [site.threshold_shape(job.settings.granularity) for site in job.sites]
    zeros = [np.zeros(shape) for shape in shapes]
    settings = job.settings
    if settings.rated_weighted or not settings.starts_at_mean or job.data.random:
        return zeros
    steady = steady_starts(job.graph, _parts(job))
    means = run.means(job.progress)
    chosen = []
    for site, mean, zero in zip(job.sites, means, zeros, strict=True):
        chosen.append(mean if site.name in steady else zero)
    return chosen


def spiking(ready: Prepared, job: Job, found: Calibration) -> Conversion:
    """Make the spiking model of one number of time-steps, from given λ and starts."""
    settings, clock = job.settings, ready.clock
    parts = _parts(job)
    settled = [settle(values) for values in found.thresholds]
    scales = [thresholds.values for thresholds in settled]
    alphabet: Alphabet
    if settings.rated_weighted:
        # the largest output of a layer is `levels` thresholds high
        scales = [ceiling / settings.height for ceiling in scales]
        alphabet = Levels(settings.height)
        neuron = RATE_IF
    else:
        alphabet = ladder_of(job, scales, found)
        neuron = DIFFERENTIAL_IF
    with clock("rewrite"):
        rewritten = rewrite_differential(job.graph, parts, scales, neuron)
        folded, folding = fold_past_clips(rewritten)
        original = run_model(job.graph, ready.feed, job.threads)
        check_stage("fold", original, run_model(as_converged(folded), ready.feed, job.threads))
    with clock("annotate"):
        about = ConversionFacts(
            settings={**settings.conversion(), **found.settings},
            timesteps=settings.steps,
            delay=0,
            delay_auto=0,
            calibrated=found.calibrated,
        )
        proto = annotate_differential(folded, parts, ready.source, about, alphabet)
    with clock("verify"):
        comparison = compare_estimates(job, scales, found.means, proto)
    said = [
        *conversion_warnings(ready, job, found, settled),
        *comparison.warnings(settings.steps, job.data.random),
    ]
    spent = None
    if ready.inference is not None:
        spent = cost(ready.inference, clock.seconds, len(job.samples), settings)
    findings = Findings(ready, proto, settled, folding, Correction(job.graph), comparison)
    return Conversion(proto, build_report(findings, said, spent))


def ladder_of(job: Job, scales: Sequence[Array], found: Calibration) -> Ladder:
    """Return what spikes can say, with starts in threshold units."""
    names = [site.name for site in job.sites]
    octaves = dict(zip(names, found.octaves, strict=True))
    starts = {}
    for site, scale, mean in zip(job.sites, scales, found.means, strict=True):
        if np.any(mean):
            # an operator behind takes a start per channel, whatever λ is per
            channels = site.threshold_shape("channel")
            starts[site.name] = np.broadcast_to(mean / scale, channels)
    settings = job.settings
    at_once = {name: ladders.spikes_at_once(octaves[name]) for name in sorted(_told_at_once(job))}
    return Ladder(octaves, settings.digit_count, settings.later_digit_count, starts, at_once)


def _told_at_once(job: Job) -> set[str]:
    """Return the sites whose neurons tell all they have in the first step.

    What they take is constant in time: there is nothing left to tell later, and what is behind them
    need not be mended.
    """
    if not job.settings.tells_at_once:
        return set()
    parts = _parts(job)
    driven = {use.node for use in parts.uses}
    varying = time_varying(job.graph.nodes, driven)
    return {site.name for site in parts.sites if site.tensor not in varying}


def _parts(job: Job) -> WeightedPartition:
    assert isinstance(job.partition, WeightedPartition)
    return job.partition
