"""A disk of 1 MB, really mounted: what does not fit is told, and leaves nothing on it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.networks import Builder, inputs_for, mlp

from onnx2snn import convert
from onnx2snn.cli.commands import main
from onnx2snn.protos import large

WIDE = 600
"""Neurons of a layer whose weights do not fit on the disk."""

SIZE = 2**20

pytestmark = pytest.mark.filterwarnings("ignore:agreement with the ANN")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux"):
        pytest.skip("no tmpfs here")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two networks and data; it is the working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    onnx.save(mlp(), folder / "net.onnx")
    onnx.save(wide(), folder / "wide.onnx")
    np.save(folder / "x.npy", inputs_for("mlp", 20))
    np.save(folder / "many.npy", inputs_for("mlp", 400))
    monkeypatch.chdir(folder)
    return folder


def wide() -> onnx.ModelProto:
    """Return a network of 2.9 MB, whose answer for a sample takes 2.4 KB."""
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, WIDE))
    x = b.node("Relu", b.gemm(x, WIDE, WIDE))
    b.name_output(b.gemm(x, WIDE, WIDE), "logits")
    return b.model({"logits": ["batch", WIDE]})


CONVERSION = ["--calibration", "x.npy", "--timesteps", "2", "--method", "max", "--quiet"]

TOO_LARGE = {
    "OUT": ["wide.onnx", "-o", "{disk}/out.onnx", *CONVERSION],
    "OUT over an earlier one": ["wide.onnx", "-o", "{disk}/old", *CONVERSION],
    "the step graph": ["export", "wide_snn.onnx", "--to", "step", "-o", "{disk}/s.onnx"],
    "a rollout": ["export", "wide_snn.onnx", "--to", "rollout", "-o", "{disk}/r.onnx"],
    "the answers": ["run", "wide_snn.onnx", "--inputs", "many.npy", "-o", "{disk}/a.npz"],
}
"""Commands whose result takes more than the disk has."""


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_result_that_does_not_fit_on_the_disk_leaves_it_as_it_was(
    name: str, disk: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "wide_snn.onnx" in TOO_LARGE[name]:
        made = convert(wide(), inputs_for("mlp", 20), method="max", timesteps=2)
        (work / "wide_snn.onnx").write_bytes(made.to_bytes())
    (disk / "old").write_bytes(b"an earlier run")
    (disk / "others").write_bytes(b"x" * (SIZE // 4))
    capsys.readouterr()
    words = [word.format(disk=disk) for word in TOO_LARGE[name]]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1, said
    assert "No space left on device" in said
    assert sorted(path.name for path in disk.iterdir()) == ["old", "others"]
    assert (disk / "old").read_bytes() == b"an earlier run"


def test_external_data_that_do_not_fit_leave_no_model_without_weights(
    disk: Path, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(large, "LIMIT", 2**19)
    assert main(["wide.onnx", "-o", str(disk / "out.onnx"), *CONVERSION]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("option", ["--report", "--save-thresholds"])
def test_another_result_on_a_full_disk_leaves_no_model(
    option: str, disk: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (disk / "others").write_bytes(b"x" * SIZE)
    other = disk / "other.npz"
    words = ["net.onnx", "-o", "out.onnx", *CONVERSION, option, str(other)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1, said
    assert [path.name for path in disk.iterdir()] == ["others"]
    assert not Path("out.onnx").exists()


@pytest.mark.parametrize("network", ["net.onnx", "wide.onnx"])
def test_a_full_folder_for_temporary_files_is_told(
    network: str, disk: Path, work: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    if network == "net.onnx":
        (disk / "others").write_bytes(b"x" * SIZE)
    before = list(disk.iterdir())
    assert main([network, "-o", "out.onnx", *CONVERSION]) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1, said
    assert "set TMPDIR" in said
    assert list(disk.iterdir()) == before
    assert not Path("out.onnx").exists()
