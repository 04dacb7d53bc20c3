"""Behaviour of onnx2snn.data.scripts: code runs where it may, and leaves no trace behind."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp

from onnx2snn import DataError, UsageError, convert, script
from onnx2snn.cli.commands import main

OPTIONS = ["--method", "max", "--timesteps", "4", "--quiet"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a script, a helper module, a helper package, and a module in another place."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner.py").write_text("COUNT = 20\n")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "far_helper.py").write_text("")
    (tmp_path / "near_helper.py").write_text("import package.inner\nCOUNT = package.inner.COUNT\n")
    (tmp_path / "make.py").write_text(
        "import sys, numpy as np\n"
        f"sys.path.append({str(tmp_path / 'library')!r})\n"
        "import far_helper\n"
        "def make():\n"
        "    import near_helper\n"
        "    open('ran', 'a').close()\n"
        "    yield np.random.default_rng(0).normal(size=(near_helper.COUNT, 10)).astype('f')\n"
    )
    onnx.save(mlp(), tmp_path / "ann.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_script_leaves_neither_modules_nor_paths(folder: Path) -> None:
    convert(mlp(), inputs_for("mlp", 20), method="max", timesteps=4)  # loads what converting loads
    path, modules = list(sys.path), set(sys.modules)
    convert(mlp(), script(folder / "make.py:make"), method="max", timesteps=4)
    assert sys.path == path
    own = {"make", "near_helper", "far_helper", "package", "package.inner", "_onnx2snn_data_make"}
    assert not own & set(sys.modules)
    assert set(sys.modules) >= modules


def test_a_failing_script_leaves_nothing_either(folder: Path) -> None:
    (folder / "make.py").write_text("import near_helper\nraise ValueError\n")
    path = list(sys.path)
    with pytest.raises(DataError, match="raised ValueError"):
        convert(mlp(), script("make.py:make"))
    assert sys.path == path
    assert "near_helper" not in sys.modules


def test_helpers_of_the_same_name_are_each_scripts_own(folder: Path) -> None:
    other = folder / "library"
    (other / "near_helper.py").write_text("COUNT = 30\n")
    (other / "make.py").write_text((folder / "make.py").read_text())
    counts = [
        convert(mlp(), script(f"{where}/make.py:make"), method="max").report.agreement["samples"]
        for where in (folder, other)
    ]
    assert counts == [2, 3]


@pytest.mark.parametrize("source", ["make.py:make", Path("make.py:make")])
def test_a_string_runs_no_code(source: object, folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"would run code: give onnx2snn\.script\('make\.py:make'\)"
    ):
        convert(mlp(), source)
    assert not (folder / "ran").exists()


def test_the_command_line_runs_what_its_user_names(folder: Path) -> None:
    data = ["--calibration", "make.py:make"]
    assert main(["ann.onnx", "-o", "snn.onnx", *data, *OPTIONS]) == 0
    more = ["--inputs", "make.py:make", "-o", "y.npz", "--quiet"]
    assert main(["run", "snn.onnx", *more]) == 0
    (folder / "score.py").write_text("def score(outputs, labels):\n    return 1.0\n")
    scored = ["--data", "make.py:make", "--metric", "score.py:score", "--quiet"]
    assert main(["eval", "ann.onnx", "snn.onnx", *scored]) == 0
    with np.load("y.npz") as found:
        assert found["logits"].shape == (20, 3)


@pytest.mark.parametrize("text", ["make.py", "make.py:", "make:make", "data.npz"])
def test_what_is_no_script_and_function_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"it has to be script\.py:function"):
        script(text)
