"""Behaviour of protos.freeing: freed memory goes back where glibc is, quietly elsewhere."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from onnx2snn.protos.freeing import give_back


def no_library(_name: Any) -> Any:
    raise OSError("none")


def windows(_name: Any) -> Any:
    raise TypeError("a name is needed")


@pytest.mark.parametrize("library", [no_library, windows, lambda _name: SimpleNamespace()])
def test_without_glibc_nothing_happens(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library)
    give_back()


def test_glibc_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    library = SimpleNamespace(malloc_trim=asked.append)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)
    give_back()
    assert asked == [0]
