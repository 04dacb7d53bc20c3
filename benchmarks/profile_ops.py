"""Where the time goes: onnxruntime's profile per operator of the ANN, and of its spiking network in
both schedules.

    python benchmarks/profile_ops.py [--model FILE --calibration FILE] [--networks NAME ...]
    [--timesteps 32]
                                     [--threads 2] [--runs 20] [--least 1.0]
                                     [--write docs/performance.md]

Microseconds per step (the ANN: per run) at batch 1, medians over runs, all sessions of a run
together. A Scan's operators are listed by themselves, and what is left of it as its own; `between
operators` is what a run takes beyond its operators. Profiling itself adds about a microsecond an
operator. Operators below `--least` percent everywhere are summed up.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from foreign import write_table
from speed import networks
from variants import Network, converted, inputs, options

import onnx2snn
from onnx2snn.runtime.plan import Schedule

WARM = 3
"""Runs that do not count."""
BETWEEN = "between operators"
OTHERS = "all others"

Event = Mapping[str, Any]
Profile = dict[str, float]


def main() -> None:
    """Print a table for each network."""
    warnings.simplefilter("ignore", UserWarning)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--networks", nargs="*")
    parser.add_argument("--timesteps", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--write", type=Path, help="a document with marks for the tables")
    parser.add_argument("--least", type=float, default=1.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        known = networks(Path(folder), given.model, given.calibration)
        for name in given.networks or known:
            lines = table(profiles(known[name], given), given.least)
            print(f"### {name}, T = {given.timesteps}", "", *lines, "", sep="\n")
            if given.write is not None:
                write_table(lines, given.write, f"profile {name}")


def profiles(network: Network, given: argparse.Namespace) -> dict[str, Profile]:
    """Microseconds per step by operator, of the ANN and of each schedule."""
    feed = inputs(network, 1)
    model = converted(network, given.threads).model

    def ann(settings: ort.SessionOptions) -> Callable[[], object]:
        return partial(ort.InferenceSession(network.ann, settings).run, None, feed)

    def snn(schedule: Schedule, settings: ort.SessionOptions) -> Callable[[], object]:
        session = onnx2snn.SpikingSession(model, settings, schedule=schedule)
        return partial(session.run, None, feed, given.timesteps, 0)

    found = {"ANN": profile(ann, given.threads, given.runs, 1)}
    for schedule in ("stepped", "batched"):
        try:
            found[schedule] = profile(
                partial(snn, schedule), given.threads, given.runs, given.timesteps
            )
        except onnx2snn.UsageError as error:
            print(f"{network.name}: {error}")
    return found


def profile(
    open_: Callable[[ort.SessionOptions], Callable[[], object]], threads: int, runs: int, steps: int
) -> Profile:
    """Microseconds per step by operator, over all sessions that `open_` makes with the options it
    is given.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = options(threads)
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder, "profile"))
        run = open_(settings)
        for _ in range(WARM + runs):
            run()
        del run
        gc.collect()  # sessions write their profile when they go
        total: dict[str, float] = {}
        for file in Path(folder).glob("*.json"):
            each = self_times(json.loads(file.read_text()))
            each = each[round(len(each) * WARM / (WARM + runs)) :]
            for label in {label for spent in each for label in spent}:
                median = float(np.median([spent[label] for spent in each]))
                total[label] = total.get(label, 0.0) + len(each) * median
    return {label: spent / runs / steps for label, spent in total.items()}


def self_times(events: Sequence[Event]) -> list[Counter[str]]:
    """Microseconds by operator, without what runs inside it, of each run of one session."""
    runs = sorted((e for e in events if e["name"] == "model_run"), key=lambda e: int(e["ts"]))
    starts = [int(e["ts"]) for e in runs]
    spent: list[Counter[str]] = [Counter({BETWEEN: int(e["dur"])}) for e in runs]
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    around: list[tuple[int, str]] = []
    for event in sorted(nodes, key=lambda e: (int(e["ts"]), -int(e["dur"]))):
        start, taken = int(event["ts"]), int(event["dur"])
        while around and around[-1][0] <= start:
            around.pop()
        outer, name = around[-1][1] if around else BETWEEN, event["args"]["op_name"]
        label = f"{outer} / {name}" if around else name
        of_run = spent[bisect_right(starts, start) - 1]
        of_run[label] += taken
        of_run[outer] -= taken
        around.append((start + taken, label))
    return spent


def table(found: Mapping[str, Profile], least: float) -> list[str]:
    """A row for each operator that takes `least` percent anywhere, most first."""
    totals = {name: sum(profile.values()) for name, profile in found.items()}
    labels = {label for profile in found.values() for label in profile}
    large = {
        label: max(100 * profile.get(label, 0.0) / totals[name] for name, profile in found.items())
        for label in labels
    }
    shown = sorted(
        (label for label in labels if large[label] >= least),
        key=lambda label: (-large[label], label),
    )
    rows = [
        [label, *(_cell(profile.get(label, 0.0), totals[name]) for name, profile in found.items())]
        for label in shown
    ]
    rest = [
        sum(spent for label, spent in profile.items() if label not in shown)
        for profile in found.values()
    ]
    rows.append(
        [OTHERS, *(_cell(spent, total) for spent, total in zip(rest, totals.values(), strict=True))]
    )
    rows.append(["**all**", *(f"**{total:.1f}**" for total in totals.values())])
    head = ["operator", *(f"{name}, µs" for name in found)]
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _cell(spent: float, total: float) -> str:
    return f"{spent:.1f} ({100 * spent / total:.0f} %)" if spent else ""


if __name__ == "__main__":
    main()
