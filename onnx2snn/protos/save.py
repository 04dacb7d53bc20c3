"""Saving of files, whole or not at all: a result appears under its name once it is complete."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.errors import OutputError
from onnx2snn.protos import large

ORDINARY_MODE = 0o666
"""Permissions of a new file, before the process's umask takes some away."""


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Refuse early a path that `atomic_write` would refuse after minutes of work (OutputError)."""
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise OutputError(f"'{target}' is a folder; name the file to write")
    if not folder.is_dir():
        raise OutputError(
            f"'{target}' cannot be written: there is no folder '{folder}'; create it first"
        )
    folder_allows = os.access(folder, os.W_OK)
    file_allows = not target.exists() or os.access(target, os.W_OK)
    if not (folder_allows and file_allows):
        raise OutputError(f"'{target}' cannot be written: permission denied; choose another place")
    return target


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside `path` that takes its place when all went well.

    Otherwise it is removed.

    Raises:
        OutputError: Where the file cannot be written.
    """
    target = check_writable(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"'{target}' cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        _make_ordinary(temporary)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"'{target}' cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _make_ordinary(path: Path) -> None:
    """Give a file the permissions of an ordinary one: mkstemp makes it private."""
    umask = os.umask(0)  # the only way to read it is to set it
    os.umask(umask)
    path.chmod(ORDINARY_MODE & ~umask)


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all (OutputError)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays as .npz, whole or not at all (OutputError)."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in arrays.items():
            # np.savez, which has parameters like `file`, cannot write arrays of these names
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, value, allow_pickle=False)


def save_model(path: str | os.PathLike[str], proto: onnx.ModelProto) -> None:
    """Write a model whole or not at all (OutputError).

    Past protobuf's 2 GiB its weights go to a second file, `PATH.data`.
    """
    if large.fits(proto):
        atomic_write(path, large.serialise(proto))
        return
    target = Path(path)
    beside = target.with_name(f"{target.name}.data")
    with atomic_path(target) as model, atomic_path(beside) as data:
        large.write(proto, model, data, beside.name)
