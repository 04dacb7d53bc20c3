"""What a conversion costs, in passes of plain ANN inference measured in the same run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx

from onnx2snn.data.batches import filled
from onnx2snn.prepare.job import Job
from onnx2snn.protos.freeing import give_back
from onnx2snn.protos.sessions import open_session
from onnx2snn.settings import Settings

TIMED = 3
"""Batches that are timed; the median counts ..."""

ENOUGH = 1.0
"""... of fewer, once these seconds are timed: the batches of a big network."""


class Clock:
    """Seconds spent, by stage."""

    def __init__(self) -> None:
        """Start with no stage."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage; what it has freed goes back to the system."""
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + spent, 3)
        give_back()


@dataclass(frozen=True)
class Cost:
    """Seconds a sample takes the ANN, in batches of the calibration's size, and costs in passes.

    `passes`: by stage, the time it took over the time of one pass of the ANN over all calibration
    data; `balancing`: of local threshold balancing alone, over plain inference on the very same
    images (None: another method).
    """

    inference: float
    passes: dict[str, float]
    balancing: float | None


def inference_seconds(job: Job, proto: onnx.ModelProto) -> float:
    """Return the seconds a sample takes plain inference with the original file, a median."""
    samples = job.samples
    session = open_session(proto, job.threads)
    size = job.fixed_batch or min(job.settings.batch_size, len(samples))
    feed = filled(samples, np.arange(len(samples)), size).feed
    session.run(None, feed)  # the first run allocates
    spent: list[float] = []
    while len(spent) < TIMED and sum(spent) < ENOUGH:
        started = time.perf_counter()
        session.run(None, feed)
        spent.append(time.perf_counter() - started)
    return float(np.median(spent)) / size


def cost(
    inference: float,
    seconds: dict[str, float],
    samples: int,
    settings: Settings,
    iterations: int | None = None,
) -> Cost:
    """Relate the seconds of the stages to plain inference.

    Args:
        inference: Seconds the ANN takes for one sample.
        seconds: Of each stage.
        samples: Calibration samples.
        settings: How thresholds were found.
        iterations: Mini-batches of local threshold balancing, where that was the method.
    """
    one_pass = inference * samples
    costly: list[str] = [name for name in ("calibrate", "correct") if name in seconds]
    passes = {name: round(seconds[name] / one_pass, 2) for name in costly}
    balancing = None
    if iterations is not None and settings.thresholds is None:
        balanced = iterations * min(settings.batch_size, samples)
        balancing = round(seconds["calibrate"] / (inference * balanced), 2)
    return Cost(inference, passes, balancing)
