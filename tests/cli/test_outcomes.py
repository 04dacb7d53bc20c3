"""Outcomes of commands: what is kept when something late fails, exit codes, and machine output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp

import onnx2snn
from onnx2snn.cli import commands
from onnx2snn.cli.commands import COMMANDS, main
from onnx2snn.cli.machine import json_text

MOST = ["--method", "max", "--timesteps", "4", "--quiet"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and its data, in which the test runs."""
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    np.save(tmp_path / "x.npy", inputs_for("mlp", 20))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(*more: str) -> int:
    return main(["mlp.onnx", "-o", "out.onnx", "--calibration", "x.npy", *MOST, *more])


LATE = [
    ["--report", "/dev/full"],
    ["--save-thresholds", "/dev/full"],
    ["--html", "/dev/full"],
]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("more", LATE)
def test_a_result_on_a_full_disk_leaves_no_other(
    more: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(*more) == 2
    said = capsys.readouterr().err
    assert said == "error: '/dev/full' cannot be written: No space left on device\n"
    assert not (folder / "out.onnx").exists()


@pytest.mark.parametrize("error", [onnx2snn.UsageError("no"), RuntimeError("no"), MemoryError()])
def test_a_page_that_fails_leaves_model_and_report(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("onnx2snn.display.build.present_conversion", fail)
    assert convert("--html", "p.html", "--report", "r.json") != 0
    assert (folder / "out.onnx").exists()
    assert (folder / "r.json").exists()
    assert not (folder / "p.html").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_late_error_hands_the_conversion_over() -> None:
    with pytest.raises(onnx2snn.OutputError) as caught:
        onnx2snn.convert(mlp(), inputs_for("mlp", 20), method="max", save_thresholds="/dev/full")
    assert isinstance(caught.value.result, onnx2snn.Conversion)


def test_a_layer_no_page_can_show_is_refused_before_the_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    assert convert("--html", "p.html", "--html-site", "no") == 2
    assert not (folder / "out.onnx").exists()
    assert convert() == 0
    data = ["eval", "mlp.onnx", "out.onnx", "--data", "x.npy", "--quiet"]
    assert main([*data, "--html", "p.html", "--html-site", "no", "--json", "e.json"]) == 2
    assert not (folder / "e.json").exists()
    with pytest.raises(onnx2snn.UsageError, match="no neuron site 'no'"):
        onnx2snn.evaluate(
            "mlp.onnx",
            "out.onnx",
            "x.npy",
            html="p.html",
            html_site="no",
            progress=lambda *_: calls.append("worked"),
        )
    assert not calls


def test_several_results_may_go_to_one_device(folder: Path) -> None:
    assert convert("--report", os.devnull, "--html", os.devnull) == 0


@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("debug", [True, False])
def test_an_unexpected_exception_is_one_sentence(
    command: str,
    debug: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    arguments = {
        "": "mlp.onnx -o out.onnx",
        "run": "run out.onnx --inputs x.npy -o y.npz",
        "eval": "eval mlp.onnx out.onnx --data x.npy",
        "inspect": "inspect mlp.onnx",
        "export": "export out.onnx --to rollout -o r.onnx",
        "doctor": "doctor",
        "completion": "completion bash",
    }
    monkeypatch.setitem(commands.COMMANDS, command, (COMMANDS[command][0], fail))
    more = ["--debug"] if debug else []
    assert main([*arguments[command].split(), *more]) == 70
    said = capsys.readouterr().err
    assert "error: unexpected ZeroDivisionError (first line); please report it" in said
    assert ("Traceback" in said) is debug
    assert "second line" not in said or debug


def test_lack_of_memory_is_told_as_such(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (MemoryError(), RuntimeError("Failed to allocate memory for requested buffer")):

        def fail(_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setitem(commands.COMMANDS, "inspect", (COMMANDS["inspect"][0], fail))
        assert main(["inspect", "mlp.onnx"]) == 2
        assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": float("inf")}, {"a": None}),
        ([1.5, float("nan"), {"b": (float("-inf"), 2)}], [1.5, None, {"b": [None, 2]}]),
        ({"a": np.float64("nan"), "b": None, "c": "NaN"}, {"a": None, "b": None, "c": "NaN"}),
    ],
)
def test_json_holds_null_for_what_it_cannot_hold(value: object, text: object) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    assert json.loads(json_text(value), parse_constant=refuse) == text


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash; `$O` is the command."""
    own = {**os.environ, "O": f"{sys.executable} -m onnx2snn"}
    # a parallel run of the tests sets the width of a terminal
    own.pop("COLUMNS", None)
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=own, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(os.name != "posix", reason="for shells")
@pytest.mark.parametrize(
    "line",
    [
        "$O inspect mlp.onnx --json | true; echo ${PIPESTATUS[0]} >code",
        "{ $O inspect mlp.onnx; echo $? >code; } 2>&1 | true",
        "$O --help | true; echo ${PIPESTATUS[0]} >code",
    ],
)
def test_a_closed_pipe_ends_quietly(line: str, folder: Path) -> None:
    done = shell(line, folder)
    assert done.stderr == ""
    assert (folder / "code").read_text().strip() in ("141", "0")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_stdout_is_one_sentence(folder: Path) -> None:
    done = shell("$O inspect mlp.onnx --json > /dev/full", folder)
    assert done.returncode == 2
    assert done.stderr == "error: stdout cannot be written: No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="for shells")
def test_a_model_can_be_sent_through_a_pipe(folder: Path) -> None:
    line = f"$O mlp.onnx -o /dev/stdout --calibration x.npy {' '.join(MOST)} | cat > piped.onnx"
    assert shell(line, folder).returncode == 0
    onnx2snn.SpikingSession(folder / "piped.onnx")


@pytest.mark.skipif(os.name != "posix", reason="for shells")
@pytest.mark.parametrize("command", ["inspect mlp.onnx", "mlp.onnx -o out.onnx --timesteps 4"])
def test_tables_in_a_pipe_are_not_wrapped(command: str, folder: Path) -> None:
    model = mlp()
    for node in model.graph.node:
        node.name = f"{node.name}/{'name' * 60}"
    onnx.save(model, folder / "mlp.onnx")
    said = shell(f"$O {command}", folder).stderr
    for node in model.graph.node:
        if node.op_type == "Relu":
            assert node.name in said
