"""The benchmarks that made the figures in docs/ still run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("study", "row"), [("figure3", "99 % percentile, layer-wise (robust norm), delay 0"), ("presets", "low-latency")]
)
def test_accuracy_prints_a_row_per_conversion_and_keeps_its_figures(study: str, row: str, tmp_path: Path) -> None:
    models = [str(ROOT / "models" / f"fashion_{name}") for name in ("vgg.onnx", "calibration.npz", "test.npz")]
    cache = tmp_path / "cache.json"
    options = ["--study", study, "--only", row, "--timesteps", "1,2", "--limit", "40", "--cache", str(cache)]
    command = [sys.executable, str(ROOT / "benchmarks" / "accuracy.py"), *models, *options]
    printed = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    last = printed[0].splitlines()[-2]
    assert last.startswith(f"| {row} |")
    assert last.count("|") == 4
    assert len(json.loads(cache.read_text())) == 2
