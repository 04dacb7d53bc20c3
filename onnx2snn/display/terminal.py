"""What a person sees while a command works and when it is done; all of it goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from onnx2snn.aliases import Progress, silent_progress
from onnx2snn.pipeline.report import Report


def _console() -> Console:
    return Console(
        stderr=True, highlight=False, markup=False, emoji=False
    )  # names may hold brackets and colons


def show(parts: Sequence[RenderableType]) -> None:
    """Print tables and lines."""
    console = _console()
    for part in parts:
        console.print(part)


def warn(texts: Sequence[str]) -> None:
    """Print warnings, a line each."""
    for text in texts:
        print(f"warning: {text}", file=sys.stderr)  # noqa: T201


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A bar per kind of work, with an estimate of its total time; it appears with the first report."""
    if quiet:
        yield silent_progress
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("of about {task.fields[estimate]}"),
    )
    bars = Bars(*columns, console=_console())
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if not tasks:
            bars.start()
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total, estimate="?")
        task = bars.tasks[bars.task_ids.index(tasks[what])]
        seconds = (task.elapsed or 0.0) * total / done if done else 0.0
        bars.update(tasks[what], completed=done, estimate=f"{seconds:.0f} s")

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


def score_tables(result: Mapping[str, Any]) -> list[RenderableType]:
    """What `evaluate` found: scores, and what they cost."""
    return [_scores(result), *([_energy(result)] if "energy" in result else [])]


def _scores(result: Mapping[str, Any]) -> RenderableType:
    name, ann = next(iter(result["ann"].items()))
    partial = " (interrupted)" if result["partial"] else ""
    table = Table(title=f"{name} on {result['samples']} samples{partial}", title_justify="left")
    for heading in ("", "time-steps", "delay", name, "difference", "95 % interval"):
        table.add_column(heading, justify="right")
    table.add_row("ANN", "", "", figure(name, ann))
    for row in result["snn"]:
        table.add_row(
            "SNN",
            str(row["timesteps"]),
            str(row["delay"]),
            figure(name, row[name]),
            *difference(name, row),
        )
    return table


def figure(metric: str, value: float) -> str:
    """A score as people read it."""
    return f"{value:.4g}" if metric == "mse" else f"{value:.2%}"


def difference(metric: str, row: dict[str, Any]) -> tuple[str, str]:
    """How far a row is from the ANN, in percentage points (mse: percent more), and how sure that is."""
    sign = 1.0 if metric == "mse" else -1.0
    bounds = sorted(100.0 * sign * bound for bound in row["drop_95"] or ())
    return f"{100.0 * sign * row['drop']:+.2f}", " to ".join(
        f"{bound:+.2f}" for bound in bounds
    ) or "-"


def _energy(result: Mapping[str, Any]) -> RenderableType:
    energy = result["energy"]
    prices = f"{energy['sop_joules'] * 1e15:g} fJ a SOP, {energy['flop_joules'] * 1e12:g} pJ a FLOP"
    title = f"energy a sample ({prices})"
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for heading in ("", "T", "rate", "SOPs", "energy", "per joule", "x ANN", "FLOPs", "x ANN, all"):
        table.add_column(heading, justify="right", no_wrap=True)
    ann = energy["ann"]
    table.add_row(
        "ANN",
        "",
        "",
        "",
        quantity(ann["energy_j"], "J"),
        quantity(ann["frames_per_joule"]),
        "",
        "",
        "",
    )
    rows = [("SNN", row) for row in result["snn"]]
    rows += [(f"SOPs{share}", energy[f"sops{share}"]) for share in (90, 95)]
    for label, row in rows:
        table.add_row(*((label, *energy_cells(row)) if row else (label, "-")))
    return table


def energy_cells(row: dict[str, Any]) -> list[str]:
    """A row's costs: T, rate, SOPs, their energy, frames a joule, ratio to the ANN; FLOPs beside them, and the ratio
    with those.
    """
    return [
        str(row["timesteps"]),
        f"{row['rate']:.1%}",
        quantity(row["sops"]),
        quantity(row["energy_j"], "J"),
        quantity(row["frames_per_joule"]),
        times(row["ratio"]),
        quantity(row["flops"]),
        times(row["ratio_with_analog"]),
    ]


def times(value: float | None) -> str:
    """A ratio with three digits."""
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def quantity(value: float | None, unit: str = "") -> str:
    """A number with three digits and a prefix, such as 12.3 M or 943 nJ."""
    if value is None:
        return "-"
    if value == 0:
        return f"0 {unit}".strip()
    power = min(max(int(np.floor(np.log10(abs(value)) / 3)), -5), 5)
    prefix = "fpnµm kMGTP"[power + 5].strip()
    return f"{value / 1000.0**power:.3g} {prefix}{unit}".strip()


def inspection(about: dict[str, Any]) -> list[RenderableType]:
    """What `inspect` found."""
    table = Table(title=about["model"], title_justify="left")
    if about["kind"] == "snn":
        metadata = about["metadata"]
        for heading in ("site", "kind", "source", "channels", "shape"):
            table.add_column(heading, overflow="fold")
        for neuron in metadata["neurons"]:
            table.add_row(
                *(str(neuron[key]) for key in ("name", "kind", "source", "channels", "shape"))
            )
        kept = ("tool", "timesteps", "delay", "delay_auto", "calibrated", "source_sha256")
        summary = "spiking model: " + ", ".join(f"{key} {metadata[key]}" for key in kept)
        summary += f", analog nodes: {', '.join(metadata['analog']) or 'none'}"
    elif about["kind"] == "rollout":
        summary = "rollout of a spiking model: " + ", ".join(
            f"{key} {value}" for key, value in about["metadata"].items()
        )
    else:
        for heading in ("node", "operator", "becomes", "because"):
            table.add_column(heading, overflow="fold")
        for row in about["nodes"]:
            table.add_row(row["node"], row["op"], row["role"], row["reason"])
        counts = ", ".join(f"{count} {role}" for role, count in about["summary"].items())
        summary = (
            f"convertible: {counts}"
            if about["convertible"]
            else f"not convertible: {about['reason']}"
        )
    ends = f"inputs {', '.join(about['inputs'])}; outputs {', '.join(about['outputs'])}"
    return [table, ends, summary]


def tables(report: Report) -> list[RenderableType]:
    """The report as rich tables, worst site first."""
    return [_operators(report), _sites(report), _facts(report)]


def _operators(report: Report) -> RenderableType:
    table = Table(title="nodes per operator", title_justify="left")
    table.add_column("operator")
    for name in ("ANN", "SNN"):
        table.add_column(name, justify="right")
    for row in report.operators:
        table.add_row(row["op"], str(row["ann"] or "-"), str(row["snn"] or "-"))
    return table


def _sites(report: Report) -> RenderableType:
    table = Table(
        title=f"neuron sites, largest rate error first (relative to the ANN at T = {report.timesteps})",
        title_justify="left",
        box=SIMPLE_HEAD,  # rules between so many columns would leave 80 characters too narrow
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("site", overflow="fold", min_width=10)
    for name in ("neurons", "θ min/median/max", "rate", "error", "own", "inherited"):
        table.add_column(name, justify="right", no_wrap=True)
    for site in sorted(report.sites, key=lambda s: -s["error"]["total"]):
        theta, error = site["threshold"], site["error"]
        table.add_row(
            site["name"],
            "?" if site["neurons"] is None else f"{site['neurons']:,}",
            "/".join(f"{theta[key]:.3g}" for key in ("min", "median", "max")),
            f"{site['rate']:.1%}",
            *(f"{error[key]:.1%}" for key in ("total", "own", "inherited")),
        )
    return table


def _facts(report: Report) -> RenderableType:
    table = Table(title="conversion", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    held = "held-back" if report.agreement["held_back"] else "fitted-on"
    kind = "random inputs" if report.agreement["random"] else f"{held} calibration samples"
    table.add_row(
        "agreement with ANN",
        f"{report.agreement['value']:.2%} at T = {report.timesteps}, delay {report.delay}, "
        f"on {report.agreement['samples']} {kind}",
    )
    table.add_row(
        "method", ", ".join(f"{key} {value}" for key, value in sorted(report.settings.items()))
    )
    table.add_row(
        "thresholds folded into", f"{len(report.folded)} nodes: {', '.join(report.folded)}"
    )
    table.add_row(
        "left as Mul",
        "\n".join(
            f"{k['channels']} channels before {k['before']}: {k['reason']}" for k in report.kept
        )
        or "none",
    )
    table.add_row("pools moved before neurons", ", ".join(report.moved_pools) or "none")
    table.add_row("telescoped, not spiking", ", ".join(report.analog) or "none")
    table.add_row(
        "silent channels",
        "\n".join(
            f"{s['name']}: {len(s['silent'])} of {s['channels']}"
            for s in report.sites
            if s["silent"]
        )
        or "none",
    )
    table.add_row("encoder hands over", ", ".join(report.parts["encoder"]))
    table.add_row("readout takes", ", ".join(report.parts["readout"]))
    table.add_row("automatic delay", f"{report.delay_auto} steps")
    table.add_row(
        "seconds", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items())
    )
    if report.cost is not None:
        table.add_row("cost", _cost(report.cost))
    table.add_row(
        "file sizes", f"ANN {report.model['bytes']:,} bytes, SNN {report.snn['bytes']:,} bytes"
    )
    return table


def _cost(cost: dict[str, Any]) -> str:
    """What calibrating and correcting took, in passes of the ANN over the calibration data."""
    passes, balancing = cost["passes"], cost["balancing"]
    said = f"calibrating {passes['calibrate']:.1f} and correcting {passes['correct']:.1f} passes of the ANN over its data"
    return (
        said
        if balancing is None
        else f"{said}; balancing {balancing:.2f} times plain inference on the same images"
    )
