"""Cost of a spiking model's answer in synaptic operations and energy, beside its ANN's.

One spike arriving at one synapse is a synaptic operation (SOP), whatever its sign; a spike of
height k is k of them. A spike of differential coding is a power of two: one shifted addition, and
one SOP. One multiply-accumulate is a floating-point operation (FLOP). So counts the
paper (appendix F).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import UsageError
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.metrics import Metric
from onnx2snn.score.results import (
    AnnCost,
    CostedRow,
    EnergyResult,
    LayerCost,
    SnnCost,
    StepRow,
    WindowCost,
    score_of,
)
from onnx2snn.score.synapses import Wiring, samples_first

SOP_JOULES = 77e-15
"""Energy of one SOP (paper, appendix F: 77 fJ)."""
FLOP_JOULES = 12.5e-12
"""Energy of one FLOP (paper, appendix F: 12.5 pJ)."""
HOROWITZ_SOP_JOULES = 0.9e-12
"""Energy of an addition in float32 at 45 nm (Horowitz, ISSCC 2014)."""
HOROWITZ_FLOP_JOULES = 4.6e-12
"""Energy of a multiplication and an addition there: 3.7 pJ and 0.9 pJ."""
SHARES = (90, 95, 99)
"""SOPs are told for the first T that keeps these percentages of the ANN's score."""

Sent = Mapping[str, Array]
"""What spikes cost at a synapse, their SOPs, number and heights, by site: [4]."""
Row = TypeVar("Row", bound=Mapping[str, object])


@dataclass(frozen=True)
class Prices:
    """Joules an operation."""

    sop: float = SOP_JOULES
    flop: float = FLOP_JOULES

    def __post_init__(self) -> None:
        """Raise UsageError for a number that is no price."""
        for name, value in (("sop_joules", self.sop), ("flop_joules", self.flop)):
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value:g}; it has to be a number of joules above 0")

    def ann(self, flops: float) -> AnnCost:
        """Return the cost of an ANN with a number of FLOPs a sample."""
        joules = flops * self.flop
        return {"flops": flops, "energy_j": joules, "frames_per_joule": _quotient(1.0, joules)}

    def snn(self, sops: float, flops: float, ann_flops: float) -> SnnCost:
        """Return the cost of an SNN, from SOPs, FLOPs and its ANN's FLOPs a sample."""
        # energy = SOPs x joules a SOP (+ FLOPs x joules a FLOP, with analog operators)
        spiking = sops * self.sop
        ratio, whole = self._ratios(sops, flops, ann_flops)
        paper, whole_paper = PAPER._ratios(sops, flops, ann_flops)
        horowitz, whole_horowitz = HOROWITZ._ratios(sops, flops, ann_flops)
        return {
            "ratio_with_analog": whole,
            "sops": sops,
            "flops": flops,
            "energy_j": spiking,
            "analog_j": flops * self.flop,
            "frames_per_joule": _quotient(1.0, spiking),
            "ratio": ratio,
            "ratio_paper": paper,
            "ratio_with_analog_paper": whole_paper,
            "ratio_horowitz": horowitz,
            "ratio_with_analog_horowitz": whole_horowitz,
        }

    def _ratios(
        self, sops: float, flops: float, ann_flops: float
    ) -> tuple[float | None, float | None]:
        """Return the ANN's energy over that of the SOPs, and over that of SOPs and FLOPs."""
        spiking = sops * self.sop
        ann = ann_flops * self.flop
        return _quotient(ann, spiking), _quotient(ann, spiking + flops * self.flop)


PAPER = Prices()
HOROWITZ = Prices(HOROWITZ_SOP_JOULES, HOROWITZ_FLOP_JOULES)


@dataclass(frozen=True)
class Spikes:
    """What neurons sent, by site: the arrays of a simulation's counters."""

    activity: Mapping[str, Array]
    """What the spikes cost at a synapse."""
    events: Mapping[str, Array]
    heights: Mapping[str, Array]

    @classmethod
    def of(cls, simulation: Simulation) -> Spikes:
        """Return the counters of a simulation, which hold until its next step."""
        return cls(
            simulation.activity(copy=False),
            simulation.activity(copy=False, kind="event"),
            simulation.activity(copy=False, kind="height"),
        )


@dataclass
class Tally:
    """Adds up, over samples, the spikes that each site's neurons sent in the first T time-steps."""

    wiring: Wiring
    samples: int = 0
    sent: dict[int, Sent] = field(default_factory=dict)
    """By T."""

    def measure(self, spikes: Spikes, size: int, count: int) -> Sent:
        """Return the spikes and SOPs of some samples, by site.

        Args:
            spikes: What the neurons sent.
            size: Samples that ran.
            count: How many of them count; the others fill a fixed batch up.
        """
        figures = {}
        for site, activity in spikes.activity.items():
            place = self.wiring.places.get(site)
            own = samples_first(activity, place, size)[:count]
            by_neuron = own.sum(axis=0, dtype=np.float64)
            # SOPs = sum over neurons of (what its spikes cost) x (synapses it has)
            sops = by_neuron @ self.wiring.fan_out[site]
            cost = by_neuron.sum()
            others = []
            for sizes in (spikes.events[site], spikes.heights[site]):
                total = cost
                if sizes is not activity:
                    total = samples_first(sizes, place, size)[:count].sum(dtype=np.float64)
                others.append(total)
            figures[site] = np.array([cost, sops, *others])
        return figures

    def add(self, count: int, sent: Mapping[int, Sent]) -> None:
        """Add the spikes and SOPs of `count` samples, by T."""
        self.samples += count
        for timesteps, figures in sent.items():
            before = self.sent.get(timesteps)
            if before is None:
                self.sent[timesteps] = figures
            else:
                self.sent[timesteps] = {site: figures[site] + before[site] for site in figures}

    def layers(self, timesteps: int) -> list[LayerCost]:
        """Return spikes, rate and SOPs of each site for a sample, in the first T time-steps."""
        rows: list[LayerCost] = []
        for site, fan_out in self.wiring.fan_out.items():
            a_sample = self.sent[timesteps][site] / self.samples
            spikes, sops, events, heights = a_sample.tolist()
            neurons = fan_out.size
            # spikes a neuron and time-step; above 1 where spikes are several levels high
            rate = spikes / neurons / timesteps
            row: LayerCost = {
                "site": site,
                "neurons": neurons,
                "spikes": spikes,
                "rate": rate,
                "sops": sops,
                "events": events,
                "heights": heights,
                "payload_bits": events * self.wiring.bits.get(site, 1.0),
            }
            rows.append(row)
        return rows

    def row(self, timesteps: int, prices: Prices, ann_flops: float) -> WindowCost:
        """Return the cost of one answer after T time-steps."""
        layers = self.layers(timesteps)
        spikes = sum(layer["spikes"] for layer in layers)
        sops = sum(layer["sops"] for layer in layers)
        neurons = sum(layer["neurons"] for layer in layers)
        # The encoder runs once an input, the core at each time-step, the readout once an answer.
        flops = self.wiring.encoder + timesteps * self.wiring.step + self.wiring.readout
        return {
            "spikes": spikes,
            "rate": spikes / neurons / timesteps,
            "events": sum(layer["events"] for layer in layers),
            "heights": sum(layer["heights"] for layer in layers),
            "payload_bits": sum(layer["payload_bits"] for layer in layers),
            **prices.snn(sops, flops, ann_flops),
        }


@dataclass(frozen=True)
class Bill:
    """Energy of an evaluation: the tally of spikes, the prices, and the ANN's FLOPs a sample."""

    tally: Tally
    prices: Prices
    ann_flops: float

    def cost(self, timesteps: int) -> WindowCost:
        """Return the cost of one answer after T time-steps."""
        return self.tally.row(timesteps, self.prices, self.ann_flops)

    def result(
        self, metric: Metric, name: str, ann: float, rows: Sequence[CostedRow]
    ) -> EnergyResult:
        """Return the part of an evaluation's result that is about energy.

        Args:
            metric: The metric.
            name: Its name, the key of a row's score.
            ann: The ANN's score.
            rows: Score and cost at each T, in any order.
        """
        ascending = sorted(rows, key=lambda row: row["timesteps"])
        reached = [sops_at(share, metric, ann, ascending, name) for share in SHARES]
        sops90, sops95, sops99 = reached
        result: EnergyResult = {
            "sop_joules": self.prices.sop,
            "flop_joules": self.prices.flop,
            "ann": self.prices.ann(self.ann_flops),
            "sops90": sops90,
            "sops95": sops95,
            "sops99": sops99,
            "layers": self.tally.layers(ascending[-1]["timesteps"]),
            "steps": [_step_row(row, name) for row in ascending],
        }
        weighted = self.tally.wiring.weighted
        if weighted is not None:
            result["weighted"] = weighted
        return result


def sops_at(
    percent: float, metric: Metric, ann: float, rows: Sequence[Row], name: str
) -> Row | None:
    """Return the row of the smallest T whose score keeps a percentage of the ANN's.

    None where none does.

    Args:
        percent: The percentage, such as 90.
        metric: The metric.
        ann: The ANN's score.
        rows: Score and cost at each T, in any order.
        name: The key of a row's score.
    """
    for row in sorted(rows, key=lambda row: cast(int, row["timesteps"])):
        if metric.keeps(ann, score_of(row, name), percent / 100):
            return row
    return None


def _step_row(row: CostedRow, name: str) -> StepRow:
    step = {
        "timesteps": row["timesteps"],
        name: score_of(row, name),
        "sops": row["sops"],
        "flops": row["flops"],
        "energy_j": row["energy_j"],
    }
    return cast(StepRow, step)


def _quotient(part: float, whole: float) -> float | None:
    return part / whole if whole else None
