"""What `speed.py` has measured, as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from variants import ANN, SPIKINGJELLY

Found = Mapping[str, Any]

COLUMNS = (
    "stepped",
    "batched",
    "auto",
    "auto, float16",
    "rollout",
    f"{SPIKINGJELLY}single-step",
    f"{SPIKINGJELLY}multi-step",
)
MB = 1e6


def tables(found: Found) -> dict[str, list[str]]:
    """The lines of one table for each kind of figure that there is, by kind."""
    kinds = {
        "time": time_table,
        "gpu": time_table,
        "memory": memory_table,
        "startup": startup_table,
        "cost": cost_table,
    }
    return {kind: [*table(found[kind]), ""] for kind, table in kinds.items() if kind in found}


def time_table(cells: Found) -> list[str]:
    """A row for each network, batch and T.

    The ANN in ms a sample, all else as time a step over the ANN's time.

    The last column is the better of SpikingJelly's step modes over `auto`. Behind a median: 10th to
    90th percentile.
    """
    names = [n for n in COLUMNS if any(n in cell["figures"] for cell in cells.values())]
    head = [
        "network",
        "batch",
        "T",
        "ANN, ms a sample",
        *names,
        "SpikingJelly / auto",
        "other programs, cores",
    ]
    rows = []
    for key, cell in sorted(cells.items(), key=lambda item: _place(item[0])):
        figures = cell["figures"]
        way, ann = fastest_ann(figures)
        ratios = [_spread(figures.get(name), ann["median"], 2) for name in names]
        others = "" if cell["others"] is None else f"{cell['others']:.2f}"
        rows.append(
            [
                *key.split("|"),
                f"{_spread(ann, 1e-3, 3)}, {way}",
                *ratios,
                _times(advantage(figures)),
                others,
            ]
        )
    return _table(head, rows)


def _place(key: str) -> tuple[str, int, int]:
    name, batch, timesteps = key.split("|")
    return name, int(batch), int(timesteps)


def fastest_ann(figures: Found) -> tuple[str, Found]:
    """The ANN's best way to take the batch: its name, and its figure."""
    ways = {
        name.removeprefix(ANN): figure for name, figure in figures.items() if name.startswith(ANN)
    }
    best = min(ways, key=lambda name: float(ways[name]["median"]))
    return best, ways[best]


def advantage(figures: Found) -> float | None:
    """Time a step of SpikingJelly's better mode over ours; None where either is missing."""
    theirs = [figure["median"] for name, figure in figures.items() if name.startswith(SPIKINGJELLY)]
    return min(theirs) / figures["auto"]["median"] if theirs and "auto" in figures else None


def memory_table(networks: Found) -> list[str]:
    """MB above the ANN's own peak at batch 1, by variant and T."""
    steps = sorted(
        {int(t) for n in networks.values() for peaks in n["peaks"].values() for t in peaks}
    )
    variants = list(dict.fromkeys(v for n in networks.values() for v in n["peaks"]))
    head = ["network", "ANN, MB", "states, MB", *(f"{v}, T = {t}" for v in variants for t in steps)]
    rows = [
        [name, _mb(n["ann"]), _mb(n["states"])]
        + [
            _mb(n["peaks"][v][str(t)] - n["ann"], sign="+") if str(t) in n["peaks"][v] else ""
            for v in variants
            for t in steps
        ]
        for name, n in networks.items()
    ]
    return _table(head, rows)


def startup_table(seconds: Found) -> list[str]:
    """Seconds of whole commands."""
    labels = {"python": "`python -c pass`", "help": "`onnx2snn --help`"}
    rows = [
        [labels.get(n, f"`onnx2snn {n}.onnx -o OUT`, no data"), f"{s:.2f}"]
        for n, s in seconds.items()
    ]
    return _table(["command", "seconds"], rows)


def cost_table(networks: Found) -> list[str]:
    """Passes of plain ANN inference over the calibration data.

    Balancing over plain inference on the same images.
    """
    head = [
        "network",
        "preset",
        "T",
        "calibrating, passes",
        "correcting, passes",
        "balancing / inference",
        "seconds in all",
    ]
    rows = [
        [
            name,
            preset,
            str(c["timesteps"]),
            f"{c['passes']['calibrate']:.1f}",
            f"{c['passes']['correct']:.1f}",
            _times(c["balancing"]),
            f"{c['seconds']:.0f}",
        ]
        for name, presets in networks.items()
        for preset, c in presets.items()
    ]
    return _table(head, rows)


def _spread(figure: Found | None, unit: float, digits: int) -> str:
    if figure is None:
        return ""
    median, low, high = (f"{figure[key] / unit:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _mb(size: float, sign: str = "") -> str:
    return f"{size / MB:{sign}.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
