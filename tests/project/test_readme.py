"""The README's examples run, and its tables mention every command and option."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from operator_table import BEGIN, END, catalogue, updated

import onnx2snn
from onnx2snn.cli.commands import COMMANDS
from onnx2snn.graph.operators import LINEAR, NOT_TELESCOPED
from onnx2snn.prepare.activations import CONDITIONS, RULES
from onnx2snn.protos.nodes import MAX_POOLS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository's models and a converted network, as the examples find it."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "models").symlink_to(ROOT / "models")
    conversion = onnx2snn.convert(
        ROOT / "models/fashion_resnet.onnx", ROOT / "models/fashion_calibration.npz", iterations=100
    )
    conversion.save(folder / "fashion_resnet.snn.onnx")
    return folder


def run(command: list[str] | str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path},
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_first_two_blocks_install_and_are_run_by_ci() -> None:
    convert, test = blocks("sh")[:2]
    assert "pip install . && .venv/bin/onnx2snn models/fashion_resnet.onnx" in convert
    assert "pip install '.[test]' && .venv/bin/pytest" in test
    assert len(convert.splitlines()) == len(test.splitlines()) == 1


@pytest.mark.parametrize("lines", blocks("sh")[2:])
def test_shell_example_runs(lines: str, workspace: Path) -> None:
    run(f"set -e\n{lines}", workspace)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_example_runs(code: str, workspace: Path) -> None:
    run([sys.executable, "-W", "error", "-c", code], workspace)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_and_option_is_mentioned(command: str) -> None:
    assert not command or f"`onnx2snn {command} " in README
    about = README[README.index(f"`onnx2snn {command or 'MODEL'}") :]
    for action in COMMANDS[command][0]()._actions:
        for option in action.option_strings:
            if option.startswith("--") and option not in ("--help", "--output", "--version"):
                assert option in about, f"{option} of 'onnx2snn {command}' is not in the README"


def test_the_supported_operators_are_those_of_the_tables() -> None:
    """If this fails: python tools/operator_table.py README.md."""
    assert updated(README) == README
    section = README[README.index(BEGIN) : README.index(END)]
    for op in [*LINEAR, *MAX_POOLS, *RULES, *NOT_TELESCOPED]:
        assert re.search(rf"\b{op}\b", section), f"{op} is not in the README's table"
    assert set(RULES) | {"Relu"} == set(CONDITIONS)


def test_the_script_puts_the_tables_between_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    run([sys.executable, str(ROOT / "tools" / "operator_table.py"), "page.md"], tmp_path)
    assert path.read_text(encoding="utf-8") == f"before\n{BEGIN}\n{catalogue()}\n{END}\nafter\n"
