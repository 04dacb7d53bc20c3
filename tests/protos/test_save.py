"""Behaviour of onnx2snn.protos.save: files are written whole or not at all."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx2snn import OutputError
from onnx2snn.protos.save import (
    atomic_path,
    atomic_write,
    check_writable,
    together,
    write_npz,
)


def test_writing_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    for content in (b"old", b"new"):
        atomic_write(target, content)
        assert target.read_bytes() == content
        assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.onnx"
    target.write_bytes(b"old")

    def fail(_: Path, data: bytes) -> int:
        raise error

    monkeypatch.setattr(Path, "write_bytes", fail)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        atomic_write(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_of_the_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "out") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_failed_rename_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path, target: Path) -> Path:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(
        OutputError, match=r"out\.onnx' cannot be written: Invalid cross-device link"
    ):
        atomic_write(tmp_path / "out.onnx", b"new")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_file_gets_an_ordinary_files_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "out.onnx", b"x")
        assert os.umask(0o027) == 0o027  # asking for it did not change it
    finally:
        os.umask(before)
    assert (tmp_path / "out.onnx").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing/out", "no folder"),
        ("folder", "is a folder"),
        ("file/out", "no folder"),
        (".", "folder"),
    ],
)
def test_places_that_cannot_be_written_to_are_refused_early(
    name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for write in (check_writable, lambda path: atomic_write(path, b"")):
        with pytest.raises(OutputError, match=said):
            write(tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="permission bits do not stop root"
)
def test_a_folder_without_permission_is_refused_early(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            check_writable(tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("key", ["logits", "a/b:0", "file", "allow_pickle", "ünïcode"])
def test_arrays_keep_their_names(key: str, tmp_path: Path) -> None:
    value: Any = np.arange(6.0).reshape(2, 3)
    write_npz(tmp_path / "y", {key: value})  # the name given is the name written
    assert [path.name for path in tmp_path.iterdir()] == ["y"]
    with np.load(tmp_path / "y") as file:
        assert np.array_equal(file[key], value)


NAMES = ("out.onnx", "report.json", "page.html")


def test_results_appear_together_or_the_old_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES[:2]:
        (tmp_path / name).write_bytes(b"old")
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if target.name == NAMES[2]:
            raise OSError(5, "Input/output error")
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"page\.html"):
        patch.setattr(Path, "replace", fails)
        _write_all(tmp_path, b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        NAMES[:2], b"old"
    )
    _write_all(tmp_path, b"new")
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"new"}


@pytest.mark.skipif(sys.platform == "win32", reason="no such lock")
def test_two_that_write_to_the_same_places_mix_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def slowly(self: Path, target: Path) -> Path:
        time.sleep(0.001)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", slowly)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            list(pool.map(partial(_write_all, tmp_path), [b"a", b"b", b"c", b"d"]))
            assert len({(tmp_path / name).read_bytes() for name in NAMES}) == 1
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    names = ["a" * 255, "\u00e9" * 127]
    with together() as results:
        for name in names:
            results.write(tmp_path / name, b"x")
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def _write_all(folder: Path, data: bytes) -> None:
    with together() as results:
        for name in NAMES:
            results.write(folder / name, data)
