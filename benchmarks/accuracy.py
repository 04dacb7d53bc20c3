"""The paper's Figure 3 and Table 3, the presets and an ablation, on one network.

Markdown tables and PNG plots.

    python benchmarks/accuracy.py ANN CALIBRATION TEST [--study NAME ...] [--seeds 0,1,2]
    [--timesteps 4,8,16,32]
                                  [--limit N] [--threads N] [--cache FILE.json] [--plots FOLDER]

Everything is fitted on CALIBRATION alone and scored on TEST; T counts every step, the delay
included. With several seeds a figure is the mean, with the smallest and the largest behind it.
Finished figures are kept in the cache, so that a run can be taken up again. Plots need matplotlib
(the extra `bench`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import onnx2snn
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation

BATCH = 100

DELAYS = (0, "half")

LOW = {"preset": "low-latency"}
LOCAL = "local, channel-wise"


@dataclass(frozen=True)
class Row:
    """One way to convert: options, the delay it is scored with, and whether it is fitted to each T
    anew.
    """

    options: dict[str, Any] = field(default_factory=dict)
    delay: int | str = "half"
    fitted: bool = False


@dataclass(frozen=True)
class Study:
    """Rows of one table, and the T its columns have where none are given."""

    title: str
    rows: dict[str, Row]
    timesteps: tuple[int, ...]
    seeds: bool = False
    over: tuple[int, ...] = ()
    """What the rows count; plots go over it, and not over T."""


def _corrected(base: dict[str, Any], delay: int | str, label: str) -> dict[str, Row]:
    """Table 3: light calibration is the bias, advanced calibration potentials and weights."""
    kinds = {
        "": "none",
        " + LCP": "bias",
        " + ACP": "potential,weights",
        " + LCP + ACP": "bias,potential,weights",
    }
    fitted = base.get("method") == "mmse"
    return {
        f"{label}{name}": Row(
            base | {"correct": correct}, delay, fitted=fitted or correct != "none"
        )
        for name, correct in kinds.items()
    }


ITERATIONS = (100, 300, 1000, 2000, 3000, 4000, 5000)

STUDIES = {
    "figure3": Study(
        "Thresholds (the paper's Figure 3)",
        {
            f"{name}, delay {delay}": Row(options, delay)
            for name, options in {
                "99 % percentile, layer-wise (robust norm)": {
                    "method": "percentile",
                    "granularity": "layer",
                },
                "local, layer-wise": {"granularity": "layer"},
                LOCAL: {},
            }.items()
            for delay in (0, "half")
        },
        (8, 16, 32, 64, 128),
    ),
    "iterations": Study(
        "Iterations of local threshold balancing (the paper's Figure 3)",
        {f"{number:,} iterations": Row({"iterations": number}) for number in ITERATIONS},
        (16, 32, 64),
        over=ITERATIONS,
    ),
    "maxpool": Study(
        "Max-pools",
        {
            f"{rule}, delay {delay}": Row({"maxpool": rule}, delay)
            for rule in ("accumulate", "current")
            for delay in (0, "half")
        },
        (8, 16, 32, 64, 128),
    ),
    "table3": Study(
        "Light and advanced calibration (the paper's Table 3), delay half",
        _corrected({}, "half", LOCAL) | _corrected({"method": "mmse"}, "half", "MMSE"),
        (8, 16, 32),
    ),
    "presets": Study(
        "Presets",
        {
            "paper": Row(),
            "paper, delay 0": Row({}, 0),
            "low-latency": Row(LOW, 0, fitted=True),
        },
        (2, 4, 8, 16, 32, 64),
        seeds=True,
    ),
    "ablation": Study(
        "The low-latency preset, and what each ingredient adds",
        {
            "low-latency": Row(LOW, 0, fitted=True),
            "without weights": Row(LOW | {"correct": "none"}, 0, fitted=True),
            "bias in place of weights": Row(LOW | {"correct": "bias"}, 0, fitted=True),
            "the same in 8 rounds over all layers": Row(
                LOW | {"correct": "bias", "rounds": 8}, 0, fitted=True
            ),
            "potentials in place of weights": Row(LOW | {"correct": "potential"}, 0, fitted=True),
            "bias too": Row(LOW | {"correct": "bias,weights"}, 0, fitted=True),
            "potentials too": Row(LOW | {"correct": "potential,weights"}, 0, fitted=True),
            "without signed neurons": Row(LOW | {"neuron": "if"}, 0, fitted=True),
            "local thresholds in place of MMSE": Row(LOW | {"method": "local"}, 0, fitted=True),
            "levels 1": Row(LOW | {"levels": 1}, 0, fitted=True),
            "levels 4": Row(LOW | {"levels": 4}, 0, fitted=True),
            "delay half": Row(LOW, "half", fitted=True),
        },
        (4, 8),
    ),
}


@dataclass(frozen=True)
class Files:
    """What is measured, and how."""

    ann: str
    calibration: str
    test: str
    limit: int | None
    threads: int | None


@dataclass(frozen=True)
class Score:
    """Of one conversion at one T.

    Accuracy and the relative L2 error of its outputs, both over all test samples.
    """

    accuracy: float
    error: float


def main() -> None:
    """Print the tables and draw the plots."""
    warnings.simplefilter(
        "ignore", UserWarning
    )  # low agreement is what some rows are there to show
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ann")
    parser.add_argument("calibration")
    parser.add_argument("test")
    parser.add_argument("--study", nargs="*", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--only", nargs="*", help="rows to leave in")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--timesteps")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--plots", type=Path)
    given = parser.parse_args()
    files = Files(given.ann, given.calibration, given.test, given.limit, given.threads)
    bench = Bench(files, given.cache)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    for name in given.study:
        study = STUDIES[name]
        times = (
            tuple(int(t) for t in given.timesteps.split(","))
            if given.timesteps
            else study.timesteps
        )
        rows = {
            label: row
            for label, row in study.rows.items()
            if given.only is None or label in given.only
        }
        found = {
            label: [
                bench.scores(row, times, seed) for seed in (seeds if study.seeds else seeds[:1])
            ]
            for label, row in rows.items()
        }
        print(table(study.title, times, bench.reference(), found), flush=True)
        if given.plots is not None:
            given.plots.mkdir(parents=True, exist_ok=True)
            lines = (
                by_timesteps(found, times)
                if study.over and len(found) == len(study.over)
                else found
            )
            over = study.over if lines is not found else times
            axis = "iterations" if lines is not found else "time-steps T"
            plot(
                given.plots / f"{Path(given.ann).stem}_{name}.png",
                study.title,
                over,
                axis,
                bench.reference(),
                lines,
            )


class Bench:
    """Scores conversions, each figure once."""

    def __init__(self, files: Files, cache: Path | None) -> None:
        """Read what an earlier run has found."""
        self.files, self.cache = files, cache
        self.folder = tempfile.TemporaryDirectory()
        self.known: dict[str, Any] = (
            json.loads(cache.read_text()) if cache and cache.exists() else {}
        )
        with np.load(files.test) as data:
            self.x, self.labels = data["input"][: files.limit], data["labels"][: files.limit]
        session = onnxruntime.InferenceSession(files.ann)
        batches = [
            session.run(None, {"input": self.x[i : i + BATCH]})[0]
            for i in range(0, len(self.x), BATCH)
        ]
        self.wanted = np.concatenate(batches)

    def reference(self) -> float:
        """The ANN's accuracy."""
        return float((self.wanted.argmax(1) == self.labels).mean())

    def scores(self, row: Row, times: tuple[int, ...], seed: int) -> list[Score]:
        """A row's score at each T.

        Out of one simulation, or of a conversion each where it is fitted to T.
        """
        missing = [t for t in times if self._key(row, row.delay, seed, t) not in self.known]
        for group in [[t] for t in missing] if row.fitted else [missing] if missing else []:
            # what is not fitted to a delay has scores for all delays at the price of one
            delays = [row.delay] if row.fitted else list(dict.fromkeys([row.delay, *DELAYS]))
            windows = [(t, delay) for t in group for delay in delays]
            for (t, delay), score in zip(windows, self._measure(row, windows, seed), strict=True):
                self.known[self._key(row, delay, seed, t)] = [score.accuracy, score.error]
            if self.cache is not None:
                self.cache.write_text(json.dumps(self.known, indent=0))
        return [Score(*self.known[self._key(row, row.delay, seed, t)]) for t in times]

    def _key(self, row: Row, delay: int | str, seed: int, t: int) -> str:
        return json.dumps([Path(self.files.ann).stem, len(self.x), row.options, delay, seed, t])

    def _measure(self, row: Row, windows: list[tuple[int, int | str]], seed: int) -> list[Score]:
        options = {"delay": row.delay} | row.options | {"seed": seed, "threads": self.files.threads}
        options |= self._balanced(options)
        last = max(t for t, _ in windows)
        made = onnx2snn.convert(self.files.ann, self.files.calibration, timesteps=last, **options)
        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = self.files.threads or 0
        session = Simulation(made.model, Opening(threads))
        batches = [
            session.run_at({"input": self.x[i : i + BATCH]}, windows)
            for i in range(0, len(self.x), BATCH)
        ]
        return [
            self._score(np.concatenate([batch[n][0] for batch in batches]))
            for n in range(len(windows))
        ]

    def _balanced(self, options: dict[str, Any]) -> dict[str, str]:
        """Thresholds of local balancing, which do not depend on T, are found once and kept."""
        if (
            options.get("method", "mmse" if options.get("preset") == LOW["preset"] else "local")
            != "local"
        ):
            return {}
        decides = {name: options.get(name) for name in ("granularity", "iterations", "seed")}
        path = Path(self.folder.name, f"{'_'.join(map(str, decides.values()))}.npz")
        return {"thresholds" if path.exists() else "save_thresholds": str(path)}

    def _score(self, outputs: Any) -> Score:
        error = np.linalg.norm(outputs - self.wanted) / np.linalg.norm(self.wanted)
        return Score(float((outputs.argmax(1) == self.labels).mean()), float(error))


def table(
    title: str, times: tuple[int, ...], ann: float, found: dict[str, list[list[Score]]]
) -> str:
    """Accuracy in % at each T, the relative L2 error of the outputs behind it."""
    lines = [f"### {title}", "", f"ANN: {100 * ann:.2f} %.", ""]
    lines += [
        f"| conversion |{''.join(f' T={t} |' for t in times)}",
        f"| --- |{' --- |' * len(times)}",
    ]
    for label, seeds in found.items():
        cells = []
        for scores in zip(*seeds, strict=True):
            accuracy = [100 * score.accuracy for score in scores]
            spread = f" ({min(accuracy):.2f} to {max(accuracy):.2f})" if len(accuracy) > 1 else ""
            cells.append(
                f"{np.mean(accuracy):.2f}{spread}, {np.mean([score.error for score in scores]):.3f}"
            )
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def by_timesteps(
    found: dict[str, list[list[Score]]], times: tuple[int, ...]
) -> dict[str, list[list[Score]]]:
    """The rows of one seed turned into lines, one for each T."""
    return {
        f"T = {t}": [[seeds[0][index] for seeds in found.values()]] for index, t in enumerate(times)
    }


def plot(
    path: Path,
    title: str,
    times: tuple[int, ...],
    axis: str,
    ann: float,
    found: dict[str, list[list[Score]]],
) -> None:
    """Accuracy and error against T or whatever `axis` names, a line a row."""
    import matplotlib.pyplot as plt  # the extra `bench`

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    left.axhline(100 * ann, color="black", linewidth=0.8, linestyle="--", label="ANN")
    for index, (label, seeds) in enumerate(found.items()):
        style = {"marker": "osD^vPX*<>d"[index % 11], "markersize": 4, "label": label}
        left.plot(
            times,
            [np.mean([100 * s.accuracy for s in scores]) for scores in zip(*seeds, strict=True)],
            **style,
        )
        right.plot(
            times,
            [np.mean([s.error for s in scores]) for scores in zip(*seeds, strict=True)],
            **style,
        )
    left.set_ylabel("accuracy in %")
    right.set_ylabel("relative L2 error of the outputs")
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(times, [str(t) for t in times])
        axes.set_xlabel(axis)
        axes.grid(alpha=0.3)
    left.legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
