"""What the pages of `--html` say: an evaluation, or a conversion with an evaluation on its held-back data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx2snn.display.markup import Section, cards, details, grid, page, paragraph, table
from onnx2snn.display.page_data import Exhibit, Raster
from onnx2snn.display.svg import Series, bars, boxes, flow, lines, raster
from onnx2snn.display.terminal import difference, energy_cells, figure, quantity
from onnx2snn.version import __version__

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


def evaluation_page(
    result: Mapping[str, Any], shown: Exhibit, metadata: Mapping[str, Any], name: str
) -> str:
    """An evaluation of a spiking model made from `name`."""
    metric, samples = next(iter(result["ann"])), result["samples"]
    about = (
        f"{metric} of the spiking network and the network it was made from, on {samples} samples"
    )
    if result["partial"]:
        about += "; the evaluation was interrupted"
    return page(
        f"{Path(name).name}: evaluation", about, _evaluation(result, shown, metadata, {}), _foot()
    )


def conversion_page(
    report: Mapping[str, Any],
    result: Mapping[str, Any],
    shown: Exhibit,
    metadata: Mapping[str, Any],
) -> str:
    """A conversion: its report, and an evaluation on the samples it was scored on."""
    data = report["agreement"]
    kind = (
        "random inputs"
        if data["random"]
        else f"{'held-back' if data['held_back'] else 'fitted-on'} calibration samples"
    )
    about = f"Converted into a spiking network and compared with it on {result['samples']} {kind}"
    sections = _evaluation(result, shown, metadata, report)
    return page(f"{Path(report['model']['name']).name}: conversion", about, sections, _foot())


def _foot() -> str:
    return (
        f"Made by onnx2snn {__version__}. SOP: one spike arriving at one synapse. FLOP: one multiply-accumulate. "
        "Firing rate: spikes a neuron and time-step."
    )


def _evaluation(
    result: Mapping[str, Any],
    shown: Exhibit,
    metadata: Mapping[str, Any],
    report: Mapping[str, Any],
) -> list[Section]:
    warnings = [*report.get("warnings", ()), *result["warnings"]]
    sections = [
        Section("Result", "".join(paragraph(w, "warning") for w in warnings) + _scores(result))
    ]
    if shown.strips:
        sections.append(Section("Pictures", shown.strips))
    if "energy" in result:
        sections.append(Section("Energy", _energy(result)))
    sections.append(Section("Layers", _layers(result, shown, report)))
    sections.append(Section("Spikes", _spikes(shown.raster)))
    sections.append(
        Section(
            "Graph", flow("parts", "How an answer is computed", shown.parts) + _graph_notes(report)
        )
    )
    sections.append(Section("Settings", _settings(metadata)))
    return sections


def _scores(result: Mapping[str, Any]) -> str:
    metric, ann = next(iter(result["ann"].items()))
    rows = result["snn"]
    last = max(rows, key=lambda row: row["timesteps"])
    change, sure = difference(metric, last)
    unit = "percent" if metric == "mse" else "points"
    items = [
        (figure(metric, ann), f"{metric}, ANN"),
        (figure(metric, last[metric]), f"{metric}, SNN at T = {last['timesteps']}"),
        (
            f"{change} {unit}",
            f"difference (95 % interval {sure})" if last["drop_95"] else "difference",
        ),
    ]
    if "sops" in last:
        items.append((quantity(last["sops"]), f"synaptic operations at T = {last['timesteps']}"))
        if ratio := last["ratio_with_analog"]:
            less = ratio >= 1
            words = f"{'less' if less else 'more'} energy than the ANN, all counted"
            items.append((f"{ratio if less else 1 / ratio:.3g} x", words))
    table_rows = [("ANN", "", "", figure(metric, ann), "", "")]
    table_rows += [
        (
            "SNN",
            str(r["timesteps"]),
            str(r["delay"]),
            figure(metric, r[metric]),
            *difference(metric, r),
        )
        for r in rows
    ]
    headings = ("", "T", "delay", metric, "difference", "95 % interval")
    found = table(f"{metric} after T time-steps, difference in {unit}", headings, table_rows)
    return cards(items) + grid([_accuracy(result, metric, ann), found])


def _accuracy(result: Mapping[str, Any], metric: str, ann: float) -> str:
    rows = sorted(result["snn"], key=lambda row: row["timesteps"])
    steps = result["energy"]["steps"] if "energy" in result else rows
    spread = [
        (ann - r["drop_95"][1], ann - r["drop_95"][0]) if r["drop_95"] and metric != "mse" else None
        for r in rows
    ]
    labels = [f"T = {r['timesteps']}: {figure(metric, r[metric])}" for r in rows]
    series = [Series("", [r["timesteps"] for r in steps], [r[metric] for r in steps], 0)]
    asked = Series(
        "SNN, 95 % interval" if any(spread) else "SNN",
        [r["timesteps"] for r in rows],
        [r[metric] for r in rows],
        0,
        marks=True,
        line=False,
        spread=spread,
        labels=labels,
    )
    return lines(
        "accuracy",
        f"{metric} against the number of time-steps{' (line: at every T)' if len(steps) > len(rows) else ''}",
        [*series, asked],
        x_label="time-steps T",
        y_label=metric,
        log_x=2,
        percent=metric != "mse",
        reference=("ANN", ann),
    )


def _energy(result: Mapping[str, Any]) -> str:
    metric, ann = next(iter(result["ann"].items()))
    energy, rows = result["energy"], sorted(result["snn"], key=lambda row: row["timesteps"])
    spent = [row for row in energy["steps"] if row["energy_j"]]
    asked = [row for row in rows if row["energy_j"]]
    charts = []
    if spent:
        labels = [f"T = {row['timesteps']}" for row in asked]
        scores = [row[metric] for row in asked]
        sops, whole = (
            [row["energy_j"] for row in asked],
            [row["energy_j"] + row["analog_j"] for row in asked],
        )
        series = [
            Series("", [row["energy_j"] for row in spent], [row[metric] for row in spent], 0),
            Series("SNN: SOPs", sops, scores, 0, marks=True, line=False, labels=labels),
            Series("SOPs and FLOPs", whole, scores, 2, marks=True, labels=labels),
            Series("ANN", [energy["ann"]["energy_j"]], [ann], 1, marks=True, labels=["ANN"]),
        ]
        title = f"{metric} against energy a sample"
        charts.append(
            lines(
                "energy",
                title,
                series,
                x_label="energy a sample",
                y_label=metric,
                log_x=10,
                x_unit="J",
                percent=metric != "mse",
            )
        )
    joules, frames = (
        quantity(energy["ann"]["energy_j"], "J"),
        quantity(energy["ann"]["frames_per_joule"]),
    )
    found: list[Sequence[str]] = [("ANN", "", "", "", joules, frames, "", "", "")]
    found += [("SNN", *energy_cells(row)) for row in rows]
    for share in (90, 95):
        row = energy[f"sops{share}"]
        found.append(
            (f"SOPs{share}", *energy_cells(row))
            if row
            else (f"SOPs{share}", "not reached", *[""] * 7)
        )
    prices = f"{energy['sop_joules'] * 1e15:g} fJ a SOP, {energy['flop_joules'] * 1e12:g} pJ a FLOP"
    about = paragraph(
        "SOPs90 and SOPs95 are those of the first T that keeps 90 and 95 % of the ANN's score. FLOPs beside the SOPs "
        "are the encoder's, once, and whatever does not spike at each time-step."
    )
    return grid(charts) + table(f"a sample's costs ({prices})", ENERGY_HEADINGS, found) + about


def _layers(result: Mapping[str, Any], shown: Exhibit, report: Mapping[str, Any]) -> str:
    layers = result["energy"]["layers"] if "energy" in result else []
    last = max(row["timesteps"] for row in result["snn"])
    charts = []
    if layers:
        title = f"Firing rate of each layer, T = {last}"
        charts.append(
            bars(
                "rates",
                title,
                [(row["site"], row["rate"]) for row in layers],
                "spikes a neuron and step",
            )
        )
    title = "Thresholds of each layer: range, quartiles, median"
    charts.append(boxes("thresholds", title, shown.thresholds, "threshold in the ANN's units"))
    tables = ""
    if layers:
        rows = [
            (
                r["site"],
                f"{r['neurons']:,}",
                f"{r['spikes']:,.0f}",
                f"{r['rate']:.2%}",
                quantity(r["sops"]),
            )
            for r in layers
        ]
        headings = ("layer", "neurons", "spikes", "firing rate", "SOPs")
        tables += details("Layers in figures", table(f"a sample, T = {last}", headings, rows))
    if report:
        rows = [
            (
                s["name"],
                *(f"{s['error'][key]:.1%}" for key in ("total", "own", "inherited")),
                str(len(s["silent"])),
            )
            for s in report["sites"]
        ]
        headings = ("layer", "error", "of its own", "inherited", "silent channels")
        tables += details(
            "Errors by layer", table("relative to the ANN's activations", headings, rows)
        )
    return grid(charts) + tables


def _spikes(found: Raster) -> str:
    steps, some = found.spikes.shape
    which = (
        f"{some} of the {found.fired:,} neurons that fired"
        if found.fired
        else f"{some} neurons, none of which fired"
    )
    title = f"{found.site}: the first sample, {which}"
    signs = " Thin strokes are spikes of -1." if (found.spikes < 0).any() else ""
    about = paragraph(
        f"The layer has {found.neurons:,} neurons.{signs} Another layer: --html-site NAME."
    )
    return raster("raster", title, found.spikes) + about if steps else about


def _graph_notes(report: Mapping[str, Any]) -> str:
    if not report:
        return ""
    kept = [(k["before"], str(k["channels"]), k["reason"]) for k in report["kept"]]
    operators = [
        (row["op"], str(row["ann"] or "-"), str(row["snn"] or "-")) for row in report["operators"]
    ]
    notes = details("Operators", table("nodes by operator", ("operator", "ANN", "SNN"), operators))
    if kept:
        scales = table("scales left in the graph", ("before", "channels", "because"), kept, "words")
        notes += details("Scales left on shortcuts", scales)
    return notes


def _settings(metadata: Mapping[str, Any]) -> str:
    rows = [(key, str(value)) for key, value in sorted(metadata["settings"].items())]
    about = ("timesteps", "delay", "delay_auto", "calibrated", "tool", "source_sha256")
    rows += [(key, str(metadata[key])) for key in about]
    return table("settings of the conversion", ("setting", "value"), rows, "words")
