"""The sections of a page about an evaluation: scores and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx2snn.display.axes import Chart
from onnx2snn.display.charts import Plane, Series, line_chart
from onnx2snn.display.layout import PageTable, Section
from onnx2snn.display.numbers import (
    difference_unit,
    energy_cells,
    formatted_difference,
    formatted_prices,
    formatted_score,
    quantity,
)

ENERGY_HEADINGS = (
    "",
    "T",
    "firing rate",
    "SOPs",
    "energy of SOPs",
    "frames a joule",
    "times less than the ANN",
    "FLOPs beside",
    "times less with those",
)
ENERGY_NOTE = (
    "SOPs90 and SOPs95 are those of the first T that keeps 90 and 95 % of the ANN's score. "
    "FLOPs beside the SOPs are the encoder's, once, and whatever does not spike at each time-step."
)


# --- scores ---


def score_section(result: Mapping[str, Any], warnings: Sequence[str]) -> Section:
    """Return the scores of an evaluation, and all warnings."""
    return Section(
        "Result",
        warnings=warnings,
        cards=_cards(result),
        charts=[_score_chart(result)],
        beside=_score_table(result),
    )


def _ann_score(result: Mapping[str, Any]) -> tuple[str, float]:
    """Return the metric and the ANN's score."""
    metric, score = next(iter(result["ann"].items()))
    return metric, score


def _by_timesteps(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: row["timesteps"])


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    return [row[key] for row in rows]


def _cards(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    metric, ann = _ann_score(result)
    last = max(result["snn"], key=lambda row: row["timesteps"])
    after = f"at T = {last['timesteps']}"
    change, interval = formatted_difference(metric, last)
    meaning = "difference"
    if last["drop_95"]:
        meaning = f"difference (95 % interval {interval})"
    cards = [
        (formatted_score(metric, ann), f"{metric}, ANN"),
        (formatted_score(metric, last[metric]), f"{metric}, SNN {after}"),
        (f"{change} {difference_unit(metric)}", meaning),
    ]
    if "sops" in last:
        cards.append((quantity(last["sops"]), f"synaptic operations {after}"))
        ratio = last["ratio_with_analog"]
        if ratio:
            cards.append(_saving_card(ratio))
    return cards


def _saving_card(ratio: float) -> tuple[str, str]:
    """Return how many times less energy an SNN needs than its ANN, or how many times more."""
    if ratio >= 1:
        return f"{ratio:.3g} x", "less energy than the ANN, all counted"
    return f"{1 / ratio:.3g} x", "more energy than the ANN, all counted"


def _score_table(result: Mapping[str, Any]) -> PageTable:
    metric, ann = _ann_score(result)
    rows = [("ANN", "", "", formatted_score(metric, ann), "", "")]
    for row in result["snn"]:
        score = formatted_score(metric, row[metric])
        change, interval = formatted_difference(metric, row)
        rows.append(("SNN", str(row["timesteps"]), str(row["delay"]), score, change, interval))
    unit = difference_unit(metric)
    return PageTable(
        f"{metric} after T time-steps, difference in {unit}",
        ("", "T", "delay", metric, "difference", "95 % interval"),
        rows,
    )


def _score_chart(result: Mapping[str, Any]) -> Chart:
    metric, ann = _ann_score(result)
    rows = _by_timesteps(result["snn"])
    every = rows
    if "energy" in result:
        every = result["energy"]["steps"]
    spread = [_score_interval(metric, ann, row) for row in rows]
    name = "SNN"
    if any(spread):
        name = "SNN, 95 % interval"
    asked = Series(
        name,
        _column(rows, "timesteps"),
        _column(rows, metric),
        colour=0,
        marks=True,
        line=False,
        spread=spread,
        labels=[f"T = {row['timesteps']}: {formatted_score(metric, row[metric])}" for row in rows],
    )
    course = Series("", _column(every, "timesteps"), _column(every, metric), colour=0)
    title = f"{metric} against the number of time-steps"
    if len(every) > len(rows):
        title += " (line: at every T)"
    plane = Plane("time-steps T", metric, log_base=2, percent=metric != "mse")
    return line_chart("accuracy", title, [course, asked], plane, reference=("ANN", ann))


def _score_interval(metric: str, ann: float, row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the 95 % interval of a score."""
    if metric == "mse" or not row["drop_95"]:
        return None
    # score = ANN's score - drop, so the largest drop gives the lowest score
    low, high = row["drop_95"]
    return ann - high, ann - low


# --- energy ---


def energy_section(result: Mapping[str, Any]) -> Section:
    """Return the costs of a sample for ANN and SNN."""
    charts = []
    if any(row["energy_j"] for row in result["energy"]["steps"]):
        charts.append(_energy_chart(result))
    prices = formatted_prices(result["energy"])
    table = PageTable(f"a sample's costs ({prices})", ENERGY_HEADINGS, _energy_rows(result))
    return Section("Energy", charts=charts, table=table, note=ENERGY_NOTE)


def _energy_chart(result: Mapping[str, Any]) -> Chart:
    """Draw scores against joules, which a logarithmic axis shows where they are not zero."""
    metric, ann = _ann_score(result)
    energy = result["energy"]
    every = [row for row in energy["steps"] if row["energy_j"]]
    asked = [row for row in _by_timesteps(result["snn"]) if row["energy_j"]]
    scores = _column(asked, metric)
    labels = [f"T = {row['timesteps']}" for row in asked]
    spiking = _column(asked, "energy_j")
    whole = [row["energy_j"] + row["analog_j"] for row in asked]
    series = [
        Series("", _column(every, "energy_j"), _column(every, metric), colour=0),
        Series("SNN: SOPs", spiking, scores, colour=0, marks=True, line=False, labels=labels),
        Series("SOPs and FLOPs", whole, scores, colour=2, marks=True, labels=labels),
        Series("ANN", [energy["ann"]["energy_j"]], [ann], colour=1, marks=True, labels=["ANN"]),
    ]
    series = [one for one in series if one.x and min(one.x) > 0]
    plane = Plane("energy a sample", metric, log_base=10, x_unit="J", percent=metric != "mse")
    return line_chart("energy", f"{metric} against energy a sample", series, plane)


def _energy_rows(result: Mapping[str, Any]) -> list[Sequence[str]]:
    energy = result["energy"]
    joules = quantity(energy["ann"]["energy_j"], "J")
    frames = quantity(energy["ann"]["frames_per_joule"])
    rows: list[Sequence[str]] = [("ANN", "", "", "", joules, frames, "", "", "")]
    rows += [("SNN", *energy_cells(row)) for row in _by_timesteps(result["snn"])]
    for share in (90, 95):
        row = energy[f"sops{share}"]
        if row:
            rows.append((f"SOPs{share}", *energy_cells(row)))
        else:
            rows.append((f"SOPs{share}", "not reached", *[""] * 7))
    return rows
