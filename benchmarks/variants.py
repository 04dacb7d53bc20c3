"""The ways to compute that `speed.py` holds against each other.

The ANN, and its spiking network in every schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from timing import Variant

import onnx2snn
from onnx2snn.runtime.plan import Schedule

Array = NDArray[Any]
Feed = Mapping[str, Array]

ANN = "ANN, "
"""Before the names of the ways to compute the ANN."""
SPIKINGJELLY = "SpikingJelly, "
PIECE = 8
"""Samples a piece, where the ANN takes a batch in pieces."""
SCHEDULES: tuple[Schedule, ...] = ("stepped", "batched", "auto")
METHOD = "percentile"
"""How thresholds are found.

In one pass over the data. Which they are makes no step faster or slower.
"""


@dataclass(frozen=True)
class Network:
    """An ANN's file, and data to calibrate with (None: random inputs)."""

    name: str
    ann: Path
    calibration: Path | None


def options(threads: int) -> ort.SessionOptions:
    """onnxruntime's own settings but for the number of threads."""
    made = ort.SessionOptions()
    made.log_severity_level = 3
    made.intra_op_num_threads = threads
    return made


def inputs(network: Network, batch: int) -> dict[str, Array]:
    """The first samples of the calibration data, or random ones; a batch of them."""
    specs = ort.InferenceSession(network.ann, options(1)).get_inputs()
    if network.calibration is not None:
        with np.load(network.calibration) as data:
            return {
                spec.name: np.resize(data[spec.name], (batch, *data[spec.name].shape[1:]))
                for spec in specs
            }
    rng = np.random.default_rng(0)
    return {spec.name: rng.standard_normal((batch, *spec.shape[1:]), np.float32) for spec in specs}


def converted(network: Network, threads: int) -> onnx2snn.Conversion:
    """The network as a spiking one."""
    data = None if network.calibration is None else str(network.calibration)
    method: dict[str, Any] = {} if data is None else {"method": METHOD}
    return onnx2snn.convert(network.ann, data, timesteps=1, threads=threads, **method)


def ann_ways(network: Network, feed: Feed, threads: int) -> list[Variant]:
    """The ANN's file at onnxruntime's default level.

    A whole batch, one by one, in pieces, or a thread each half.
    """
    batch = len(next(iter(feed.values())))
    session = ort.InferenceSession(network.ann, options(threads))
    found = [Variant(f"{ANN}one batch", partial(session.run, None, dict(feed)), batch)]
    if batch == 1:
        return found
    for name, size in (("one by one", 1), (f"pieces of {PIECE}", PIECE)):
        parts = [_part(feed, start, start + size) for start in range(0, batch, size)]
        found.append(Variant(f"{ANN}{name}", partial(_in_turn, session, parts), batch))
    if threads > 1:
        single = ort.InferenceSession(network.ann, options(1))
        bounds = np.linspace(0, batch, threads + 1).astype(int)
        parts = [_part(feed, start, end) for start, end in pairwise(bounds)]
        found.append(Variant(f"{ANN}side by side", partial(_side_by_side, single, parts), batch))
    return found


def _part(feed: Feed, start: int, end: int) -> dict[str, Array]:
    return {name: value[start:end] for name, value in feed.items()}


def _in_turn(session: ort.InferenceSession, parts: list[dict[str, Array]]) -> None:
    for part in parts:
        session.run(None, part)


def _side_by_side(session: ort.InferenceSession, parts: list[dict[str, Array]]) -> None:
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(partial(session.run, None), parts))


def spiking_ways(
    conversion: onnx2snn.Conversion, feed: Feed, timesteps: int, threads: int, delay: int | str
) -> dict[str, Callable[[], Variant]]:
    """Every schedule of `SpikingSession`, and the rollout in stock onnxruntime, opened when called.

    All of a run counts: the encoder, `timesteps` steps (those of the delay included) and the
    readout.
    """
    units = timesteps * len(next(iter(feed.values())))

    def scheduled(schedule: Schedule) -> Variant:
        session = onnx2snn.SpikingSession(conversion.model, threads=threads, schedule=schedule)
        return Variant(schedule, partial(session.run, None, feed, timesteps, delay), units)

    def rolled_out() -> Variant:
        made = onnx2snn.rollout(conversion.model, timesteps, delay).SerializeToString()
        return Variant(
            "rollout",
            partial(ort.InferenceSession(made, options(threads)).run, None, dict(feed)),
            units,
        )

    return {schedule: partial(scheduled, schedule) for schedule in SCHEDULES} | {
        "rollout": rolled_out
    }
