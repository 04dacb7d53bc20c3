"""Modules that only compute load nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = (
    "aliases",
    "score.metrics",
    "score.class_metrics",
    "score.closeness",
    "score.intervals",
    "score.results",
)
HEAVY = ("onnx", "onnxruntime", "rich", "onnx_graphsurgeon")


@pytest.mark.parametrize("module", MODULES)
def test_computing_modules_load_nothing_heavy(module: str) -> None:
    script = (
        f"import sys, onnx2snn.{module}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
