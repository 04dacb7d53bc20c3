"""Results of an evaluation: plain dicts, as `--json` writes them, with their keys as types.

A row also holds its score, under the name of the metric. The names of the built-in metrics are keys
of the types; a metric of one's own is `script.py:function`, so read a score with `score_of`.
Accuracies and drops are fractions (mse: a relative increase); operations and joules are a sample's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class AnnCost(TypedDict):
    """Cost of an ANN's answer."""

    flops: float
    energy_j: float
    frames_per_joule: float | None
    """None where nothing was spent."""


class SnnCost(TypedDict):
    """Cost of an SNN's answer: its SOPs, and the FLOPs of the analog operators beside them."""

    sops: float
    flops: float
    energy_j: float
    """Energy of the SOPs."""
    analog_j: float
    """Energy of the FLOPs."""
    frames_per_joule: float | None
    ratio: float | None
    """How many times less energy than the ANN's the SOPs take, as the paper has it."""
    ratio_with_analog: float | None
    """The same with the FLOPs counted, too."""
    ratio_paper: float | None
    """`ratio` at the paper's constants, whatever the prices are: 77 fJ and 12.5 pJ."""
    ratio_with_analog_paper: float | None
    ratio_horowitz: float | None
    """`ratio` at Horowitz's constants, additions and multiplications of 45 nm: 0.9 and 4.6 pJ."""
    ratio_with_analog_horowitz: float | None


class WindowCost(SnnCost):
    """Cost of an answer after T time-steps, with its spikes and spikes a neuron and time-step."""

    spikes: float
    """In rate coding summed heights, in differential coding events."""
    rate: float
    events: float
    """Spikes, however high; in differential coding digits."""
    heights: float
    """Sum of the heights of all spikes, without their signs."""
    payload_bits: float
    """Bits that the events carry: each the logarithm of how many values it can have."""


class Scores(TypedDict):
    """Score of a row, under the name of its metric."""

    top1: NotRequired[float]
    top5: NotRequired[float]
    miou: NotRequired[float]
    map: NotRequired[float]
    mse: NotRequired[float]
    agreement: NotRequired[float]


class AskedCost(TypedDict):
    """Spikes and cost of an answer, where energy was asked for; as in `SnnCost`."""

    spikes: NotRequired[float]
    sops: NotRequired[float]
    flops: NotRequired[float]
    energy_j: NotRequired[float]
    analog_j: NotRequired[float]
    frames_per_joule: NotRequired[float | None]
    ratio: NotRequired[float | None]
    ratio_with_analog: NotRequired[float | None]
    ratio_paper: NotRequired[float | None]
    ratio_with_analog_paper: NotRequired[float | None]
    ratio_horowitz: NotRequired[float | None]
    ratio_with_analog_horowitz: NotRequired[float | None]


class EvaluationRow(Scores, AskedCost):
    """Score of the SNN after T time-steps, and its cost where energy was asked for."""

    timesteps: int
    delay: int
    drop: float
    """How much worse than the ANN."""
    drop_95: tuple[float, float] | None
    """The drop's 95 % interval, paired over samples; None for map, or without a batch axis."""
    relative_error: NotRequired[float]
    """Of the output that agreement is about, ||SNN - ANN|| / ||ANN||; for agreement alone."""
    rate: NotRequired[float]
    events: NotRequired[float]
    heights: NotRequired[float]
    payload_bits: NotRequired[float]


class CostedRow(WindowCost, Scores):
    """Score and cost of the SNN after T time-steps."""

    timesteps: int
    delay: int
    relative_error: NotRequired[float]


class StreamRow(EvaluationRow):
    """Score and cost of a frame of a stream, T time-steps each; `drop_95` is None.

    Frames resemble each other, so that they are no sample to tell an interval from.
    """

    sops_of_reset: NotRequired[float | None]
    """SOPs of a frame over those with a reset for each; None where there were none."""


class ExitResult(Scores, AskedCost):
    """Score and cost where a sample stops when its answer is stable, at T at the latest."""

    margin: float
    timesteps: int
    mean_timesteps: float
    histogram: dict[str, int]
    """Samples by the step that they stopped at."""
    drop: float


class StepRow(Scores):
    """Score and cost at one T of the curve of energy."""

    timesteps: int
    sops: float
    flops: float
    energy_j: float


class LayerCost(TypedDict):
    """Spikes of a site in the largest T, a sample."""

    site: str
    neurons: int
    spikes: float
    rate: float
    sops: float
    events: float
    heights: float
    payload_bits: float


class WeightedWork(TypedDict):
    """Weighted operators of an SNN, and shares of their multiply-accumulates for one pass."""

    operators: int
    fed: int
    """Operators that are fed by spikes."""
    spiking: int
    """The same, by the word that files of differential coding use."""
    encoder: int
    """Operators that take the inputs, once."""
    analog: list[str]
    """Nodes of all others."""
    spikes: float
    """Share of multiply-accumulates in those."""
    once: float
    """Share once an input or an answer."""
    each_step: float
    """Share in real numbers at each time-step."""


class EnergyResult(TypedDict):
    """Prices, cost of the ANN, and cost of the SNN by T and by site."""

    sop_joules: float
    flop_joules: float
    ann: AnnCost
    weighted: NotRequired[WeightedWork]
    sops90: CostedRow | None
    """The first T that keeps 90 % of the ANN's score; None where none does."""
    sops95: CostedRow | None
    sops99: CostedRow | None
    layers: list[LayerCost]
    steps: list[StepRow]


class UntimedResult(TypedDict):
    """Result of an evaluation, but for the time it took."""

    samples: int
    partial: bool
    """Whether it was interrupted before all samples were scored."""
    ann: dict[str, float]
    """The ANN's score by the name of the metric, the only key."""
    snn: list[EvaluationRow]
    scored: str
    """Which output was scored, and how; "" where the metric scores no single one."""
    warnings: list[str]
    energy: NotRequired[EnergyResult]
    stream: NotRequired[list[StreamRow]]
    """The samples as frames of a stream: a row for each T, where it was asked for."""
    exit: NotRequired[ExitResult]
    """With early exit, where it was asked for."""


class EvaluationResult(UntimedResult):
    """Result of `evaluate`."""

    seconds: float


def score_of(row: Mapping[str, Any], metric: str) -> float:
    """Return the score in a row of any of these types."""
    return float(row[metric])


def metric_of(result: EvaluationResult) -> str:
    """Return the name of the metric that a result is about."""
    (name,) = result["ann"]
    return name
