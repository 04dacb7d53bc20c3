"""Number formats: scores, differences, ratios and quantities as people read them.

The tables of the terminal and the pages of `--html` share these, so that a figure reads the same in
both. The module knows numbers and results only, nothing of models, terminals or pages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx2snn.pipeline.report import AgreementEntry, ErrorEntry, OperatorEntry
    from onnx2snn.score.results import (
        CostedRow,
        EnergyResult,
        EvaluationRow,
        StreamRow,
        WeightedWork,
    )

PREFIXES = "fpnµm kMGTP"
"""Prefixes of 1000 ** -5 to 1000 ** 5; the space in the middle stands for none."""
LARGEST_POWER = 5


def formatted_score(metric: str, value: float) -> str:
    """Return a score: four digits for `mse`, percent with two decimals for the other metrics."""
    if metric == "mse":
        return f"{value:.4g}"
    return f"{value:.2%}"


def difference_unit(metric: str) -> str:
    """Return the unit of `formatted_difference`: percentage points, or percent for `mse`."""
    if metric == "mse":
        return "percent"
    return "points"


def formatted_difference(metric: str, row: EvaluationRow) -> tuple[str, str]:
    """Return how far a row of `evaluate` is from the ANN, and the 95 % interval of that.

    A drop counts downwards, so its sign is turned; for `mse` it is a rise already.
    """
    sign = -1.0
    if metric == "mse":
        sign = 1.0
    change = 100.0 * sign * row["drop"]
    interval = row["drop_95"]
    if not interval:
        return f"{change:+.2f}", "-"
    low, high = sorted(100.0 * sign * bound for bound in interval)
    return f"{change:+.2f}", f"{low:+.2f} to {high:+.2f}"


def score_cells(metric: str, row: EvaluationRow) -> list[str]:
    """Return T, delay, score, difference and its 95 % interval as cells of a table."""
    values: Mapping[str, Any] = row
    score = formatted_score(metric, values[metric])
    change, interval = formatted_difference(metric, row)
    return [
        str(row["timesteps"]),
        str(row["delay"]),
        score,
        change,
        interval,
    ]


def formatted_ratio(value: float | None) -> str:
    """Return a ratio with three digits; "-" where there is none."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def formatted_share(row: StreamRow) -> str:
    """Return the SOPs of a frame as a share of those with a reset; "-" where nothing counted."""
    share = row.get("sops_of_reset")
    return "-" if share is None else f"{share:.1%}"


def quantity(value: float | None, unit: str = "") -> str:
    """Return a number with three digits and a prefix, such as 12.3 M or 943 nJ."""
    if value is None:
        return "-"
    if value == 0:
        return f"0 {unit}".strip()
    power = math.floor(math.log10(abs(value)) / 3)
    power = max(-LARGEST_POWER, min(power, LARGEST_POWER))
    prefix = PREFIXES[power + LARGEST_POWER].strip()
    digits = f"{value / 1000.0**power:.3g}"
    return f"{digits} {prefix}{unit}".strip()


def energy_cells(row: EvaluationRow | CostedRow) -> list[str]:
    """Return the costs of one window as cells of a table.

    The cells are T, firing rate, energy, frames a joule and the ratio to the ANN with everything
    counted; then SOPs, FLOPs beside them, and the ratio of the spikes alone.
    """
    total = row["energy_j"] + row["analog_j"]
    frames = 1 / total if total else None
    return [
        str(row["timesteps"]),
        f"{row['rate']:.1%}",
        quantity(total, "J"),
        quantity(frames),
        formatted_ratio(row["ratio_with_analog"]),
        quantity(row["sops"]),
        quantity(row["flops"]),
        formatted_ratio(row["ratio"]),
    ]


CONSTANTS = "paper: 77 fJ a SOP, 12.5 pJ a FLOP; Horowitz: 0.9 and 4.6 pJ"
"""The two pairs of constants that ratios are always told at."""


def spike_cells(row: EvaluationRow | CostedRow) -> list[str]:
    """Return the spikes of one window as cells of a table.

    The cells are T, spikes, their summed heights and bits; then at both pairs of constants the
    ratio to the ANN with everything counted, and that of the SOPs alone.
    """
    return [
        str(row["timesteps"]),
        quantity(row["events"]),
        quantity(row["heights"]),
        quantity(row["payload_bits"]),
        formatted_ratio(row["ratio_with_analog_paper"]),
        formatted_ratio(row["ratio_paper"]),
        formatted_ratio(row["ratio_with_analog_horowitz"]),
        formatted_ratio(row["ratio_horowitz"]),
    ]


def work_sentence(work: WeightedWork) -> str:
    """Return in one line which part of the weighted operators' products is fed by spikes."""
    shares = (work["spikes"], work["once"], work["each_step"])
    spikes, once, each_step = (f"{share:.3g} %" for share in (100 * part for part in shares))
    return (
        f"{work['fed']} of {work['operators']} weighted operators are fed by spikes: "
        f"{spikes} of MACs; {once} once an input; {each_step} in real numbers at each step"
    )


def operator_cells(row: OperatorEntry) -> list[str]:
    """Return an operator and its numbers of nodes in ANN and SNN as cells of a table."""
    ann = str(row["ann"] or "-")
    snn = str(row["snn"] or "-")
    return [row["op"], ann, snn]


def error_cells(error: ErrorEntry) -> list[str]:
    """Return a site's error, its own part and the inherited one as cells of a table."""
    return [
        f"{error['total']:.1%}",
        f"{error['own']:.1%}",
        f"{error['inherited']:.1%}",
    ]


def formatted_prices(energy: EnergyResult) -> str:
    """Return the joules that one operation of each kind is taken to cost."""
    sop = energy["sop_joules"] * 1e15
    flop = energy["flop_joules"] * 1e12
    return f"{sop:g} fJ a SOP, {flop:g} pJ a FLOP"


def shortened(words: str, most: int) -> str:
    """Return a text of at most `most` characters, without its middle where it is longer."""
    if len(words) <= most:
        return words
    start = words[: most // 2 - 1]
    end = words[-(most - most // 2) :]
    return f"{start}…{end}"


def samples_kind(agreement: AgreementEntry) -> str:
    """Return the kind of samples that a conversion was compared with its ANN on."""
    if agreement["random"]:
        return "random inputs"
    if agreement["held_back"]:
        return "held-back calibration samples"
    return "fitted-on calibration samples"
