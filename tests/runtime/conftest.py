"""The package onnx2snn-kernels, for the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.kernels import built_package

from onnx2snn.runtime.kernels import kernel_library


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_package(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def library(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the library's path, of the package that is installed for one test."""
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.delitem(sys.modules, "onnx2snn_kernels", raising=False)
    path = kernel_library()
    yield path
    sys.modules.pop("onnx2snn_kernels", None)
