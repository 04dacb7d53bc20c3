"""Warnings of a conversion: what its user should know before trusting it, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx2snn.calibrate.batchnorm import BATCH_NORM
from onnx2snn.calibrate.rules import Thresholds
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.pipeline.prepared import Prepared
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site


def conversion_warnings(
    ready: Prepared, job: Job, calibration: Calibration, settled: Sequence[Thresholds]
) -> Iterator[str]:
    """Yield what is to be said about the coding, thresholds and data.

    Args:
        ready: The prepared network.
        job: The same with the number of time-steps at hand.
        calibration: Where the thresholds come from; in differential coding they are λ.
        settled: The thresholds as they are used, per site.
    """
    if ready.doubt:
        yield ready.doubt
    if ready.chosen:
        yield f"differential coding: with neurons in place of activations {ready.chosen}"
    if job.settings.differential and job.data.random and job.settings.thresholds is None:
        octaves = max(calibration.octaves)
        yield (
            f"no calibration data: spikes have {octaves} octaves around the scale of "
            f"{len(job.samples)} random inputs{job.data.guesses}, which costs spikes and some "
            "accuracy; give --calibration with some 100 to 1,000 typical inputs"
        )
    else:
        yield from _about_data(ready, job, calibration)
    yield from _about_fitting(job, calibration)
    for site, thresholds in zip(job.sites, settled, strict=True):
        if thresholds.all_silent:
            yield _about_silence(site, differential=job.settings.differential)


def _about_silence(site: Site, *, differential: bool) -> str:
    if differential:
        return f"'{site.tensor}' never changed on the calibration data: its λ is set to 1"
    return f"site '{site.name}' never fired on the calibration data: its threshold is set to 1"


def _about_data(ready: Prepared, job: Job, calibration: Calibration) -> Iterator[str]:
    """Say that there are no data, and where thresholds come from then."""
    guessed = job.data.guesses
    if calibration.settings["method"] == BATCH_NORM:
        known = sum(statistic is not None for statistic in ready.statistics)
        sites = len(job.sites)
        others = f", those of the others are the maxima over random inputs{guessed}"
        yield (
            f"no calibration data: thresholds of {known} of {sites} sites come from the "
            "statistics that "
            f"BatchNormalization has recorded{'' if known == sites else others}; "
            "--calibration with some 100 to 1,000 typical inputs does better"
        )
    elif not calibration.calibrated:
        count = "" if job.settings.thresholds is not None else f"{len(job.samples)} "
        yield (
            f"no calibration data: thresholds are the maxima over {count}random inputs{guessed}, "
            "which costs much accuracy at few time-steps; give --calibration with some 100 to "
            "1,000 typical inputs"
        )
    elif job.data.random and job.data.notes:
        yield f"the comparison below is on random inputs{guessed}"


def _about_fitting(job: Job, calibration: Calibration) -> Iterator[str]:
    """Say where thresholds from a file were fitted to other settings than these."""
    settings = job.settings
    asked = {"fitted_timesteps": settings.steps}
    if settings.differential:
        asked |= {"fitted_octaves": settings.octave_count, "fitted_digits": settings.digit_count}
    else:
        asked["fitted_levels"] = settings.height
    for name, fitted in calibration.settings.items():
        if asked.get(name, fitted) != fitted:
            option = name.removeprefix("fitted_")
            yield (
                f"the thresholds of '{settings.thresholds}' were fitted to {fitted} {option}, not "
                f"{asked[name]}; "
                f"give --{option} {fitted}, or find new ones"
            )
