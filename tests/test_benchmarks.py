"""The benchmarks that made the figures in docs/ still run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("study", "row"), [("figure3", "99 % percentile, layer-wise (robust norm), delay 0"), ("presets", "low-latency")]
)
def test_accuracy_prints_a_row_per_conversion_and_keeps_its_figures(study: str, row: str, tmp_path: Path) -> None:
    ann, test = (str(ROOT / "models" / f"fashion_{name}") for name in ("vgg.onnx", "test.npz"))
    cache, calibration = tmp_path / "cache.json", tmp_path / "calibration.npz"
    with np.load(ROOT / "models" / "fashion_calibration.npz") as data:
        np.savez(calibration, input=data["input"][:60])
    options = ["--study", study, "--only", row, "--timesteps", "1,2", "--limit", "40", "--cache", str(cache)]
    command = [sys.executable, str(ROOT / "benchmarks" / "accuracy.py"), ann, str(calibration), test, *options]
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


def test_tables_print_accuracy_and_energy_of_a_given_classifier_and_keep_its_figures(tmp_path: Path) -> None:
    ann, calibration, test, cache = (tmp_path / name for name in ("own.onnx", "some.npz", "test.npz", "cache.json"))
    ann.write_bytes((ROOT / "models" / "fashion_vgg.onnx").read_bytes())
    with np.load(ROOT / "models" / "fashion_test.npz") as data:
        np.savez(calibration, input=data["input"][100:160])
        np.savez(test, input=data["input"][:40], labels=data["labels"][:40])
    options = ["--only", "own", "--methods", "low-latency", "--timesteps", "2,4", "--cache", str(cache)]
    given = ["--model", str(ann), "--calibration", str(calibration), "--test", str(test)]
    command = [sys.executable, str(ROOT / "benchmarks" / "tables.py"), *options, *given]
    printed = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    known = json.loads(cache.read_text())
    assert len(known) == 2
    cache.write_text(json.dumps(dict(list(known.items())[1:])))
    done = subprocess.run([*command, "--only-cached"], capture_output=True, text=True)
    (partial,) = (line for line in done.stdout.splitlines() if line.startswith("| own |") and line.count("|") == 7)
    assert partial.split("|")[5].strip() == ""  # T=2 is not known
    accuracy, energy = (line for line in printed[0].splitlines() if line.startswith("| own |"))
    figures = [float(cell) for cell in accuracy.split("|")[4:-1]]  # the ANN's, then one for each T
    assert len(figures) == 3
    assert figures[0] >= figures[1] > 50
    macs = float(energy.split("|")[3].removesuffix(" M "))
    assert macs == pytest.approx(11.46, abs=0.06)  # as models/README.md tells
    frames = float(energy.split("|")[6].replace(",", ""))
    assert frames == pytest.approx(1 / (12.5e-12 * macs * 1e6), rel=0.01)


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
