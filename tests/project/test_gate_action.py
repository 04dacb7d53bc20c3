"""The composite action for GitHub: its script runs, and its inputs are those of the script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import inputs_for, mlp

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "gate"
PAGE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")


def inputs() -> list[str]:
    text = (ACTION / "action.yml").read_text(encoding="utf-8")
    section = text[text.index("inputs:") : text.index("outputs:")]
    return re.findall(r"^  ([\w-]+):$", section, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    x = inputs_for("mlp", 60)
    (logits,) = ort.InferenceSession(mlp().SerializeToString()).run(None, {"input": x})
    np.savez(tmp_path / "data.npz", input=x, labels=logits.argmax(axis=1))
    np.save(tmp_path / "typical.npy", x)
    command = tmp_path / "bin" / "onnx2snn"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnx2snn "$@"\n')
    command.chmod(0o755)
    return tmp_path


def gate(folder: Path, **variables: str) -> tuple[int, str]:
    given = {"MODEL": "mlp.onnx", "DATA": "data.npz", "CALIBRATION": "typical.npy", **variables}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(ACTION / "gate.sh")],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | given,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
def test_the_script_passes_and_fails_like_the_command(folder: Path) -> None:
    options = {"CONVERT_OPTIONS": "--preset differential --quiet", "GITHUB_OUTPUT": "output"}
    code, said = gate(folder, **options, BASELINE="none.json", MAX_DROP="50", RESULTS="a b")
    assert code == 0, said
    assert "no baseline at none.json" in said
    assert (folder / "output").read_text() == "results=a b\n"
    kept = {path.name for path in (folder / "a b").iterdir()}
    assert kept == {"model.snn.onnx", "report.json"} | {
        f"scores.{ending}" for ending in ("json", "html", "xml")
    }
    code, said = gate(folder, **options, BASELINE="a b/scores.json", MAX_SOPS="1")
    assert code == 1
    assert "over --max-sops 1" in said.splitlines()[-1]
    assert "gate passed: top1" in said
    assert "<failure" in (folder / "onnx2snn-results" / "scores.xml").read_text()


def test_every_input_reaches_the_script_and_is_on_the_page() -> None:
    action = (ACTION / "action.yml").read_text(encoding="utf-8")
    script = (ACTION / "gate.sh").read_text(encoding="utf-8")
    table = PAGE[PAGE.index("| input | meaning |") :]
    for name in inputs():
        variable = name.upper().replace("-", "_")
        assert f"{variable}: ${{{{ inputs.{name} }}}}" in action
        assert variable in script or name in script
        assert f"`{name}`" in table


def test_the_example_names_inputs_that_there_are() -> None:
    example = PAGE[PAGE.index("gate@REF") : PAGE.index("upload-artifact")]
    given = re.findall(r"^          ([\w-]+):", example, re.MULTILINE)
    assert given
    assert set(given) <= set(inputs())
