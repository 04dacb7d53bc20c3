"""What calibrating costs, in passes of plain inference, beside onnxruntime's own calibrators.

    python benchmarks/calibrators.py NAME=ANN,CALIBRATION[,SAMPLES] ... [--threads 2]
                                     [--write docs/performance.md]

All ways take turns in one process, on the same samples in batches of the same size: plain inference
with the network's file, our statistics (what a conversion does between its partition and its
thresholds), and onnxruntime's MinMax and Percentile calibrators, which take all tensors of the
network. A figure is the median of the rounds, each related to the plain inference of its own. A
cell has the passes that all of it takes, and in brackets what one of our passes over the samples
does. Memory is the most that the process held beyond what it held before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from foreign import Array, write_table
from memory import MB, Held
from onnxruntime.quantization import calibrate as theirs
from timing import PAUSE, Watch

from onnx2snn.aliases import silent_progress
from onnx2snn.data.batches import batches
from onnx2snn.data.split import HELD_BACK_SHARE
from onnx2snn.errors import Onnx2snnError
from onnx2snn.pipeline.convert import STAGES
from onnx2snn.pipeline.prepared import Prepared, prepared
from onnx2snn.prepare.job import Job
from onnx2snn.protos.apart import weights_apart
from onnx2snn.protos.freeing import give_back
from onnx2snn.protos.sessions import open_session
from onnx2snn.settings import Settings

BATCH = 50
MOST = 1000
"""Samples of a network, unless it is told."""
WAYS = {
    "max": ({"coding": "rate", "method": "max"}, 1),
    "percentile": ({"coding": "rate", "method": "percentile"}, 2),
    "MMSE": ({"coding": "rate", "method": "mmse"}, 2),
    "differential": ({"coding": "differential"}, 2),
}
"""Our ways: the options of a conversion, and its passes over the samples."""
PLAIN, MIN_MAX, PERCENTILE = "plain", "onnxruntime MinMax", "onnxruntime Percentile"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", metavar="NAME=ANN,CALIBRATION[,SAMPLES]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[*WAYS, MIN_MAX, PERCENTILE], metavar="WAY")
    parser.add_argument("--write", type=Path, help="a document with marks for the table")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = given.only or [*WAYS, MIN_MAX, PERCENTILE]
    lines = _head(chosen)
    for text in given.networks:
        name, _, paths = text.partition("=")
        ann, calibration, *samples = paths.split(",")
        most = int(samples[0]) if samples else MOST
        network = Network(Path(ann), Path(calibration), most, given.threads)
        lines.append(_row(name, network, chosen, given.rounds))
        print(lines[-1], flush=True)
    if given.write is not None:
        write_table(lines, given.write, "calibrators")


def _head(chosen: list[str]) -> list[str]:
    cells = ["network", "samples", "plain pass, s", *chosen]
    cells += [f"{name}, MB" for name in chosen] + ["other programs, cores"]
    return [f"| {' | '.join(cells)} |", f"|{' --- |' * len(cells)}"]


def _row(name: str, network: Network, chosen: list[str], rounds: int) -> str:
    """Measure a network all ways in turn."""
    watch = Watch()
    with ExitStack() as stack:
        ways = network.ways(stack, chosen)
        spent: dict[str, list[float]] = {way: [] for way in ways}
        held: dict[str, int] = {}
        for _ in range(rounds):
            for way, run in ways.items():
                give_back()
                time.sleep(PAUSE)
                memory = Held()
                started = time.perf_counter()
                run()
                spent[way].append(time.perf_counter() - started)
                held[way] = max(held.get(way, 0), memory.most())
    plain = np.array(spent[PLAIN])
    cells = [name, str(network.count), f"{np.median(plain):.2f}"]
    cells += ["" if way not in ways else _passes(way, spent[way] / plain) for way in chosen]
    cells += ["" if way not in ways else f"{held[way] / MB:.0f}" for way in chosen]
    return f"| {' | '.join([*cells, f'{watch.stop() or 0:.2f}'])} |"


def _passes(way: str, by_round: Array) -> str:
    """Return what a way takes, in all and each pass of it."""
    passes = float(np.median(by_round))
    if way not in WAYS:
        return f"{passes:.2f}"
    return f"{passes:.2f} ({passes / WAYS[way][1]:.2f})"


class Network:
    """A network and samples for it."""

    def __init__(self, ann: Path, calibration: Path, samples: int, threads: int) -> None:
        """Read the samples, as far as there are so many."""
        self.ann, self.threads = ann, threads
        with np.load(calibration) as data:
            most = min(samples, *map(len, data.values()))
            self.count = _whole(most)
            self.feeds = {name: values[: self.count] for name, values in data.items()}

    def ways(self, stack: ExitStack, chosen: list[str]) -> dict[str, Callable[[], object]]:
        """Return what does the work, by way, as far as the network can be converted so."""
        jobs = {}
        for way in chosen:
            if way in WAYS:
                ready = self._prepared(stack, **WAYS[way][0])
                if ready is not None:
                    jobs[way] = ready
        first = next(iter(jobs.values()))
        samples = {spec.name: self.feeds[spec.name] for spec in first.job.specs}
        found: dict[str, Callable[[], object]] = {PLAIN: self._plain(first.job)}
        for way, ready in jobs.items():
            stages = STAGES[ready.job.settings.sites or "activations"]
            found[way] = partial(stages.find, ready, ready.job)
        fitted = first.job.samples.batch(np.arange(len(first.job.samples)))
        rows = {name: fitted[name] for name in samples}
        for way, method in THEIRS.items():
            if way in chosen:
                found[way] = partial(self._theirs, method, rows)
        return found

    def _prepared(self, stack: ExitStack, **options: Any) -> Prepared | None:
        """Return the network taken to its partition, or None where it cannot be converted so."""
        settings = Settings(timesteps=4, threads=self.threads, batch_size=BATCH, **options)
        inner = ExitStack()
        try:
            inner.enter_context(weights_apart())
            ready = inner.enter_context(
                prepared(self.ann, dict(self.feeds), settings, silent_progress)
            )
        except Onnx2snnError as error:
            print(f"{self.ann.stem}, {options}: {error}")
            inner.close()
            return None
        stack.push(inner)
        return ready

    def _plain(self, job: Job) -> Callable[[], None]:
        """Return one pass of plain inference over the samples that we fit on."""
        session = open_session(onnx.load(self.ann), self.threads)

        def run() -> None:
            for batch in batches(job.samples, BATCH, job.fixed_batch):
                session.run(None, batch.feed)

        return run

    def _theirs(self, method: theirs.CalibrationMethod, rows: dict[str, Array]) -> None:
        """Calibrate as onnxruntime does before it quantises a network."""
        with tempfile.TemporaryDirectory() as folder:
            made = theirs.create_calibrator(
                self.ann,
                augmented_model_path=str(Path(folder) / "augmented.onnx"),
                calibrate_method=method,
            )
            made.collect_data(Reader(rows))
            made.compute_data()


def _whole(most: int) -> int:
    """Return a number of samples of which those that we fit on fill batches.

    onnxruntime's Percentile calibrator takes no other.
    """
    return next(n for n in range(most, 0, -1) if (n - n // HELD_BACK_SHARE) % BATCH == 0)


THEIRS = {
    MIN_MAX: theirs.CalibrationMethod.MinMax,
    PERCENTILE: theirs.CalibrationMethod.Percentile,
}


class Reader(theirs.CalibrationDataReader):  # type: ignore[misc]
    """Batches for onnxruntime's calibrators."""

    def __init__(self, rows: dict[str, Array]) -> None:
        """Start at the first sample."""
        self._batches = self._made(rows)

    def _made(self, rows: dict[str, Array]) -> Iterator[dict[str, Array]]:
        count = min(map(len, rows.values()))
        for start in range(0, count, BATCH):
            yield {name: values[start : start + BATCH] for name, values in rows.items()}

    def get_next(self) -> dict[str, Array] | None:
        """Return a batch, or None behind the last."""
        return next(self._batches, None)


if __name__ == "__main__":
    main()
