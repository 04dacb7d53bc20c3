"""`onnx2snn doctor` and `onnx2snn completion`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from onnx2snn.cli import doctor
from onnx2snn.cli.commands import COMMANDS, main
from onnx2snn.cli.completion import completion_script

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]

DEVELOPMENT = {"test", "fuzz", "dev", "docs", "bench", "peer", "train", "interop"}
"""Extras that serve only those who change the package."""


def test_versions_and_extras_are_those_of_the_project() -> None:
    assert [f"{name}>={floor}" for name, floor in doctor.FLOORS.items()] == PROJECT["dependencies"]
    extras = set(PROJECT["optional-dependencies"]) - DEVELOPMENT
    assert set(doctor.EXTRAS) == set(doctor.USES) == extras


def test_a_sound_installation_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["onnx"] == metadata.version("onnx")
    assert "CPUExecutionProvider" in found["providers"]
    assert found["problems"] == []
    assert main(["doctor"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "providers of onnxruntime: " in stderr
    assert "ORT_DISABLE_TELEMETRY" in stderr or "has none on this system" in stderr


def test_what_is_missing_or_too_old_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"numpy": "1.9.1", "onnxruntime": "1.32.0"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    monkeypatch.setitem(doctor.EXTRAS, "report", ("no_such_module",))
    assert main(["doctor"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "extra report (pages of charts (--html)): no_such_module missing: pip install" in (
        "\n".join(lines)
    )
    assert lines[-1].startswith("error: numpy 1.9.1 is older than 1.26; onnx is missing; ")


def test_the_commands_leave_no_trace_of_the_runtime(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "onnx2snn", "doctor", "--json"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert list(tmp_path.iterdir()) == []


SCRIPTS = {
    shell: completion_script(shell, {name: parser() for name, (parser, _) in COMMANDS.items()})
    for shell in ("bash", "zsh")
}

CASES = {
    "a value": ("onnx2snn model.onnx --preset lo", "low-latency"),
    "an option": ("onnx2snn eval --max-s", "--max-sops"),
    "a command": ("onnx2snn insp", "inspect"),
    "a value of another command": ("onnx2snn inspect m.onnx --coding d", "differential"),
    "an argument": ("onnx2snn completion z", "zsh"),
    "a file with a space": ("onnx2snn run a", "a b.onnx"),
}

STANDINGS = {
    "bash": """
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _onnx2snn
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
    "zsh": """
compadd() {{ shift; for word in $@; do [[ $word == $PREFIX* ]] && print -r -- $word; done }}
_files() {{ for word in $PREFIX*(N); do print -r -- $word; done }}
words=({words}); CURRENT=$#words; PREFIX=$words[-1]; _onnx2snn
""",
}
"""A word being completed; in zsh the functions of its completion are stood in for."""


@pytest.mark.parametrize("shell", STANDINGS)
@pytest.mark.parametrize("case", CASES)
def test_a_word_is_completed(shell: str, case: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "a b.onnx").touch()
    line, wanted = CASES[case]
    words = " ".join(f"'{word}'" for word in line.split())
    # zsh has this one only where its completion is on
    before = "compdef() { :; }\n"
    script = before + SCRIPTS[shell] + STANDINGS[shell].format(words=words)
    done = subprocess.run([shell, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == [wanted], done.stderr


def test_the_script_knows_every_option() -> None:
    for parser, _ in COMMANDS.values():
        for action in parser()._actions:
            for option in action.option_strings:
                assert re.search(rf"[ (]{option}[ )]", SCRIPTS["bash"])
