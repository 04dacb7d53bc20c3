"""The benchmarks that made the figures in docs/ still run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def printed_twice(command: list[str]) -> str:
    """What a script prints, the same from its cache as afresh."""
    printed = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    return printed[0]


@pytest.mark.parametrize(
    ("study", "row", "kept"),
    [
        ("figure3", "99 % percentile, layer-wise (robust norm), delay 0", 4),
        ("presets", "low-latency", 2),
        ("table3", "MMSE + LCP", 2),
    ],
)
def test_accuracy_prints_a_row_per_conversion_and_keeps_its_figures(
    study: str, row: str, kept: int, tmp_path: Path
) -> None:
    """Those of delay half too, where nothing is fitted to a delay."""
    ann, test = (str(ROOT / "models" / f"fashion_{name}") for name in ("vgg.onnx", "test.npz"))
    cache, calibration = tmp_path / "cache.json", tmp_path / "calibration.npz"
    with np.load(ROOT / "models" / "fashion_calibration.npz") as data:
        np.savez(calibration, input=data["input"][:60])
    options = [
        "--study",
        study,
        "--only",
        row,
        "--timesteps",
        "1,2",
        "--limit",
        "40",
        "--cache",
        str(cache),
    ]
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "accuracy.py"),
        ann,
        str(calibration),
        test,
        *options,
    ]
    printed = printed_twice(command)
    last = printed.splitlines()[-2]
    assert last.startswith(f"| {row} |")
    assert last.count("|") == 4
    assert len(json.loads(cache.read_text())) == kept


def test_tables_print_accuracy_and_energy_of_a_given_classifier_and_keep_its_figures(
    tmp_path: Path,
) -> None:
    ann, calibration, test, cache = (
        tmp_path / name for name in ("own.onnx", "some.npz", "test.npz", "cache.json")
    )
    ann.write_bytes((ROOT / "models" / "fashion_vgg.onnx").read_bytes())
    with np.load(ROOT / "models" / "fashion_test.npz") as data:
        np.savez(calibration, input=data["input"][100:160])
        np.savez(test, input=data["input"][:40], labels=data["labels"][:40])
    options = [
        "--only",
        "own",
        "--methods",
        "low-latency",
        "--timesteps",
        "2,4",
        "--cache",
        str(cache),
    ]
    given = ["--model", str(ann), "--calibration", str(calibration), "--test", str(test)]
    command = [sys.executable, str(ROOT / "benchmarks" / "tables.py"), *options, *given]
    printed = printed_twice(command)
    known = json.loads(cache.read_text())
    assert len(known) == 2
    cache.write_text(json.dumps(dict(list(known.items())[1:])))
    done = subprocess.run([*command, "--only-cached"], capture_output=True, text=True)
    (partial,) = (
        line
        for line in done.stdout.splitlines()
        if line.startswith("| own |") and line.count("|") == 7
    )
    assert partial.split("|")[5].strip() == ""  # T=2 is not known
    accuracy, energy = (line for line in printed.splitlines() if line.startswith("| own |"))
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
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if "%" in line
    ]


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


def test_speed_times_every_way_to_run_and_keeps_the_figures_of_earlier_runs(tmp_path: Path) -> None:
    kept = tmp_path / "figures.json"
    options = [
        "--networks",
        "fashion_vgg",
        "--threads",
        "1",
        "--rounds",
        "1",
        "--timesteps",
        "2",
        "--json",
        str(kept),
    ]
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "speed.py"),
        *options,
        "--no-spikingjelly",
        "--only",
        "time",
    ]
    for batch in ("2", "1"):
        done = subprocess.run([*command, "--batch", batch], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    head, _, one, two = done.stdout.splitlines()[:4]
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns[:4] == ["network", "batch", "T", "ANN, ms a sample"]
    assert columns[4:8] == ["stepped", "batched", "auto", "rollout"]
    for batch, line in (("1", one), ("2", two)):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:3] == ["fashion_vgg", batch, "2"]
        figures = json.loads(kept.read_text())["time"][f"fashion_vgg|{batch}|2"]["figures"]
        ann = min(figure["median"] for name, figure in figures.items() if name.startswith("ANN"))
        assert cells[3].startswith(f"{1000 * ann:.3f} (")
        for name, cell in zip(columns[4:8], cells[4:8], strict=True):
            assert cell.startswith(f"{figures[name]['median'] / ann:.2f} (")


def event(name: str, start: int, taken: int, op: str = "") -> dict[str, object]:
    """An entry of onnxruntime's profile."""
    node = {"cat": "Node", "args": {"op_name": op}} if op else {"cat": "Session"}
    return {"name": name, "ts": start, "dur": taken, **node}


def test_profiles_give_each_operator_its_own_time_and_a_scan_what_its_operators_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from profile_ops import self_times, table

    events = [
        event("scan_kernel_time", 20, 50, "Scan"),
        event("model_run", 0, 100),
        event("inner_kernel_time", 25, 10, "Add"),
        event("inner_kernel_time", 40, 10, "Add"),
        event("conv_kernel_time", 5, 15, "Conv"),
        event("model_run", 200, 30),
        event("conv_kernel_time", 210, 15, "Conv"),
    ]
    first, second = self_times(events)
    assert first == {"Conv": 15, "Scan": 30, "Scan / Add": 20, "between operators": 35}
    assert second == {"Conv": 15, "between operators": 15}
    lines = table({"ANN": dict(second), "SNN": dict(first)}, least=16)
    assert lines[2:4] == [
        "| Conv | 15.0 (50 %) | 15.0 (15 %) |",
        "| between operators | 15.0 (50 %) | 35.0 (35 %) |",
    ]
    assert "| Scan / Add |  | 20.0 (20 %) |" in lines
    assert lines[-2:] == ["| all others |  |  |", "| **all** | **30.0** | **100.0** |"]


def test_speed_tables_relate_memory_to_the_ann_and_spikingjelly_to_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from speed_tables import advantage, memory_table

    peaks = {"auto": {"8": 190e6, "32": 230e6}}
    assert (
        memory_table({"net": {"ann": 150e6, "states": 9e6, "peaks": peaks}})[-1]
        == "| net | 150.0 | 9.0 | +40.0 | +80.0 |"
    )
    medians = {"auto": 2.0, "SpikingJelly, single-step": 9.0, "SpikingJelly, multi-step": 7.0}
    assert advantage({name: {"median": median} for name, median in medians.items()}) == 3.5
    assert advantage({"auto": {"median": 2.0}}) is None


def test_the_table_of_answers_relates_a_whole_run_to_the_fastest_ann(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from answer import table

    seconds = {"ANN, one batch": 2e-3, "ANN, side by side": 1e-3, "auto": 3e-3}
    figures = {name: {"median": s, "low": s, "high": 2 * s} for name, s in seconds.items()}
    about = {"timesteps": 1, "ann": 0.9, "snn": 0.895}
    cells = {
        "net|differential|": about,
        "net|differential|32": {**about, "figures": figures, "others": 0.0},
        "net|paper|": {"tried": 128},
    }
    assert table(cells)[2:] == [
        "| net | differential | 32 | 90.00 | 1 | 89.50 | 1.000 | 3.00 (3.00 to 6.00) | 0.00 |",
        "| net | paper |  |  | none up to 128 |  |  |  |  |",
    ]


def test_resnet18_of_the_benchmarks_is_a_valid_model_of_the_known_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import onnx
    from resnet18 import resnet18

    model = resnet18()
    onnx.checker.check_model(model, full_check=True)
    weights = sum(
        np.prod(t.dims)
        for t in model.graph.initializer
        if ".bn.mean" not in t.name and ".bn.var" not in t.name
    )
    assert weights == 11_689_512  # torchvision's count of parameters
