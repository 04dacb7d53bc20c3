"""The sections of a page about an evaluation: scores and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnx2snn.display.axes import Chart
from onnx2snn.display.charts import Plane, Series, line_chart
from onnx2snn.display.layout import PageTable, Section
from onnx2snn.display.numbers import (
    CONSTANTS,
    difference_unit,
    energy_cells,
    formatted_prices,
    formatted_score,
    quantity,
    score_cells,
    spike_cells,
    work_sentence,
)

if TYPE_CHECKING:
    from onnx2snn.score.results import CostedRow, EnergyResult, EvaluationResult, EvaluationRow

ENERGY_HEADINGS = (
    "",
    "T",
    "firing rate",
    "energy",
    "frames a joule",
    "times less than the ANN",
    "SOPs",
    "FLOPs beside",
    "times less, spikes only",
)
SPIKE_HEADINGS = (
    "",
    "T",
    "spikes",
    "summed heights",
    "payload, bits",
    "times less, paper",
    "SOPs only",
    "times less, Horowitz",
    "SOPs only",
)
ENERGY_NOTE = (
    "SOPs90, 95 and 99 are those of the first T that keeps that percentage of the ANN's score. "
    "Energy counts SOPs and FLOPs; the last column leaves the FLOPs out. "
    "FLOPs beside the SOPs are the encoder's, once, and whatever does not spike at each time-step."
)


NOT_REACHED = ("not reached", *[""] * 7)
"""Cells of a share of the accuracy that no T keeps."""


# --- scores ---


def score_section(result: EvaluationResult, warnings: Sequence[str]) -> Section:
    """Return the scores of an evaluation, and all warnings."""
    return Section(
        "Result",
        warnings=warnings,
        cards=_cards(result),
        charts=[_score_chart(result)],
        beside=_comparison_table(result),
    )


def _ann_score(result: EvaluationResult) -> tuple[str, float]:
    """Return the metric and the ANN's score."""
    ((metric, score),) = result["ann"].items()
    return metric, score


def _by_timesteps(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    return sorted(rows, key=lambda row: row["timesteps"])


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """Return one value of every row."""
    return [row[key] for row in rows]


def _cards(result: EvaluationResult) -> list[tuple[str, str]]:
    metric, ann = _ann_score(result)
    last = _by_timesteps(result["snn"])[-1]
    after = f"at T = {last['timesteps']}"
    _, _, snn_score, change, interval = score_cells(metric, last)
    difference = f"{change} {difference_unit(metric)}"
    meaning = "difference"
    if last["drop_95"]:
        meaning = f"difference (95 % interval {interval})"
    cards = [
        (formatted_score(metric, ann), f"{metric}, ANN"),
        (snn_score, f"{metric}, SNN {after}"),
        (difference, meaning),
    ]
    if "sops" in last:
        sops = quantity(last["sops"])
        cards.append((sops, f"synaptic operations {after}"))
        ratio = last["ratio_with_analog"]
        if ratio:
            cards.append(_saving_card(ratio))
    return cards


def _saving_card(ratio: float) -> tuple[str, str]:
    """Return how many times less energy an SNN needs than its ANN, or how many times more."""
    if ratio >= 1:
        return f"{ratio:.3g} x", "less energy than the ANN, all counted"
    return f"{1 / ratio:.3g} x", "more energy than the ANN, all counted"


def _comparison_table(result: EvaluationResult) -> PageTable:
    metric, ann = _ann_score(result)
    caption = f"{metric} after T time-steps, difference in {difference_unit(metric)}"
    headings = ("", "T", "delay", metric, "difference", "95 % interval")
    rows: list[Sequence[str]] = []
    rows.append(("ANN", "", "", formatted_score(metric, ann), "", ""))
    rows += [("SNN", *score_cells(metric, row)) for row in result["snn"]]
    return PageTable(caption, headings, rows)


def _score_chart(result: EvaluationResult) -> Chart:
    metric, ann = _ann_score(result)
    rows = _by_timesteps(result["snn"])
    every: Sequence[Mapping[str, Any]] = rows
    if "energy" in result:
        every = result["energy"]["steps"]
    course = Series("", _column(every, "timesteps"), _column(every, metric), colour=0)
    title = f"{metric} against the number of time-steps"
    if len(every) > len(rows):
        title += " (line: at every T)"
    plane = Plane("time-steps T", metric, log_base=2, percent=metric != "mse")
    series = [course, _asked_series(metric, ann, rows)]
    return line_chart("accuracy", title, series, plane, reference=("ANN", ann))


def _asked_series(metric: str, ann: float, rows: Sequence[EvaluationRow]) -> Series:
    """Return the scores at the T asked for, with their intervals."""
    scores = _column(rows, metric)
    spread = [_score_interval(metric, ann, row) for row in rows]
    name = "SNN"
    if any(spread):
        name = "SNN, 95 % interval"
    labels = []
    for row, score in zip(rows, scores, strict=True):
        shown = formatted_score(metric, score)
        labels.append(f"T = {row['timesteps']}: {shown}")
    return Series(
        name,
        _column(rows, "timesteps"),
        scores,
        colour=0,
        marks=True,
        line=False,
        spread=spread,
        labels=labels,
    )


def _score_interval(metric: str, ann: float, row: EvaluationRow) -> tuple[float, float] | None:
    """Return the 95 % interval of a score."""
    if metric == "mse" or not row["drop_95"]:
        return None
    # score = ANN's score - drop, so the largest drop gives the lowest score
    low, high = row["drop_95"]
    return ann - high, ann - low


# --- energy ---


def energy_section(result: EvaluationResult, energy: EnergyResult) -> Section:
    """Return the costs of a sample for ANN and SNN."""
    charts = []
    if any(row["energy_j"] for row in energy["steps"]):
        charts.append(_energy_chart(result, energy))
    caption = f"a sample's costs ({formatted_prices(energy)})"
    table = PageTable(caption, ENERGY_HEADINGS, _energy_rows(result, energy))
    note = ENERGY_NOTE
    if "weighted" in energy:
        note = f"{work_sentence(energy['weighted'])}. {note}"
    spikes = PageTable(
        f"a sample's spikes ({CONSTANTS})", SPIKE_HEADINGS, _spike_rows(result, energy)
    )
    details = [("Spikes, and energy at both pairs of constants", spikes)]
    return Section("Energy", charts=charts, table=table, note=note, details=details)


def _energy_chart(result: EvaluationResult, energy: EnergyResult) -> Chart:
    """Draw scores against joules."""
    metric, ann = _ann_score(result)
    # a logarithmic axis has no place for T at which no spike was sent
    every = [row for row in energy["steps"] if row["energy_j"]]
    asked = [row for row in _by_timesteps(result["snn"]) if row["energy_j"]]
    scores = _column(every, metric)
    spikes = _column(every, "energy_j")
    # the energy of a step's FLOPs is their number times the joules of one
    flops = _column(every, "flops")
    whole = [
        joules + count * energy["flop_joules"] for joules, count in zip(spikes, flops, strict=True)
    ]
    courses = [Series("", whole, scores, colour=2), Series("", spikes, scores, colour=0)]
    series = [*courses, *_asked_costs(metric, asked)]
    joules = energy["ann"]["energy_j"]
    if joules > 0:
        series.append(Series("ANN", [joules], [ann], colour=1, marks=True, labels=["ANN"]))
    title = f"{metric} against energy a sample"
    plane = Plane("energy a sample", metric, log_base=10, x_unit="J", percent=metric != "mse")
    return line_chart("energy", title, series, plane)


def _asked_costs(metric: str, rows: Sequence[EvaluationRow]) -> list[Series]:
    """Return the scores at the T asked for, by the whole energy and by that of the spikes."""
    if not rows:
        return []
    scores = _column(rows, metric)
    labels = [f"T = {row['timesteps']}" for row in rows]
    spiking = [row["energy_j"] for row in rows]
    whole = [row["energy_j"] + row["analog_j"] for row in rows]
    return [
        _marks("SNN, everything counted", whole, scores, 2, labels),
        _marks("SNN, spikes only", spiking, scores, 0, labels),
    ]


def _marks(
    name: str, x: Sequence[float], y: Sequence[float], colour: int, labels: Sequence[str]
) -> Series:
    """Return points that no line joins."""
    return Series(name, x, y, colour=colour, marks=True, line=False, labels=labels)


def _energy_rows(result: EvaluationResult, energy: EnergyResult) -> list[Sequence[str]]:
    ann = energy["ann"]
    joules = quantity(ann["energy_j"], "J")
    frames = quantity(ann["frames_per_joule"])
    rows: list[Sequence[str]] = []
    rows.append(("ANN", "", "", joules, frames, "", "", "", ""))
    rows += [("SNN", *energy_cells(row)) for row in _by_timesteps(result["snn"])]
    for name, reached in _shares(energy):
        cells = energy_cells(reached) if reached else NOT_REACHED
        rows.append((name, *cells))
    return rows


def _spike_rows(result: EvaluationResult, energy: EnergyResult) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    rows += [("SNN", *spike_cells(row)) for row in _by_timesteps(result["snn"])]
    for name, reached in _shares(energy):
        cells = spike_cells(reached) if reached else NOT_REACHED
        rows.append((name, *cells))
    return rows


def _shares(energy: EnergyResult) -> list[tuple[str, CostedRow | None]]:
    """Return the first T that keep a share of the ANN's score, each with its name."""
    return [
        ("SOPs90", energy["sops90"]),
        ("SOPs95", energy["sops95"]),
        ("SOPs99", energy["sops99"]),
    ]
