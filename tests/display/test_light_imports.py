"""What draws or formats loads neither models nor terminals."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("onnx", "onnxruntime", "rich", "onnx_graphsurgeon")
LIBRARIES = ("jinja2", "matplotlib")
DRAWING = (
    "axes",
    "charts",
    "diagrams",
    "layout",
    "model_sections",
    "page",
    "page_data",
    "pictures",
    "row_charts",
    "score_sections",
    "svg",
)


def loaded(module: str, names: tuple[str, ...]) -> str:
    """Which of the names a fresh process has loaded after it imported a module of the room."""
    script = f"import sys, onnx2snn.display.{module}\n"
    script += f"print(*(name for name in {names!r} if name in sys.modules))"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", [*DRAWING, "numbers"])
def test_what_draws_or_formats_loads_no_model_library(module: str) -> None:
    assert loaded(module, HEAVY) == ""


def test_drawing_leaves_the_state_of_pyplot_alone() -> None:
    assert loaded("page", ("matplotlib.pyplot",)) == ""


@pytest.mark.parametrize("module", ["libraries", "numbers", "tables", "terminal"])
def test_what_every_command_needs_loads_no_drawing_library(module: str) -> None:
    assert loaded(module, LIBRARIES) == ""
