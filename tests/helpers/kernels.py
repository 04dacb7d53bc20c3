"""The package onnx2snn-kernels, built for the tests where there is a C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kernels.onnx2snn_kernels import FLAGS, SOURCE


def built_package(folder: Path) -> Path:
    """Return a folder to import onnx2snn_kernels from, library and all; skip without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler for onnx2snn-kernels")
    package = folder / "onnx2snn_kernels"
    package.mkdir()
    shutil.copy(SOURCE.with_name("__init__.py"), package)
    made = ["-shared", "-fPIC", str(SOURCE), "-o", str(package / "_chain.so"), "-lm"]
    subprocess.run([compiler, *FLAGS, *made], check=True)
    return folder
