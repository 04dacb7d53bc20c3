"""The benchmarks that made the figures in docs/ still run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("conversion", ["max, channel-wise", "low-latency preset"])
def test_conversions_prints_a_row_per_conversion(conversion: str) -> None:
    models = [str(ROOT / "models" / f"fashion_{name}") for name in ("vgg.onnx", "calibration.npz", "test.npz")]
    options = ["--timesteps", "1,2", "--limit", "40", "--only", conversion]
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "conversions.py"), *models, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[-1]
    assert row.startswith(f"| {conversion} |")
    assert row.count("|") == 6
