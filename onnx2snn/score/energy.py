"""What a spiking model's answer costs in synaptic operations and energy, beside its ANN (paper, appendix F).

One spike arriving at one synapse is a synaptic operation (SOP), whatever its sign; a spike of height k is k of them.
One multiply-accumulate is a floating-point operation (FLOP), as the paper counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import UsageError
from onnx2snn.score.metrics import Metric
from onnx2snn.score.synapses import Wiring

SOP_JOULES = 77e-15
"""Energy of one SOP (paper, appendix F: 77 fJ)."""
FLOP_JOULES = 12.5e-12
"""Energy of one FLOP (paper, appendix F: 12.5 pJ)."""
SHARES = (90, 95)
"""SOPs are told for the first T that keeps these percentages of the ANN's score."""


@dataclass(frozen=True)
class Prices:
    """Joules an operation."""

    sop: float = SOP_JOULES
    flop: float = FLOP_JOULES

    def __post_init__(self) -> None:
        """UsageError for what is no price."""
        for name, value in (("sop_joules", self.sop), ("flop_joules", self.flop)):
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value:g}; it has to be a number of joules above 0")

    def ann(self, flops: float) -> dict[str, float | None]:
        """An ANN of so many FLOPs a sample."""
        joules = flops * self.flop
        return {"flops": flops, "energy_j": joules, "frames_per_joule": _ratio(1.0, joules)}

    def snn(self, sops: float, flops: float, ann_flops: float) -> dict[str, float | None]:
        """An SNN of so many SOPs a sample, and of FLOPs beside them: `ratio` is how many times less energy than the
        ANN's the SOPs take, as the paper has it; `ratio_with_analog` counts the FLOPs, too. None: nothing was spent.
        """
        joules, analog, ann = sops * self.sop, flops * self.flop, ann_flops * self.flop
        return {
            "sops": sops,
            "flops": flops,
            "energy_j": joules,
            "analog_j": analog,
            "frames_per_joule": _ratio(1.0, joules),
            "ratio": _ratio(ann, joules),
            "ratio_with_analog": _ratio(ann, joules + analog),
        }


@dataclass
class Tally:
    """Adds up, over samples, what each site's neurons sent in the first T steps."""

    wiring: Wiring
    samples: int = 0
    sent: dict[int, dict[str, Array]] = field(default_factory=dict)
    """By T and site: spikes and SOPs."""

    def measure(self, activity: Mapping[str, Array], size: int, count: int) -> dict[str, Array]:
        """Spikes and SOPs of the first `count` of `size` samples, by site; `activity`: summed heights [size, ...]."""
        figures = {}
        for site, heights in activity.items():
            total = heights.reshape(size, -1)[:count].sum(axis=0, dtype=np.float64)
            figures[site] = np.array([total.sum(), total @ self.wiring.fan_out[site]])
        return figures

    def add(self, count: int, sent: Mapping[int, Mapping[str, Array]]) -> None:
        """Add what `count` samples sent, by T."""
        self.samples += count
        for timesteps, figures in sent.items():
            before = self.sent.get(timesteps)
            self.sent[timesteps] = {s: f + before[s] if before else f for s, f in figures.items()}

    def layers(self, timesteps: int) -> list[dict[str, Any]]:
        """Per site and sample, in the first T steps: spikes, spikes a neuron and step, SOPs."""
        rows = []
        for site, fan_out in self.wiring.fan_out.items():
            spikes, sops = (self.sent[timesteps][site] / self.samples).tolist()
            rate = spikes / fan_out.size / timesteps
            rows.append(
                {
                    "site": site,
                    "neurons": fan_out.size,
                    "spikes": spikes,
                    "rate": rate,
                    "sops": sops,
                }
            )
        return rows

    def row(self, timesteps: int, prices: Prices, ann_flops: float) -> dict[str, float | None]:
        """An evaluation row's columns, for one answer after T steps."""
        layers = self.layers(timesteps)
        spikes, sops, neurons = (
            sum(layer[key] for layer in layers) for key in ("spikes", "sops", "neurons")
        )
        flops = self.wiring.encoder + timesteps * self.wiring.step + self.wiring.readout
        rate = spikes / neurons / timesteps
        return {"spikes": spikes, "rate": rate, **prices.snn(sops, flops, ann_flops)}


def sops_at(
    percent: float, metric: Metric, ann: float, rows: Sequence[Mapping[str, Any]], score: str
) -> Mapping[str, Any] | None:
    """The row of the smallest T whose score keeps `percent` of the ANN's, None where none does."""
    kept = (
        row
        for row in sorted(rows, key=lambda row: row["timesteps"])
        if metric.keeps(ann, row[score], percent / 100)
    )
    return next(kept, None)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
