"""The sections of a page about a spiking model: pictures, layers, spikes, graph and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from onnx2snn.display.axes import Chart
from onnx2snn.display.diagrams import flow_chart, raster_chart
from onnx2snn.display.layout import PageTable, Section
from onnx2snn.display.numbers import error_cells, operator_cells, quantity
from onnx2snn.display.page_data import Raster
from onnx2snn.display.pictures import PictureRows
from onnx2snn.display.row_charts import bar_chart, box_chart

if TYPE_CHECKING:
    from onnx2snn.pipeline.report import OperatorEntry, Report, SiteEntry
    from onnx2snn.score.results import EvaluationResult, LayerCost
    from onnx2snn.snn.format import Coding, Metadata, WeightedEntry

ModelFact = Literal[
    "timesteps",
    "delay",
    "delay_auto",
    "calibrated",
    "tool",
    "source_sha256",
    "octaves",
]
MODEL_FACTS: tuple[ModelFact, ...] = (
    "timesteps",
    "delay",
    "delay_auto",
    "calibrated",
    "tool",
    "source_sha256",
)
"""Metadata that stand below the settings."""
ESTIMATE_FACTS: tuple[ModelFact, ...] = ("timesteps", "calibrated", "tool", "source_sha256")
"""Those of files whose answer is an estimate, which have no delay."""


# --- pictures ---


def picture_section(pictures: PictureRows) -> Section:
    """Return the pictures of some samples."""
    return Section("Pictures", pictures=pictures)


# --- layers ---


def layer_section(
    result: EvaluationResult,
    thresholds: Sequence[tuple[str, Sequence[float]]],
    report: Report | None,
    coding: Coding,
) -> Section:
    """Return the firing rates and thresholds of all layers, and their errors after a conversion."""
    last = max(row["timesteps"] for row in result["snn"])
    charts = []
    details = []
    layers = _layers(result)
    if layers:
        charts.append(_rate_chart(layers, last))
        details.append(("Layers in figures", _layer_table(layers, last)))
    charts.append(_threshold_chart(thresholds, coding))
    if report is not None:
        details.append(("Errors by layer", _error_table(report.sites)))
    return Section("Layers", charts=charts, details=details)


def _layers(result: EvaluationResult) -> Sequence[LayerCost]:
    """Return the costs of all layers; none where energy was not asked for."""
    if "energy" not in result:
        return []
    return result["energy"]["layers"]


def _rate_chart(layers: Sequence[LayerCost], timesteps: int) -> Chart:
    rates = [(layer["site"], layer["rate"]) for layer in layers]
    title = f"Firing rate of each layer, T = {timesteps}"
    return bar_chart("rates", title, rates, "spikes a neuron and step")


def _threshold_chart(thresholds: Sequence[tuple[str, Sequence[float]]], coding: Coding) -> Chart:
    if coding == "differential":
        title = "Smallest spike λ of each layer: range, quartiles, median"
        return box_chart("thresholds", title, thresholds, "λ in the ANN's units")
    title = "Thresholds of each layer: range, quartiles, median"
    return box_chart("thresholds", title, thresholds, "threshold in the ANN's units")


def _layer_table(layers: Sequence[LayerCost], timesteps: int) -> PageTable:
    headings = ("layer", "neurons", "spikes", "firing rate", "SOPs")
    rows = [_layer_cells(layer) for layer in layers]
    return PageTable(f"a sample, T = {timesteps}", headings, rows)


def _layer_cells(layer: LayerCost) -> list[str]:
    return [
        layer["site"],
        f"{layer['neurons']:,}",
        f"{layer['spikes']:,.0f}",
        f"{layer['rate']:.2%}",
        quantity(layer["sops"]),
    ]


def _error_table(sites: Sequence[SiteEntry]) -> PageTable:
    rows = []
    for site in sites:
        silent = str(len(site["silent"]))
        cells = [site["name"], *error_cells(site["error"]), silent]
        rows.append(cells)
    headings = ("layer", "error", "of its own", "inherited", "silent channels")
    return PageTable("relative to the ANN's activations", headings, rows)


# --- spikes, graph and settings ---


def spike_section(raster: Raster, coding: Coding) -> Section:
    """Return the spikes of one layer for the first sample."""
    steps, shown = raster.spikes.shape
    neurons = f"{shown} neurons, none of which fired"
    if raster.fired:
        neurons = f"{shown} of the {raster.fired:,} neurons that fired"
    title = f"{raster.site}: the first sample, {neurons}"
    note = f"The layer has {raster.neurons:,} neurons."
    if (raster.spikes < 0).any():
        several = coding == "differential" or raster.spikes.min() < -1
        taken_back = "below 0" if several else "of -1"
        note += f" Thin strokes are spikes {taken_back}."
    note += " Another layer: --html-site NAME."
    charts = []
    if steps:
        charts.append(raster_chart("raster", title, raster.spikes))
    return Section("Spikes", charts=charts, note=note)


def graph_section(parts: Sequence[tuple[str, Sequence[str]]], report: Report | None) -> Section:
    """Return the parts of the network, and after a conversion its operators and kept scales."""
    chart = flow_chart("parts", "How an answer is computed", parts)
    details = []
    if report is not None:
        details.append(("Operators", _node_table(report.operators)))
        if report.kept:
            place = "in the graph" if report.estimates else "on shortcuts"
            details.append((f"Scales left {place}", _kept_scale_table(report.kept)))
        if report.driven:
            details.append(("Weighted operators", _drive_table(report.driven)))
    return Section("Graph", charts=[chart], details=details)


def _node_table(operators: Sequence[OperatorEntry]) -> PageTable:
    headings = ("operator", "ANN", "SNN")
    rows = [operator_cells(row) for row in operators]
    return PageTable("nodes by operator", headings, rows)


def _kept_scale_table(kept: Sequence[Mapping[str, Any]]) -> PageTable:
    headings = ("before", "channels", "because")
    rows = []
    for scale in kept:
        channels = str(scale["channels"])
        rows.append((scale["before"], channels, scale["reason"]))
    return PageTable("scales left in the graph", headings, rows, kind="words")


def _drive_table(driven: Sequence[WeightedEntry]) -> PageTable:
    headings = ("operator", "kind", "driven by", "because")
    drives = {"spiking": "spikes", "encoder": "the input, once", "analog": "numbers, each step"}
    rows = [(row["node"], row["op"], drives[row["drive"]], row["reason"]) for row in driven]
    return PageTable("what drives each weighted operator", headings, rows, kind="words")


def settings_section(metadata: Metadata) -> Section:
    """Return the settings of the conversion, and facts about the spiking model."""
    settings = metadata["settings"]
    rows = [(key, str(settings[key])) for key in sorted(settings)]
    facts = MODEL_FACTS
    if "weighted" in metadata:
        facts = ESTIMATE_FACTS
    if "octaves" in metadata:
        facts = ("octaves", *facts)
    # a setting may ask for other octaves than the layer with the most of them has
    rows += [("most octaves" if key == "octaves" else key, str(metadata[key])) for key in facts]
    headings = ("setting", "value")
    table = PageTable("settings of the conversion", headings, rows, kind="words")
    return Section("Settings", table=table)
