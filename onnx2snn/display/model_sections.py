"""The sections of a page about a spiking model: pictures, layers, spikes, graph and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx2snn.display.diagrams import flow_chart, raster_chart
from onnx2snn.display.layout import PageTable, Section
from onnx2snn.display.numbers import operator_cells, quantity
from onnx2snn.display.page_data import Raster
from onnx2snn.display.pictures import PictureRows
from onnx2snn.display.row_charts import bar_chart, box_chart

MODEL_FACTS = ("timesteps", "delay", "delay_auto", "calibrated", "tool", "source_sha256")
"""Metadata that stand below the settings."""


# --- pictures ---


def picture_section(pictures: PictureRows) -> Section:
    """Return the pictures of some samples."""
    return Section("Pictures", pictures=pictures)


# --- layers ---


def layer_section(
    result: Mapping[str, Any],
    thresholds: Sequence[tuple[str, Sequence[float]]],
    report: Mapping[str, Any],
) -> Section:
    """Return the firing rates and thresholds of all layers, and their errors after a conversion."""
    last = max(row["timesteps"] for row in result["snn"])
    charts = []
    details = []
    layers = []
    if "energy" in result:
        layers = result["energy"]["layers"]
    if layers:
        rates = [(layer["site"], layer["rate"]) for layer in layers]
        title = f"Firing rate of each layer, T = {last}"
        charts.append(bar_chart("rates", title, rates, "spikes a neuron and step"))
        details.append(("Layers in figures", _layer_table(layers, last)))
    title = "Thresholds of each layer: range, quartiles, median"
    charts.append(box_chart("thresholds", title, thresholds, "threshold in the ANN's units"))
    if report:
        details.append(("Errors by layer", _error_table(report["sites"])))
    return Section("Layers", charts=charts, details=details)


def _layer_table(layers: Sequence[Mapping[str, Any]], timesteps: int) -> PageTable:
    rows = []
    for layer in layers:
        counts = (f"{layer['neurons']:,}", f"{layer['spikes']:,.0f}", f"{layer['rate']:.2%}")
        rows.append((layer["site"], *counts, quantity(layer["sops"])))
    headings = ("layer", "neurons", "spikes", "firing rate", "SOPs")
    return PageTable(f"a sample, T = {timesteps}", headings, rows)


def _error_table(sites: Sequence[Mapping[str, Any]]) -> PageTable:
    rows = []
    for site in sites:
        errors = [f"{site['error'][key]:.1%}" for key in ("total", "own", "inherited")]
        rows.append((site["name"], *errors, str(len(site["silent"]))))
    headings = ("layer", "error", "of its own", "inherited", "silent channels")
    return PageTable("relative to the ANN's activations", headings, rows)


# --- spikes, graph and settings ---


def spike_section(raster: Raster) -> Section:
    """Return the spikes of one layer for the first sample."""
    steps, shown = raster.spikes.shape
    neurons = f"{shown} neurons, none of which fired"
    if raster.fired:
        neurons = f"{shown} of the {raster.fired:,} neurons that fired"
    title = f"{raster.site}: the first sample, {neurons}"
    note = f"The layer has {raster.neurons:,} neurons."
    if (raster.spikes < 0).any():
        note += " Thin strokes are spikes of -1."
    note += " Another layer: --html-site NAME."
    charts = []
    if steps:
        charts.append(raster_chart("raster", title, raster.spikes))
    return Section("Spikes", charts=charts, note=note)


def graph_section(parts: Sequence[tuple[str, Sequence[str]]], report: Mapping[str, Any]) -> Section:
    """Return the parts of the network, and after a conversion its operators and kept scales."""
    details = []
    if report:
        details.append(("Operators", _operator_table(report["operators"])))
        if report["kept"]:
            details.append(("Scales left on shortcuts", _kept_scale_table(report["kept"])))
    chart = flow_chart("parts", "How an answer is computed", parts)
    return Section("Graph", charts=[chart], details=details)


def _operator_table(operators: Sequence[Mapping[str, Any]]) -> PageTable:
    rows = [operator_cells(row) for row in operators]
    return PageTable("nodes by operator", ("operator", "ANN", "SNN"), rows)


def _kept_scale_table(kept: Sequence[Mapping[str, Any]]) -> PageTable:
    rows = [(scale["before"], str(scale["channels"]), scale["reason"]) for scale in kept]
    headings = ("before", "channels", "because")
    return PageTable("scales left in the graph", headings, rows, kind="words")


def settings_section(metadata: Mapping[str, Any]) -> Section:
    """Return the settings of the conversion, and facts about the spiking model."""
    rows = [(key, str(value)) for key, value in sorted(metadata["settings"].items())]
    rows += [(key, str(metadata[key])) for key in MODEL_FACTS]
    table = PageTable("settings of the conversion", ("setting", "value"), rows, kind="words")
    return Section("Settings", table=table)
