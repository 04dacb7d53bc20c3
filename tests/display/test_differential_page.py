"""Pages and tables about models of differential coding say nothing that holds of rates alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.architectures import attention, inputs_of

from onnx2snn.cli.commands import main

ONLY_OF_RATES = ("mean over time", "elescop", "delay_auto", "of -1", "on shortcuts", "Thresholds")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conversion and an evaluation on the command line, each with a page."""
    folder = tmp_path_factory.mktemp("pages")
    onnx.save(attention(), folder / "ann.onnx")
    labels = np.zeros(20, np.int64)
    np.savez(folder / "data.npz", input=inputs_of(attention(), 20), labels=labels)
    ann, snn, data = (str(folder / name) for name in ("ann.onnx", "snn.onnx", "data.npz"))
    options = ["--preset", "differential", "--calibration", data]
    page = ["--html", str(folder / "conversion.html")]
    assert main([ann, "-o", snn, *options, *page]) == 0
    page = ["--html", str(folder / "evaluation.html")]
    assert main(["eval", ann, snn, "--data", data, "--timesteps", "2,4", *page]) == 0
    return folder


@pytest.mark.parametrize("name", ["conversion", "evaluation"])
def test_a_page_speaks_of_estimates(folder: Path, name: str) -> None:
    page = (folder / f"{name}.html").read_text(encoding="utf-8")
    for words in ONLY_OF_RATES:
        assert words not in page
    assert "Readout, of the current estimates" in page
    assert "Smallest spike λ of each layer" in page
    assert "energy at both pairs of constants" in page
    assert "most octaves" in page


def test_the_tables_name_coding_and_drives(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ann, data = (str(folder / name) for name in ("ann.onnx", "data.npz"))
    options = ["--preset", "differential", "--timesteps", "2", "--calibration", data]
    assert main([ann, "-o", str(folder / "again.onnx"), *options]) == 0
    report = capsys.readouterr().err
    assert "differential" in report
    words = " ".join(report.replace("│", " ").split())
    assert "10 of 11 weighted operators are spiking, 1 encoder, 0 analog" in words
    for wrong in ("delay", "elescop", "pools moved", "θ"):
        assert wrong not in report
    assert main(["inspect", str(folder / "again.onnx")]) == 0
    described = capsys.readouterr().err
    assert "coding: differential, at most" in described
    assert "delay" not in described
