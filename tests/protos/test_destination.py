"""Behaviour of onnx2snn.protos.destination: what may be replaced, and what is only written to."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from onnx2snn import OutputError
from onnx2snn.protos import destination as module
from onnx2snn.protos.destination import destination, is_replaced
from onnx2snn.protos.save import atomic_write, check_writable

pytestmark = pytest.mark.skipif(os.name != "posix", reason="devices, pipes and links are POSIX")


def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real = tmp_path / "far" / "real"
    real.write_bytes(b"old")
    (tmp_path / "middle").symlink_to("far/real")
    (tmp_path / "link").symlink_to(tmp_path / "middle")
    atomic_write(tmp_path / "link", b"new")
    assert real.read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert [path.name for path in real.parent.iterdir()] == ["real"]


def test_a_link_to_nothing_yet_makes_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    atomic_write(tmp_path / "link", b"x")
    assert (tmp_path / "new").read_bytes() == b"x"
    assert (tmp_path / "link").is_symlink()


def test_links_in_a_circle_and_into_no_folder_are_refused_early(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "lost").symlink_to("missing/file")
    for name in ("a", "lost"):
        with pytest.raises(OutputError, match=f"{name}' cannot be written"):
            check_writable(tmp_path / name)
        assert (tmp_path / name).is_symlink()


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    atomic_write(pipe, b"x" * 200_000)  # more than a pipe holds
    reader.join()
    assert found == [b"x" * 200_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_that_nobody_reads_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="pipe' cannot be written: nobody reads this pipe"):
        atomic_write(tmp_path / "pipe", b"x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        pytest.skip("making a device takes root")
    atomic_write(null, b"x")
    assert stat.S_ISCHR(null.stat().st_mode)
    assert not is_replaced(null)
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_device_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="'/dev/full' cannot be written: No space left"):
        atomic_write("/dev/full", b"x")


def test_a_descriptor_goes_on_where_it_stands(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb", buffering=0) as file:
        file.write(b"before ")
        atomic_write(f"/dev/fd/{file.fileno()}", b"result ")
        file.write(b"after")
    assert log.read_bytes() == b"before result after"


def test_a_closed_descriptor_is_refused_early() -> None:
    with pytest.raises(OutputError, match="'/dev/fd/987' cannot be written: Bad file descriptor"):
        check_writable("/dev/fd/987")


def test_a_socket_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")
        with pytest.raises(OutputError, match="'s' is a socket"):
            check_writable("s")


def test_an_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "private"
    target.write_bytes(b"old")
    target.chmod(0o600)
    atomic_write(target, b"new")
    assert target.stat().st_mode & 0o777 == 0o600
    assert destination(target).file == target
