"""Tables of a conversion's report: operators, sites, and the facts around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table

from onnx2snn.display.cost_tables import wide_table
from onnx2snn.display.drives import report_lines
from onnx2snn.display.numbers import error_cells, operator_cells, samples_kind, work_sentence
from onnx2snn.display.tables import facts_line, written_out

if TYPE_CHECKING:
    from onnx2snn.pipeline.report import Report, SiteEntry

REPORT_LINES = 79
"""Lines that a report has at most, however large the network is; the JSON has everything."""


def report_tables(report: Report, most: int | None = None) -> list[RenderableType]:
    """Return the report of a conversion: operators, sites with the worst first, and facts.

    Args:
        report: The report.
        most: Rows of a table and names of a list that are shown (None: all); the last line says
            how many more there are.
    """
    values = {row.name: getattr(report, row.name) for row in fields(report)}
    report = replace(report, **written_out(values))
    return [
        _operator_table(report, most),
        _site_table(report, most),
        _fact_table(report, most),
    ]


def _add_some(table: Table, rows: Sequence[Sequence[str]], most: int | None) -> None:
    """Add rows to a table, at most so many, and a row that tells how many are left out."""
    shown = rows[:most]
    for row in shown:
        table.add_row(*row)
    left = len(rows) - len(shown)
    if left:
        table.add_row(f"{left} more in --report")


def _operator_table(report: Report, most: int | None) -> RenderableType:
    table = Table(title="nodes per operator", title_justify="left")
    table.add_column("operator")
    for name in ("ANN", "SNN"):
        table.add_column(name, justify="right")
    _add_some(table, [operator_cells(row) for row in report.operators], most)
    return table


def _site_table(report: Report, most: int | None) -> RenderableType:
    relative = f"relative to the ANN at T = {report.timesteps}"
    compared, threshold = "rate error", "θ"
    if report.coding == "differential":
        compared, threshold = "error", "λ"
    table = wide_table(f"neuron sites, largest {compared} first ({relative})")
    table.add_column("site", overflow="fold", min_width=10)
    headings = ("neurons", f"{threshold} min/median/max", "rate", "error", "own", "inherited")
    for name in headings:
        table.add_column(name, justify="right", no_wrap=True)
    worst_first = sorted(report.sites, key=lambda site: -site["error"]["total"])
    _add_some(table, [_site_cells(site) for site in worst_first], most)
    return table


def _site_cells(site: SiteEntry) -> list[str]:
    neurons = "?"
    if site["neurons"] is not None:
        neurons = f"{site['neurons']:,}"
    theta = site["threshold"]
    thresholds = f"{theta['min']:.3g}/{theta['median']:.3g}/{theta['max']:.3g}"
    rate = f"{site['rate']:.1%}"
    return [site["name"], neurons, thresholds, rate, *error_cells(site["error"])]


def _fact_table(report: Report, most: int | None) -> RenderableType:
    table = Table(title="conversion", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    settings = sorted(report.settings)
    folded = _listed_names(report.folded, most)
    table.add_row("agreement with ANN", _agreement(report))
    table.add_row("coding", report.coding)
    drives = report_lines(report)
    if drives:
        table.add_row("weighted operators", _listed(drives, most and most + 1, "\n"))
    if report.weighted is not None:
        table.add_row("fed by spikes", work_sentence(report.weighted))
    table.add_row("method", facts_line(report.settings, settings))
    scales = "λ" if report.coding == "differential" else "thresholds"
    table.add_row(f"{scales} folded into", f"{len(report.folded)} nodes: {folded}")
    table.add_row("left as Mul", _kept_scales(report, most))
    if not report.estimates:
        table.add_row("pools moved before neurons", _listed_names(report.moved_pools, most, "none"))
        table.add_row("telescoped, not spiking", _listed_names(report.analog, most, "none"))
    table.add_row("silent channels", _silent_channels(report, most))
    table.add_row("encoder hands over", _listed_names(report.parts["encoder"], most))
    table.add_row("readout takes", _listed_names(report.parts["readout"], most))
    if not report.estimates:
        table.add_row("automatic delay", f"{report.delay_auto} steps")
    table.add_row("seconds", _seconds(report))
    if report.cost is not None:
        table.add_row("cost", _cost(report.cost, report.corrected_on))
    ann_bytes, snn_bytes = report.model["bytes"], report.snn["bytes"]
    table.add_row("file sizes", f"ANN {ann_bytes:,} bytes, SNN {snn_bytes:,} bytes")
    return table


def _listed_names(names: Sequence[str], most: int | None, otherwise: str = "") -> str:
    return _listed(names, most, ", ") or otherwise


def _listed(items: Sequence[str], most: int | None, between: str) -> str:
    """Join items, at most so many, with the number of those that are left out behind them."""
    shown = list(items[:most])
    left = len(items) - len(shown)
    if left:
        shown.append(f"{left} more in --report")
    return between.join(shown)


def _agreement(report: Report) -> str:
    agreement = report.agreement
    kind = samples_kind(agreement)
    window = f"T = {report.timesteps}"
    if not report.estimates:
        window += f", delay {report.delay}"
    first = f"{agreement['value']:.2%} at {window}, on {agreement['samples']} {kind}"
    scored = f"output '{agreement['output']}': {agreement['scored']}"
    error = agreement.get("relative_error")
    if error is not None:
        scored += f"; relative error {error:.2%}"
    return f"{first}{_interval(agreement.get('interval'))}\n{scored}"


def _interval(interval: Sequence[float] | None) -> str:
    if interval is None:
        return ""
    low, high = interval
    return f" (95 % interval {low:.1%} to {high:.1%})"


def _kept_scales(report: Report, most: int | None) -> str:
    lines = [_kept_scale(kept) for kept in report.kept]
    return _listed(lines, most, "\n") or "none"


def _kept_scale(kept: Mapping[str, Any]) -> str:
    return f"{kept['channels']} channels before {kept['before']}: {kept['reason']}"


def _silent_channels(report: Report, most: int | None) -> str:
    lines = [_silent_site(site) for site in report.sites if site["silent"]]
    return _listed(lines, most, "\n") or "none"


def _silent_site(site: SiteEntry) -> str:
    return f"{site['name']}: {len(site['silent'])} of {site['channels']}"


def _seconds(report: Report) -> str:
    return ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items())


def _cost(cost: Mapping[str, Any], corrected_on: int | None) -> str:
    """Return the cost of calibrating and correcting, in passes of the ANN over the data."""
    passes = cost["passes"]
    text = f"calibrating {passes['calibrate']:.1f}"
    if "correct" in passes:
        text += f" and correcting {passes['correct']:.1f}"
    text += " passes of the ANN over its data"
    if corrected_on is not None:
        text += f" (corrected on {corrected_on} samples)"
    balancing = cost["balancing"]
    if balancing is None:
        return text
    return f"{text}; balancing {balancing:.2f} times plain inference on the same images"
