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


def table(script: str, *options: str) -> list[list[str]]:
    """The rows that a benchmark prints, in cells."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / script), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "%" in line]


def test_classic_topologies_convert_and_four_times_the_steps_halve_the_error_at_least() -> None:
    """The two cheapest of nine; docs/foreign.md has all of them."""
    rows = table("classic.py", "--only", "shufflenet", "squeezenet")
    assert [row[0] for row in rows] == ["shufflenet", "squeezenet"]
    for *_, few, many, _ratio, _seconds in rows:
        assert 0 < float(many.strip("%")) <= float(few.strip("%")) / 2


CONVERTED = [
    "AvgPool1d_stride",
    "BatchNorm3d_eval",
    "Conv1d_dilated",
    "Conv2d_depthwise_with_multiplier",
    "Conv3d_groups",
    "ConvTranspose2d",
    "ELU",
    "Embedding",
    "GLU",
    "Linear",
    "MaxPool3d_stride_padding",
    "PReLU_2d_multiparam",
    "PixelShuffle",
    "ReflectionPad2d",
    "Softmax",
    "Softsign",
]


def test_models_as_pytorch_exported_them_convert_inside_a_spiking_network() -> None:
    """A sample of 82; docs/foreign.md has all of them."""
    rows = table("pytorch_converted.py", "--only", *(f"test_{name}" for name in CONVERTED))
    *models, summary = rows
    assert [row[0] for row in models] == CONVERTED
    assert all(float(row[-1].strip("%")) <= 5 for row in models)
    assert summary[0].startswith("16 of 16 convert")
