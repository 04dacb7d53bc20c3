"""Times of an evaluation and of a calibration by 1 and 2 worker processes, and bytes that travel.

python benchmarks/scaling.py [MODEL.onnx CALIBRATION.npz TEST.npz]
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed

from onnx2snn.aliases import silent_progress
from onnx2snn.calibrate.calibrator import Calibrator
from onnx2snn.calibrate.statistics import Counts, Summaries
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.pipeline.prepared import prepared
from onnx2snn.score.evaluate import run_evaluation
from onnx2snn.score.question import Question
from onnx2snn.settings import Settings
from onnx2snn.spread.opening import spread_of
from onnx2snn.spread.work import Spread

ROOT = Path(__file__).parents[1]
DEFAULTS = ("fashion_resnet.onnx", "fashion_calibration.npz", "fashion_test.npz")
SAMPLES = 400
PROCESSES = (1, 2)
REPEATS = 2
"""Of the times after the first one the shortest counts: other work makes them longer."""


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, of this process's core, and of the busiest worker's."""

    clock: float
    own: float
    worker: float

    def __str__(self) -> str:
        """Return them for a person."""
        return (
            f"{self.clock:.2f} s, {busy(self):.2f} s busy ({self.own:.2f} here, {self.worker:.2f})"
        )


def busy(found: Spent) -> float:
    """Return the seconds that work takes on cores of its own."""
    return found.own + found.worker


def spent(work: Callable[[], object], client: Any) -> Spent:
    """Return the seconds that some work takes."""
    before = {} if client is None else client.run(time.process_time)
    clock, own = time.perf_counter(), time.process_time()
    work()
    clock, own = time.perf_counter() - clock, time.process_time() - own
    after = {} if client is None else client.run(time.process_time)
    each = [after[worker] - seconds for worker, seconds in before.items()]
    return Spent(clock, own, max(each, default=0.0))


def packed(thing: object) -> int:
    """Return the bytes of something that travels."""
    return len(pickle.dumps(thing, pickle.HIGHEST_PROTOCOL))


def sizes(model: str, calibration: str, settings: Settings) -> None:
    """Print the bytes of what goes to a worker, and of what comes back."""
    with prepared(model, calibration, settings, silent_progress) as ready:
        run = Calibrator(ready.job)
        batch = run.passes.epoch()[0]
        summary = run.work("summary", Summaries)
        (summaries,) = summary.opened.compute([batch], None)
        maxima = [found.largest for found in summaries]
        counting = run.work("histogram", Counts)
        feeds = run.theta_feeds(maxima)
        (counts,) = counting.opened.added(counting.opened.start(), [batch], feeds)
        rows = {
            "model, once a worker": summary.recipe(),
            "data at a path, once a worker": summary.data(),
            "thresholds, a mini-batch or a pass": feeds,
            "samples of a batch, their numbers": batch,
            "means and extremes of a batch": summaries,
            "histograms of a pass": counts,
        }
        for name, thing in rows.items():
            print(f"{name}: {packed(thing):,} bytes")


def times(model: str, calibration: str, test: str, settings: Settings) -> None:
    """Print seconds in this process, then by some workers."""
    snn = run_conversion(model, calibration, settings).model
    question = Question(threads=1, limit=SAMPLES)

    def scored(client: Any, spread: Spread) -> Spent:
        arguments = (model, snn, test, question, silent_progress, spread)
        return spent(lambda: run_evaluation(*arguments), client)

    def calibrated(client: Any, spread: Spread) -> Spent:
        with prepared(model, calibration, settings, silent_progress, spread) as ready:
            return spent(lambda: Calibrator(ready.job).histograms(silent_progress), client)

    for processes in (0, *PROCESSES):
        with workers(processes) as client:
            spread = spread_of(client)
            for name, work in {"evaluation": scored, "histograms": calibrated}.items():
                first = work(client, spread)
                again = min((work(client, spread) for _ in range(REPEATS)), key=busy)
                print(f"{name}, {processes} workers: {again}; the first time {first}")


@contextmanager
def workers(count: int) -> Iterator[Any]:
    """Yield a client of some processes; None for none."""
    if not count:
        yield None
        return
    dask: Any = distributed
    with (
        dask.LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        dask.Client(cluster) as client,
    ):
        yield client


def main() -> None:
    """Measure the given network, or the repository's ResNet."""
    model, calibration, test = sys.argv[1:] or [str(ROOT / "models" / name) for name in DEFAULTS]
    settings = Settings(preset="low-latency", timesteps=8, threads=1, correct="none")
    sizes(model, calibration, settings)
    times(model, calibration, test, settings)


if __name__ == "__main__":
    main()
