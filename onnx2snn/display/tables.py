"""Tables of the terminal: an evaluation's scores and an inspection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table

from onnx2snn.display.cost_tables import (
    energy_table,
    exit_sentence,
    spike_table,
    stream_table,
)
from onnx2snn.display.drives import inspection_lines
from onnx2snn.display.numbers import (
    formatted_score,
    score_cells,
    work_sentence,
)
from onnx2snn.errors import printable

if TYPE_CHECKING:
    from onnx2snn.score.results import EvaluationResult

SPIKING_FACTS = ("tool", "timesteps", "delay", "delay_auto", "calibrated", "source_sha256")
"""Metadata of a spiking model that its inspection names below the table."""
DELAYS = ("delay", "delay_auto")
"""Those that files of format 2 have no use for: an answer is an estimate, not a mean."""


def written_out(value: Any) -> Any:
    """Return a copy of plain data in which no text holds control characters: a name could."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {written_out(key): written_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [written_out(item) for item in value]
    return value


# --- an evaluation ---


def score_tables(result: EvaluationResult) -> list[RenderableType]:
    """Return the scores of `evaluate`, and their costs where it counted them."""
    result = written_out(result)
    tables: list[RenderableType] = [_score_table(result)]
    if "energy" in result:
        energy = result["energy"]
        tables.append(energy_table(result, energy))
        tables.append(spike_table(result, energy))
        if "weighted" in energy:
            tables.append(work_sentence(energy["weighted"]))
    if result.get("stream"):
        tables.append(stream_table(result))
    if "exit" in result:
        tables.append(exit_sentence(next(iter(result["ann"])), result["exit"]))
    return tables


def _score_table(result: EvaluationResult) -> RenderableType:
    metric, ann = next(iter(result["ann"].items()))
    title = f"{metric} on {result['samples']} samples"
    if result["partial"]:
        title += " (interrupted)"
    if result.get("scored"):
        title += f", {result['scored']}"
    table = Table(title=title, title_justify="left")
    for heading in ("", "time-steps", "delay", metric, "difference", "95 % interval"):
        table.add_column(heading, justify="right")
    table.add_row("ANN", "", "", formatted_score(metric, ann))
    for row in result["snn"]:
        table.add_row("SNN", *score_cells(metric, row))
    return table


# --- an inspection ---


def inspection_tables(about: Mapping[str, Any]) -> list[RenderableType]:
    """Return the table of `inspect`, the model's ends, and a summary in one line."""
    about = written_out(about)
    table = Table(title=about["model"], title_justify="left")
    if about["kind"] == "snn":
        summary = _spiking_model(table, about["metadata"])
    elif about["kind"] == "rollout":
        summary = f"rollout of a spiking model: {facts_line(about['metadata'], about['metadata'])}"
    else:
        summary = _nodes(table, about)
    inputs = ", ".join(about["inputs"])
    outputs = ", ".join(about["outputs"])
    lines = [summary, *inspection_lines(about)]
    if "weighted" in about:
        lines.append(work_sentence(about["weighted"]))
    return [table, f"inputs {inputs}; outputs {outputs}", "\n".join(lines)]


def facts_line(metadata: Mapping[str, Any], keys: Sequence[str] | Mapping[str, Any]) -> str:
    """Return some entries in one line: key value, key value."""
    return ", ".join(f"{key} {metadata[key]}" for key in keys)


def _spiking_model(table: Table, metadata: Mapping[str, Any]) -> str:
    """Add a row for each layer of neurons; return the summary."""
    columns = ("name", "kind", "source", "channels", "shape")
    for heading in ("site", *columns[1:]):
        table.add_column(heading, overflow="fold")
    for neuron in metadata["neurons"]:
        table.add_row(*(str(neuron[key]) for key in columns))
    analog = ", ".join(metadata["analog"]) or "none"
    facts: Sequence[str] = SPIKING_FACTS
    if "weighted" in metadata:
        facts = [fact for fact in facts if fact not in DELAYS]
    return f"spiking model: {facts_line(metadata, facts)}, analog nodes: {analog}"


def _nodes(table: Table, about: Mapping[str, Any]) -> str:
    """Add a row for each node of an ANN; return the summary."""
    for heading in ("node", "operator", "becomes", "because"):
        table.add_column(heading, overflow="fold")
    for row in about["nodes"]:
        table.add_row(row["node"], row["op"], row["role"], row["reason"])
    if not about["convertible"]:
        return f"not convertible: {about['reason']}"
    counts = ", ".join(f"{count} {role}" for role, count in about["summary"].items())
    return f"convertible: {counts}"
