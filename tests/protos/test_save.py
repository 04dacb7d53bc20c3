"""Behaviour of onnx2snn.protos.save: files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx2snn import OutputError
from onnx2snn.protos.save import atomic_path, atomic_write, check_writable, write_npz


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
