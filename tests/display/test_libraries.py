"""Without the libraries of the extra `report`, a page is refused before any work."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp

import onnx2snn
from onnx2snn import UsageError
from onnx2snn.cli.commands import main
from onnx2snn.display.libraries import require_libraries

SENTENCE = "needs jinja2 and matplotlib: run `pip install 'onnx2snn[report]'`"


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jinja2", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    np.savez(tmp_path / "x.npz", input=inputs_for("mlp", 20))
    return tmp_path


def test_installed_libraries_are_enough() -> None:
    require_libraries()


@pytest.mark.usefixtures("without_libraries")
def test_the_sentence_says_what_to_install() -> None:
    with pytest.raises(UsageError, match="a page of charts") as caught:
        require_libraries()
    assert SENTENCE in str(caught.value)


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match="needs jinja2: run"):
        require_libraries()


@pytest.mark.usefixtures("without_libraries")
def test_a_conversion_is_refused_before_it_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onnx2snn.pipeline.convert.run_conversion", pytest.fail)
    files = [str(folder / name) for name in ("mlp.onnx", "snn.onnx", "x.npz", "page.html")]
    model, output, data, page = files
    assert main([model, "-o", output, "--calibration", data, "--html", page]) == 2
    assert SENTENCE in capsys.readouterr().err
    assert not (folder / "snn.onnx").exists()
    assert not (folder / "page.html").exists()


@pytest.mark.usefixtures("without_libraries")
def test_an_evaluation_is_refused_before_it_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onnx2snn.score.evaluate.run_evaluation", pytest.fail)
    models = [str(folder / "mlp.onnx"), str(folder / "snn.onnx")]
    data, page = str(folder / "x.npz"), str(folder / "page.html")
    assert main(["eval", *models, "--data", data, "--html", page]) == 2
    assert SENTENCE in capsys.readouterr().err


@pytest.mark.usefixtures("without_libraries")
def test_the_functions_refuse_a_page_before_they_begin(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnx2snn.api.run_conversion", pytest.fail)
    monkeypatch.setattr("onnx2snn.score.evaluate.run_evaluation", pytest.fail)
    model, data, page = folder / "mlp.onnx", folder / "x.npz", folder / "page.html"
    with pytest.raises(UsageError, match=re.escape(SENTENCE)):
        onnx2snn.convert(model, data, html=page)
    with pytest.raises(UsageError, match=re.escape(SENTENCE)):
        onnx2snn.evaluate(model, model, data, html=page)


@pytest.mark.usefixtures("without_libraries")
def test_commands_without_a_page_do_without_them(folder: Path) -> None:
    model, output = str(folder / "mlp.onnx"), str(folder / "snn.onnx")
    data = str(folder / "x.npz")
    options = ["--method", "max", "--timesteps", "4", "--quiet"]
    assert main([model, "-o", output, "--calibration", data, *options]) == 0
    assert main(["eval", model, output, "--data", data, "--quiet"]) == 0
