"""What a conversion costs, in passes of plain ANN inference measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from onnx2snn.data.samples import Samples
from onnx2snn.protos.sessions import open_session
from onnx2snn.protos.specs import TensorSpec, fixed_batch
from onnx2snn.settings import Settings

TIMED = 3
"""Batches that are timed; the median counts."""


@dataclass(frozen=True)
class Cost:
    """Seconds one sample takes the ANN in batches of the calibration's size, and what calibrating took in such.

    `passes`: by stage, the time it took over the time of one pass of the ANN over all calibration data; `balancing`: of
    local threshold balancing alone, over plain inference on the very same images (None: another method).
    """

    inference: float
    passes: dict[str, float]
    balancing: float | None


def inference_seconds(
    proto: onnx.ModelProto, samples: Samples, specs: Sequence[TensorSpec], settings: Settings
) -> float:
    """Seconds per sample of plain inference with the original file."""
    session = open_session(proto, settings.threads)
    size = fixed_batch(specs) or min(settings.batch_size, len(samples))
    feed = samples.batch(np.resize(np.arange(len(samples)), size))
    session.run(None, feed)
    spent = []
    for _ in range(TIMED):
        started = time.perf_counter()
        session.run(None, feed)
        spent.append(time.perf_counter() - started)
    return float(np.median(spent)) / size


def cost(inference: float, seconds: dict[str, float], samples: int, settings: Settings) -> Cost:
    """Relate the seconds of the stages to plain inference over `samples` calibration samples."""
    passes = {stage: round(seconds[stage] / (inference * samples), 2) for stage in ("calibrate", "correct")}
    balanced = settings.iterations * min(settings.batch_size, samples)
    local = settings.chosen("method") == "local" and settings.thresholds is None
    return Cost(inference, passes, round(seconds["calibrate"] / (inference * balanced), 2) if local else None)
