"""`onnx2snn eval` as a gate of a pipeline: limits, baselines, and what is left for it to keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import inputs_for, mlp

import onnx2snn
from onnx2snn.cli.commands import main
from onnx2snn.score.baseline import Baseline
from onnx2snn.score.gates import Limits, verdicts

EVAL = ["eval", "mlp.onnx", "snn.onnx", "--data", "data.npz", "--timesteps", "2,4"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an ANN, its SNN, labelled data and a baseline."""
    folder = tmp_path_factory.mktemp("gate")
    onnx.save(mlp(), folder / "mlp.onnx")
    x = inputs_for("mlp", 60)
    (logits,) = ort.InferenceSession(mlp().SerializeToString()).run(None, {"input": x})
    np.savez(folder / "data.npz", input=x, labels=logits.argmax(axis=1))
    onnx2snn.convert(mlp(), x, preset="differential").save(folder / "snn.onnx")
    result = onnx2snn.evaluate(
        folder / "mlp.onnx", folder / "snn.onnx", str(folder / "data.npz"), timesteps=[2, 4]
    )
    (folder / "base.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def there(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(pair)
    return tmp_path


def last_row(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((folder / "base.json").read_text())["snn"][-1]
    return row


def changed(folder: Path, **figures: float) -> str:
    """A baseline whose last row has other figures."""
    result = json.loads(Path("base.json").read_text())
    result["snn"][-1].update(figures)
    path = folder / "changed.json"
    path.write_text(json.dumps(result))
    return str(path)


def cases_of(file: Path) -> dict[str, bool]:
    """The test cases of a JUnit file, and whether each passed."""
    (suite,) = Xml.parse(file).getroot()
    found = {case.attrib["name"]: case.find("failure") is None for case in suite.iter("testcase")}
    assert suite.attrib["tests"] == str(len(found))
    assert suite.attrib["failures"] == str(list(found.values()).count(False))
    return found


def test_limits_of_operations_and_energy(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = last_row(Path())
    joules = row["energy_j"] + row["analog_j"]
    loose = ["--max-sops", str(row["sops"] * 1.01), "--max-energy", str(joules * 1.01)]
    assert main([*EVAL, *loose]) == 0
    assert capsys.readouterr().err.count("gate passed: an answer takes") == 2
    strict = ["--max-sops", str(row["sops"] * 0.99), "--max-energy", str(joules * 0.99)]
    assert main([*EVAL, *strict, "--quiet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "SOPs at T = 4, over --max-sops" in line
    assert "J at T = 4, over --max-energy" in line


def test_a_failed_gate_leaves_all_results_to_the_pipeline(there: Path) -> None:
    files = {name: there / f"e.{name}" for name in ("json", "junit", "html")}
    wanted = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    assert main([*EVAL, *wanted, "--quiet", "--max-sops", "1", "--max-drop", "100"]) == 1
    assert all(file.stat().st_size for file in files.values())
    assert cases_of(files["junit"]) == {
        "scores": True,
        "--max-drop 100": True,
        "--max-sops 1": False,
    }


def test_a_baseline_of_the_same_model_passes(there: Path) -> None:
    junit = there / "e.xml"
    arguments = ["--baseline", "base.json", "--baseline-drop", "0", "--junit", str(junit)]
    assert main([*EVAL, *arguments, "--quiet"]) == 0
    costs = ["--baseline-rise 5 (SOPs)", "--baseline-rise 5 (energy)"]
    assert cases_of(junit) == dict.fromkeys(["scores", "--baseline-drop 0", *costs], True)


@pytest.mark.parametrize(
    ("figure", "factor", "option"),
    [("top1", 1.02, "--baseline-drop 0.5"), ("sops", 0.9, "--baseline-rise 5")],
)
def test_worse_than_the_baseline_fails(
    figure: str, factor: float, option: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = changed(there, **{figure: last_row(Path())[figure] * factor})
    assert main([*EVAL, "--baseline", baseline, "--quiet"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"from '{baseline}' at T = 4, over {option}" in said
    much = ["--baseline-drop", "50", "--baseline-rise", "50"]
    assert main([*EVAL, "--baseline", baseline, "--quiet", *much]) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--limit", "50"], "of 60 samples, this evaluation of 50"),
        (["--metric", "agreement"], "scored by top1, this evaluation by agreement"),
        (["--timesteps", "3"], "of T = 2, 4, this evaluation of T = 3"),
        (["--sop-joules", "1e-12"], "of other prices of an operation"),
        (["--no-energy", "--max-sops", "1"], "leave --no-energy out"),
        (["--json", "base.json"], "which is --baseline"),
        (["--baseline", "nothing.json"], "'nothing.json' cannot be read"),
        (["--baseline", "mlp.onnx"], "'mlp.onnx' is no result of onnx2snn eval --json"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_work(
    more: list[str], said: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("base.json").read_bytes()
    assert main([*EVAL, "--baseline", "base.json", *more]) == 2
    stderr = capsys.readouterr().err
    assert said in stderr
    assert stderr.count("\n") == 1
    assert Path("base.json").read_bytes() == before


def test_a_margin_without_a_baseline_is_refused(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*EVAL, "--baseline-rise", "1"]) == 2
    assert "--baseline FILE.json" in capsys.readouterr().err


def test_a_baseline_of_an_error_is_held_in_percent() -> None:
    baseline = Baseline("b", "mse", 5, {4: {"score": 2.0}}, streamed=False, prices=None)
    result = {"ann": {"mse": 1.0}, "snn": [{"timesteps": 4, "mse": 2.1, "drop": 1.1}]}
    (gate,) = verdicts(result, Limits(baseline=baseline, baseline_drop=4))
    assert not gate.passed
    assert "mse rises by 5.00 percent from 'b' at T = 4" in gate.said
    (gate,) = verdicts(result, Limits(baseline=baseline, baseline_drop=6))
    assert gate.passed
