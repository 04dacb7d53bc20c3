"""The energy curve of a page: everything counted beside the spikes alone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from onnx2snn.display import charts, score_sections
from onnx2snn.score.results import EnergyResult, EvaluationResult

SOP, FLOP = 77e-15, 12.5e-12


def row(timesteps: int, sops: float, flops: float) -> dict[str, Any]:
    spent = {"sops": sops, "flops": flops, "energy_j": sops * SOP, "analog_j": flops * FLOP}
    about = {"timesteps": timesteps, "top1": timesteps / 10, "rate": 0.1, "spikes": sops}
    about |= {"events": sops, "heights": sops, "payload_bits": sops}
    ratios = {f"ratio_{name}": 2.0 for name in ("paper", "horowitz")}
    ratios |= {f"ratio_with_analog_{name}": 1.0 for name in ("paper", "horowitz")}
    ratios |= {"ratio": 2.0, "ratio_with_analog": 1.0, "frames_per_joule": 1.0}
    return {**about, **spent, **ratios}


ROWS = {
    "spikes alone": [row(1, 1e6, 0), row(2, 2e6, 0)],
    "analog work at each step": [row(1, 1e6, 1e5), row(2, 2e6, 2e5), row(4, 4e6, 4e5)],
    "analog work once an input": [row(1, 1e6, 3e5), row(8, 8e6, 3e5)],
    "no spike at first": [row(1, 0, 1e5), row(2, 2e6, 2e5)],
}


@pytest.mark.parametrize("kind", ROWS)
def test_the_curve_has_everything_counted_beside_the_spikes(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []

    def kept(name: str, title: str, series: Any, plane: Any) -> Any:
        drawn.extend(series)
        return charts.line_chart(name, title, series, plane)

    monkeypatch.setattr(score_sections, "line_chart", kept)
    rows = ROWS[kind]
    ann = {"flops": 1e8, "energy_j": 1e8 * FLOP, "frames_per_joule": 1.0}
    energy = {"sop_joules": SOP, "flop_joules": FLOP, "ann": ann, "steps": rows, "layers": []}
    energy |= {"sops90": None, "sops95": None, "sops99": None}
    result = {"metric": "top1", "ann": {"top1": 0.9}, "snn": rows, "energy": energy}
    score_sections.energy_section(cast(EvaluationResult, result), cast(EnergyResult, energy))
    there = [row for row in rows if row["energy_j"]]
    whole, spikes, marked, marked_spikes = drawn[:4]
    everything = [row["energy_j"] + row["analog_j"] for row in there]
    assert whole.x == pytest.approx(everything)
    assert spikes.x == pytest.approx([row["energy_j"] for row in there])
    assert (marked.name, marked_spikes.name) == ("SNN, everything counted", "SNN, spikes only")
    assert marked.x == pytest.approx(everything)
    # a curve and its marks share a colour
    assert (whole.colour, spikes.colour) == (marked.colour, marked_spikes.colour)
