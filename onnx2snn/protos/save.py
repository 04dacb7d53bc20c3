"""TODO."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from onnx2snn.errors import OutputError
from onnx2snn.protos import large


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Refuse early what `atomic_write` would refuse after minutes of work (OutputError)."""
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"'{target}' is a folder; name the file to write")
    if not target.parent.is_dir():
        raise OutputError(
            f"'{target}' cannot be written: there is no folder '{target.parent}'; create it first"
        )
    if not os.access(target.parent, os.W_OK) or (
        target.exists() and not os.access(target, os.W_OK)
    ):
        raise OutputError(f"'{target}' cannot be written: permission denied; choose another place")
    return target


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside `path` that takes its place when all went well, and is removed otherwise."""
    target = check_writable(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"'{target}' cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(
            0o666 & ~umask
        )  # mkstemp makes it private; a result gets an ordinary file's mode
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"'{target}' cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as .npz, whole or not at all (OutputError)."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in arrays.items():  # np.savez has names of its own, like `file`
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, value, allow_pickle=False)


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all (OutputError)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def save_model(path: str | os.PathLike[str], proto: onnx.ModelProto) -> None:
    """Write a model whole or not at all (OutputError); past protobuf's 2 GiB its weights go to `PATH.data`."""
    if large.fits(proto):
        atomic_write(path, large.serialise(proto))
        return
    beside = Path(path).with_name(f"{Path(path).name}.data")
    with atomic_path(path) as model, atomic_path(beside) as data:
        large.write(proto, model, data, beside.name)
