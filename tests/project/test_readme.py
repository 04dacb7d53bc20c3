"""The examples of the README and of the documentation run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import onnx2snn

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def examples(language: str) -> list[object]:
    """Return each block of a language once, named by its first page.

    The README's first two `sh` blocks are CI's.
    """
    seen: dict[str, str] = {}
    for page in PAGES:
        for number, block in enumerate(blocks(page, language), 1):
            if not (page == "README.md" and language == "sh" and number <= 2):
                seen.setdefault(block, f"{page}-{number}")
    return [pytest.param(block, id=name) for block, name in seen.items()]


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
    convert, test = blocks("README.md", "sh")[:2]
    assert "pip install . && .venv/bin/onnx2snn models/fashion_resnet.onnx" in convert
    assert "pip install '.[test]' && .venv/bin/pytest" in test
    assert len(convert.splitlines()) == len(test.splitlines()) == 1


@pytest.mark.parametrize("lines", examples("sh"))
def test_shell_example_runs(lines: str, workspace: Path) -> None:
    run(f"set -e\n{lines}", workspace)


@pytest.mark.parametrize("code", examples("python"))
def test_python_example_runs(code: str, workspace: Path) -> None:
    run([sys.executable, "-W", "error", "-c", code], workspace)
