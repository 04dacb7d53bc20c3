"""Long conversions are foretold: by nodes and sites, and by passes over the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp

from onnx2snn.aliases import silent_progress
from onnx2snn.cli.commands import main
from onnx2snn.pipeline import forecast
from onnx2snn.pipeline.prepared import prepared
from onnx2snn.protos import time_left
from onnx2snn.settings import Settings


@pytest.mark.parametrize(
    ("settings", "sites", "passes"),
    [
        (Settings(preset="paper", method="max"), 2, 1),
        (Settings(preset="paper", method="percentile"), 2, 2),
        (Settings(preset="paper"), 2, 0),
        (Settings(preset="differential"), 2, 2),
        (Settings(preset="differential", method="max", start="zero"), 2, 1),
    ],
)
def test_passes_over_the_data_and_sites_are_counted(
    settings: Settings, sites: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(forecast, "MANY", 1)
    monkeypatch.setattr(forecast, "foretell", lambda work, seconds: said.append(work))
    with prepared(mlp(), inputs_for("mlp", 20), settings, silent_progress) as ready:
        nodes, samples = len(ready.job.graph.nodes), len(ready.job.samples)
    expected = [f"converting {nodes} nodes with {sites} sites"]
    if passes:
        expected.append(f"statistics of {samples} samples ({passes} passes)")
    assert said == expected


def test_what_is_long_is_told_but_not_to_who_wants_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time_left, "LONG", 0.0)
    onnx.save(mlp(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", inputs_for("mlp", 20))
    words = [str(tmp_path / "net.onnx"), "-o", str(tmp_path / "out.onnx"), "--method", "max"]
    words += ["--calibration", str(tmp_path / "x.npy"), "--timesteps", "4"]
    note = "note: statistics of "
    assert main([*words, "--quiet"]) == 0
    assert note not in capsys.readouterr().err
    assert main(words) == 0
    assert note in capsys.readouterr().err
