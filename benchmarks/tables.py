"""The paper's Tables 1 and 2 and its energy table, in the same shape, for the networks in models/.

Markdown.

    python benchmarks/tables.py [--only NAME ...] [--methods NAME ...] [--timesteps 8,16,32,64,128]
    [--limit N]
                                [--batch-size N] [--threads N] [--cache FILE.json] [--only-cached]
                                [--model ANN --calibration CALIBRATION --test TEST]

Everything is fitted on calibration data alone and scored on test data; T counts every step, the
delay included.
Finished figures are kept in the cache, so that a run can be taken up again; --only-cached prints
what is there.
--batch-size is that of the paper preset's local threshold balancing (100). --model adds a
classifier to Table 1.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accuracy import LOW, Row

import onnx2snn
from onnx2snn.score.energy import SHARES, Prices
from onnx2snn.score.results import score_of

MODELS = Path(__file__).resolve().parent.parent / "models"
METHODS = {"paper": Row(), "low-latency": Row(LOW, 0, fitted=True)}
TIMES = (8, 16, 32, 64, 128)
TASKS = {
    "top1": "Classification (top-1 %)",
    "miou": "Semantic segmentation (mIoU %)",
    "map": "Object detection (mAP %)",
}


@dataclass(frozen=True)
class Network:
    """An ANN, what it is fitted and scored on, and how."""

    ann: Path
    calibration: Path
    test: Path
    metric: str

    @property
    def name(self) -> str:
        """The file's, without its ending."""
        return self.ann.stem


@dataclass(frozen=True)
class Figure:
    """A score (a fraction) and a sample's operations, of the ANN and of an SNN after T steps.

    `analog`: the SNN's FLOPs beside its synaptic operations.
    """

    ann: float
    flops: float
    timesteps: int
    score: float
    sops: float
    analog: float


def bundled(family: str, name: str, metric: str) -> Network:
    """One of the networks in models/."""
    ann, calibration, test = (
        MODELS / f"{family}_{end}" for end in (f"{name}.onnx", "calibration.npz", "test.npz")
    )
    return Network(ann, calibration, test, metric)


NETWORKS = [
    *(bundled("fashion", name, "top1") for name in ("resnet", "vgg", "mobilenet")),
    *(bundled("scene", name, "miou") for name in ("fcn", "deeplab")),
    *(bundled("scene", name, "map") for name in ("retinanet", "fcos")),
]


class Bench:
    """Scores conversions, each figure once."""

    def __init__(
        self, limit: int | None, threads: int | None, cache: Path | None, only_cached: bool = False
    ) -> None:
        """Read what an earlier run has found."""
        self.limit, self.threads, self.cache, self.only_cached = limit, threads, cache, only_cached
        self.known: dict[str, Any] = (
            json.loads(cache.read_text()) if cache and cache.exists() else {}
        )

    def figures(self, network: Network, row: Row, times: Sequence[int]) -> list[Figure]:
        """At each T asked for, and at whatever smaller T was scored on the way.

        In the order of T.
        """
        missing = [
            t
            for t in times
            if not self.only_cached and self._key(network, row, t) not in self.known
        ]
        for group in [[t] for t in missing] if row.fitted else [missing] if missing else []:
            for figure in measure(network, row, group, self.limit, self.threads):
                self.known[self._key(network, row, figure.timesteps)] = asdict(figure)
            if self.cache is not None:
                self.cache.write_text(json.dumps(self.known, indent=0))
        keys = (self._key(network, row, t) for t in range(1, max(times) + 1))
        return [Figure(**self.known[key]) for key in keys if key in self.known]

    def _key(self, network: Network, row: Row, t: int) -> str:
        return json.dumps([network.name, self.limit, row.options, row.delay, t])


def measure(
    network: Network, row: Row, times: Sequence[int], limit: int | None, threads: int | None
) -> list[Figure]:
    """Of one conversion at each T; where it is fitted to a single T, at that alone."""
    delay = {} if row.delay == "half" else {"delay": row.delay}
    options = row.options | delay | {"timesteps": times[-1], "threads": threads}
    made = onnx2snn.convert(network.ann, network.calibration, **options)
    found = onnx2snn.evaluate(
        network.ann,
        made.model,
        network.test,
        timesteps=times,
        delay=row.delay,
        metric=network.metric,
        limit=limit,
        threads=threads,
        every_step=False if row.fitted else None,
    )
    ann, energy = found["ann"][network.metric], found["energy"]
    return [
        Figure(
            ann,
            energy["ann"]["flops"],
            step["timesteps"],
            score_of(step, network.metric),
            step["sops"],
            step["flops"],
        )
        for step in energy["steps"]
    ]


def accuracy_rows(
    found: dict[tuple[Network, str], list[Figure]], metric: str, times: Sequence[int]
) -> list[str]:
    """A task's rows: the network, its cost, the method, the ANN's score, the SNN's at each T."""
    rows = []
    for (network, method), figures in found.items():
        if network.metric == metric:
            by_time = {figure.timesteps: f"{100 * figure.score:.2f}" for figure in figures}
            flops, ann = figures[0].flops / 1e6, 100 * figures[0].ann
            first = f"| {network.name} | {flops:.1f} M | {method} | {ann:.2f} |"
            rows.append(f"{first} {' | '.join(by_time.get(t, '') for t in times)} |")
    return rows


def accuracy_table(
    title: str, metrics: Sequence[str], found: dict[tuple[Network, str], list[Figure]], times: Any
) -> str:
    """The paper's Table 1 or 2: scores in % against T."""
    lines = [
        f"### {title}",
        "",
        f"| architecture | FLOPs | method | ANN |{''.join(f' T={t} |' for t in times)}",
    ]
    lines.append(f"| --- | --- | --- | --- |{' --- |' * len(times)}")
    for metric in metrics:
        if rows := accuracy_rows(found, metric, times):
            lines += [f"| **{TASKS[metric]}** | | | |{' |' * len(times)}", *rows]
    return "\n".join([*lines, ""])


def energy_table(found: dict[tuple[Network, str], list[Figure]]) -> str:
    """The paper's energy table.

    SOPs at the smallest T scored that keeps 90 and 95 % of the ANN's score.
    """
    head = (
        "| architecture | method | FLOPs | SOPs90 | SOPs95 | ANN frames/J | SNN90 frames/J | ratio "
        "| with analog work |"
    )
    lines = ["### Energy (the paper's table in appendix F)", "", head, f"|{' --- |' * 9}"]
    prices = Prices()
    for (network, method), figures in found.items():
        flops, ann = figures[0].flops, figures[0].ann
        kept = [
            next((f for f in figures if f.score >= share / 100 * ann), None) for share in SHARES
        ]
        sops = ["never" if f is None else f"{f.sops / 1e6:.1f} M (T={f.timesteps})" for f in kept]
        frames = prices.ann(flops)["frames_per_joule"]
        told = "- | - | -"
        if kept[0] is not None:
            costs = prices.snn(kept[0].sops, kept[0].analog, flops)
            told = (
                f"{costs['frames_per_joule']:,.0f} | {costs['ratio']:.1f} "
                f"| {costs['ratio_with_analog']:.1f}"
            )
        lines.append(
            f"| {network.name} | {method} | {flops / 1e6:.1f} M | {sops[0]} | {sops[1]} | "
            f"{frames:,.0f} | {told} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Print the tables."""
    warnings.simplefilter(
        "ignore", UserWarning
    )  # low agreement is what some rows are there to show
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", help="networks to leave in")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--timesteps", default=",".join(map(str, TIMES)))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--only-cached", action="store_true")
    for name in ("model", "calibration", "test"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    extra = (given.model, given.calibration, given.test)
    if any(extra) and not all(extra):
        parser.error("--model, --calibration and --test belong together")
    networks = NETWORKS + ([Network(*extra, "top1")] if given.model else [])
    if unknown := set(given.only or ()) - {network.name for network in networks}:
        parser.error(
            f"no network {', '.join(sorted(unknown))}; choose from "
            f"{', '.join(n.name for n in networks)}"
        )
    methods = dict(METHODS)
    if given.batch_size is not None:
        methods["paper"] = Row({"batch_size": given.batch_size})
    times = sorted(int(t) for t in given.timesteps.split(","))
    bench = Bench(given.limit, given.threads, given.cache, given.only_cached)
    found = {
        (network, method): figures
        for network in networks
        if given.only is None or network.name in given.only
        for method in given.methods
        if (figures := bench.figures(network, methods[method], times))
    }
    for title, metrics in (
        ("Image classification (the paper's Table 1)", ["top1"]),
        ("Semantic segmentation and object detection (the paper's Table 2)", ["miou", "map"]),
    ):
        if any(network.metric in metrics for network, _ in found):
            print(accuracy_table(title, metrics, found, times), flush=True)
    print(energy_table(found))


if __name__ == "__main__":
    main()
