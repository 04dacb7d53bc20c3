"""What is installed with the package, and at which versions."""

from __future__ import annotations

import bare_install
import lowest
import pytest


def test_the_package_pulls_five_libraries_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {"onnx2snn": bare_install.ALLOWED, "rich": {"pygments"}, "pygments": {"rich"}}
    monkeypatch.setattr(bare_install, "needs", lambda name: needed.get(name, set()))
    installed = [*bare_install.ALLOWED, "pygments", "pip", "onnx2snn"]
    assert bare_install.complaints(installed) == []
    assert "['torch'] are installed" in bare_install.complaints([*installed, "torch"])[0]
    needed["onnx2snn"] = {*bare_install.ALLOWED, "scipy"}
    assert "onnx2snn requires" in bare_install.complaints(installed)[0]


def test_the_five_are_those_of_the_project() -> None:
    floors = lowest.lowest([])
    assert {line.partition("==")[0] for line in floors} == bare_install.ALLOWED


def test_the_lowest_versions_are_exact_and_leave_the_package_out() -> None:
    floors = lowest.lowest(["images", "test"])
    assert "pillow==10" in floors
    assert all("==" in line and "onnx2snn[" not in line for line in floors)
