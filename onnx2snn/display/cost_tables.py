"""Tables of the terminal about what an answer costs: energy, spikes and synaptic operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from onnx2snn.display.numbers import (
    CONSTANTS,
    energy_cells,
    formatted_prices,
    formatted_score,
    formatted_share,
    quantity,
    score_cells,
    spike_cells,
)

if TYPE_CHECKING:
    from onnx2snn.score.results import (
        CostedRow,
        EnergyResult,
        EvaluationResult,
        EvaluationRow,
        ExitResult,
    )

ENERGY_HEADINGS = (
    "",
    "T",
    "rate",
    "energy",
    "per joule",
    "x ANN",
    "SOPs",
    "FLOPs",
    "spikes only",
)
SPIKE_HEADINGS = (
    "",
    "T",
    "spikes",
    "heights",
    "bits",
    "paper",
    "SOPs",
    "Horowitz",
    "SOPs",
)


def wide_table(title: str) -> Table:
    """Return an empty table; rules between many columns would leave 80 characters too narrow."""
    return Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def energy_table(result: EvaluationResult, energy: EnergyResult) -> RenderableType:
    """Return the energy of a sample at the prices asked for."""
    table = _with_columns(f"energy a sample ({formatted_prices(energy)})", ENERGY_HEADINGS)
    ann = energy["ann"]
    joules = quantity(ann["energy_j"], "J")
    frames = quantity(ann["frames_per_joule"])
    table.add_row("ANN", "", "", joules, frames, "", "", "", "")
    _add_costs(table, result, energy, energy_cells)
    return table


def spike_table(result: EvaluationResult, energy: EnergyResult) -> RenderableType:
    """Return the spikes of a sample, and the ratio to the ANN at both pairs of constants."""
    table = _with_columns(
        f"spikes a sample; x ANN: all, and SOPs only ({CONSTANTS})", SPIKE_HEADINGS
    )
    _add_costs(table, result, energy, spike_cells)
    return table


def exit_sentence(metric: str, found: ExitResult) -> str:
    """Return in one line the score with early exit, and when samples stopped."""
    values: Mapping[str, Any] = found
    score = formatted_score(metric, values[metric])
    steps = ", ".join(f"{count} at {t}" for t, count in found["histogram"].items() if count)
    text = f"early exit at a margin of {found['margin']:g}: {metric} {score}"
    text += f" after {found['mean_timesteps']:.2f} time-steps on average ({steps})"
    if "sops" in found:
        text += f", {quantity(found['sops'])} SOPs a sample"
    return text


def stream_table(result: EvaluationResult) -> RenderableType:
    """Return the samples as frames of a stream, each T below that with a reset for each."""
    metric = next(iter(result["ann"]))
    table = wide_table("as a stream: a frame goes on from the one before")
    for heading in ("", "T", metric, "difference", "spikes", "SOPs", "of reset"):
        table.add_column(heading, justify="right", no_wrap=True)
    alone = {row["timesteps"]: row for row in result["snn"]}
    for row in result["stream"]:
        before = alone[row["timesteps"]]
        table.add_row("reset", *_frame_cells(metric, before), "")
        table.add_row("stream", *_frame_cells(metric, row), formatted_share(row))
    return table


def _frame_cells(metric: str, row: EvaluationRow) -> list[str]:
    """Return T, score, difference, spikes and SOPs of a frame as cells of a table."""
    timesteps, _, score, difference, _ = score_cells(metric, row)
    costs = [quantity(row.get("spikes")), quantity(row.get("sops"))]
    return [timesteps, score, difference, *costs]


def _with_columns(title: str, headings: Sequence[str]) -> Table:
    table = wide_table(title)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _add_costs(
    table: Table,
    result: EvaluationResult,
    energy: EnergyResult,
    cells_of: Callable[[EvaluationRow | CostedRow], list[str]],
) -> None:
    """Add the rows of the T asked for, and of the first T that keep a share of the score."""
    for row in result["snn"]:
        table.add_row("SNN", *cells_of(row))
    shares = (
        ("SOPs90", energy["sops90"]),
        ("SOPs95", energy["sops95"]),
        ("SOPs99", energy["sops99"]),
    )
    for name, reached in shares:
        cells = cells_of(reached) if reached else ["-"]
        table.add_row(name, *cells)
