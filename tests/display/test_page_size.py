"""A page of twenty layers at its worst: how large it is, and that it is always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx2snn.display.page import conversion_page
from onnx2snn.display.page_data import PageData, Raster
from onnx2snn.pipeline.report import Report, SiteEntry

LAYERS = [f"backbone.stages.{index}.blocks.0.activation/Relu" for index in range(20)]
TIMES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
MOST_BYTES = 1_000_000


def row(timesteps: int) -> Any:
    return {
        "timesteps": timesteps,
        "delay": 0,
        "top1": 1 - 0.9 / timesteps,
        "drop": 0.9 / timesteps,
        "drop_95": (0.8 / timesteps, 1.0 / timesteps),
        "rate": 0.3,
        "sops": 1e6 * timesteps,
        "energy_j": 77e-9 * timesteps,
        "frames_per_joule": 1e7 / timesteps,
        "ratio": 100 / timesteps,
        "flops": 1e4,
        "analog_j": 1e-7,
        "ratio_with_analog": 50 / timesteps,
        "events": 1e5 * timesteps,
        "heights": 2e5 * timesteps,
        "payload_bits": 4e5 * timesteps,
        "ratio_paper": 100 / timesteps,
        "ratio_with_analog_paper": 50 / timesteps,
        "ratio_horowitz": 10 / timesteps,
        "ratio_with_analog_horowitz": 5 / timesteps,
    }


def evaluation() -> Any:
    layer = {"neurons": 802_816, "spikes": 1.2e6, "rate": 0.3, "sops": 3e7}
    return {
        "samples": 200,
        "partial": False,
        "ann": {"top1": 0.95},
        "snn": [row(timesteps) for timesteps in TIMES],
        "warnings": [],
        "energy": {
            "sop_joules": 77e-15,
            "flop_joules": 12.5e-12,
            "ann": {"energy_j": 4e-6, "frames_per_joule": 2.5e5},
            "sops90": row(16),
            "sops95": None,
            "sops99": None,
            "layers": [{"site": name, **layer} for name in LAYERS],
            "steps": [row(timesteps) for timesteps in range(1, 257)],
        },
    }


def report() -> Report:
    return Report(
        tool="onnx2snn",
        model={"name": "net.onnx", "sha256": "0" * 64, "bytes": 1},
        snn={"bytes": 1, "neurons": 1},
        settings={},
        calibrated=True,
        timesteps=256,
        delay=0,
        delay_auto=0,
        agreement={"value": 0.9, "samples": 200, "held_back": True, "random": False},
        operators=[{"op": "Conv", "ann": 21, "snn": 21}, {"op": "IF", "ann": 0, "snn": 20}],
        sites=[site(name) for name in LAYERS],
        folded=LAYERS,
        kept=[{"before": name, "channels": 64, "reason": "a shortcut"} for name in LAYERS],
        unfitted=[],
        moved_pools=[],
        analog=[],
        parts={},
        warnings=["a warning"],
        seconds={},
        cost=None,
    )


def site(name: str) -> SiteEntry:
    return {
        "name": name,
        "source": name,
        "channels": 64,
        "neurons": 802_816,
        "threshold": {"min": 0.001, "median": 1.0, "max": 9.0},
        "quartiles": [0.5, 2.0],
        "rate": 0.3,
        "silent": [1, 2],
        "error": {"total": 0.2, "own": 0.1, "inherited": 0.1},
    }


@pytest.fixture(scope="module")
def page() -> str:
    return drawn()


def drawn() -> str:
    """A page on which all neurons of the raster fire at all steps, half of them downwards."""
    spikes = np.ones((256, 96), np.int8)
    spikes[:, ::2] = -1
    shown = PageData(
        raster=Raster(LAYERS[10], spikes, 802_816, 802_816),
        pictures=None,
        thresholds=tuple((name, (0.001, 0.5, 1.0, 2.0, 9.0)) for name in LAYERS),
        parts=(("Inputs", ("input",)), ("Core, every time-step", ("20 layers", "20 Conv"))),
    )
    facts = ("timesteps", "delay", "delay_auto", "calibrated", "tool", "source_sha256")
    metadata: Any = {"settings": {"method": "max"}, **dict.fromkeys(facts, "value")}
    return conversion_page(report(), evaluation(), shown, metadata)


def test_twenty_layers_make_a_page_of_at_most_a_megabyte(page: str) -> None:
    assert len(page.encode()) <= MOST_BYTES
    for name in LAYERS:
        # in the tables of figures, errors and scales, and beside bars and boxes
        assert page.count(f">{name}<") >= 5


def test_the_same_results_make_the_same_page(page: str) -> None:
    assert drawn() == page
