"""Thresholds without data: BatchNormalization knows how its outputs are distributed.

Over the training data the output of a BatchNormalization has mean β and standard deviation |γ| per
channel, whatever goes in. Taken as Gaussian, that is the statistic thresholds are made from;
`gaussians` carries mean and variance on through the operators between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.calibrate.gaussians import Gaussian, Known, rectified
from onnx2snn.calibrate.instrument import BINS
from onnx2snn.calibrate.rules import mmse
from onnx2snn.calibrate.saved import Calibration, CalibrationSettings
from onnx2snn.prepare.job import Job
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.apart import values_of

BATCH_NORM = "batchnorm"
"""The name of this method in the settings of a calibration."""


Measure = Callable[[Job], Calibration]
"""Makes a calibration from samples."""


def recorded_statistics(proto: onnx.ModelProto) -> Known:
    """Return β and γ² of every BatchNormalization with constant parameters, by its output.

    They are read before it is folded away.
    """
    fixed = {tensor.name: tensor for tensor in proto.graph.initializer}
    found = {}
    for node in proto.graph.node:
        if node.op_type != "BatchNormalization":
            continue
        _, scale, shift = node.input[:3]
        if scale not in fixed or shift not in fixed:
            continue
        gamma = _values(fixed[scale])
        beta = _values(fixed[shift])
        variance = np.square(gamma)
        found[node.output[0]] = Gaussian(beta, variance)
    return found


def _values(tensor: onnx.TensorProto) -> Array:
    values: Array = values_of(tensor)
    return values.astype(np.float64)


def thresholds_for(
    site: Site, z: Gaussian, granularity: str, timesteps: int
) -> tuple[Array, Array]:
    """Return a site's MMSE thresholds and its mean activations.

    Args:
        site: The site.
        z: The statistics of its input current.
        granularity: "channel", or "layer": then it is the largest threshold of its channels.
        timesteps: T, times the most thresholds one spike is high.

    Returns:
        Both in ANN units and of the site's threshold shape.
    """
    shape = site.threshold_shape(granularity)
    counts, maxima = rectified(z, site.upper)
    # E[a], with bins in units of the maximum
    a = np.arange(BINS) / BINS
    total = (counts * a).sum(axis=1)
    means = total / counts.sum(axis=1) * maxima
    theta = mmse(counts, maxima, timesteps)
    if theta.size == np.prod(shape):
        return theta.reshape(shape), means.reshape(shape)
    # one for the layer
    largest = np.full(shape, theta.max())
    mean = np.full(shape, means.mean())
    return largest, mean


def informed(job: Job, statistics: Sequence[Gaussian | None], measure: Measure) -> Calibration:
    """Return a calibration from the statistics that are known.

    Args:
        job: The conversion.
        statistics: Of each site's input current; None where they are unknown.
        measure: Serves the sites nothing is known of.
    """
    settings = job.settings
    levels = settings.steps * settings.height
    known = {}
    for index, z in enumerate(statistics):
        if z is not None:
            site = job.sites[index]
            known[index] = thresholds_for(site, z, settings.granularity, levels)
    if not known:
        return measure(job)
    found = known
    if len(known) < len(job.sites):
        measured = measure(job)
        pairs = zip(measured.thresholds, measured.means, strict=True)
        found = dict(enumerate(pairs)) | known
    thresholds = []
    means = []
    for index in range(len(job.sites)):
        theta, mean = found[index]
        thresholds.append(theta)
        means.append(mean)
    decided = cast(CalibrationSettings, settings.calibration("mmse"))
    decided["method"] = BATCH_NORM
    return Calibration(
        thresholds=tuple(thresholds),
        means=tuple(means),
        settings=decided,
        calibrated=False,
    )
