"""Saving of files, whole or not at all: a result appears under its name once it is complete.

Pipes and devices are not replaced: the complete result is sent to them (`protos.destination`).
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.errors import OutputError
from onnx2snn.protos import large, wire
from onnx2snn.protos.destination import Destination, destination
from onnx2snn.protos.temporary import listed

ORDINARY_MODE = 0o666
"""Permissions of a new file, of which the system takes the process's umask away."""


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Refuse early a path that `atomic_write` would refuse after minutes of work (OutputError)."""
    return destination(path).path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file that takes the place of `path` when all went well.

    Otherwise it is removed. A link stays and the file behind it is replaced; a pipe or a device is
    sent the content.

    Raises:
        OutputError: Where the file cannot be written.
    """
    target = destination(path)
    with blaming(target.path), _temporary(target) as temporary:
        yield temporary
        if target.direct:
            target.send(temporary)
        else:
            temporary.replace(target.file)


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn an error of the system while `path` is written into an OutputError that names it."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}") from error


@contextmanager
def _temporary(target: Destination) -> Iterator[Path]:
    """Yield an empty file on the same disk as the target, with the mode it will have."""
    folder = Path(tempfile.gettempdir()) if target.direct else target.file.parent
    path = folder / f".{target.file.name}.{secrets.token_hex(4)}"
    # made without tempfile, whose files are private whatever the umask says
    with listed(path):
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, ORDINARY_MODE)
        os.close(handle)
        if not target.direct and target.file.exists():
            path.chmod(stat.S_IMODE(target.file.stat().st_mode))
        yield path


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all (OutputError)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def discard(paths: Iterable[str | os.PathLike[str] | None]) -> None:
    """Remove results of an earlier run, so that none of them stands beside one of this run.

    Only ordinary files are: pipes, devices and what is not there yet stay (OutputError).
    """
    for path in paths:
        if path is None:
            continue
        target = destination(path)
        if not target.direct:
            with blaming(target.path):
                target.file.unlink(missing_ok=True)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays as .npz, whole or not at all (OutputError)."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in arrays.items():
            if value.dtype.hasobject:
                value = value.astype(str)
            # np.savez, which has parameters like `file`, cannot write arrays of these names
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, value, allow_pickle=False)


def save_model(
    path: str | os.PathLike[str],
    proto: onnx.ModelProto,
    older: Iterable[str | os.PathLike[str] | None] = (),
) -> None:
    """Write a model whole or not at all (OutputError).

    Past protobuf's 2 GiB its weights go to a second file, `PATH.data`.

    Args:
        path: The model's file.
        proto: The model.
        older: Results that an earlier run may have left beside it, which are removed once the new
            model is written and before it takes the old one's place.
    """
    if large.fits(proto):
        with atomic_path(path) as temporary:
            with temporary.open("wb") as file:
                for part in wire.parts(proto):
                    file.write(part)
            discard(older)
        return
    target = destination(path)
    if target.direct:
        raise OutputError(
            f"'{target.path}' cannot be written: the model is over 2 GiB and needs a second file; "
            "name an ordinary file"
        )
    _save_in_two(target, proto, older)


def _save_in_two(
    target: Destination, proto: onnx.ModelProto, older: Iterable[str | os.PathLike[str] | None]
) -> None:
    """Write a model and its weights; no moment pairs an old model with new weights.

    The old model leaves first, then the weights are replaced, then the new model comes: whoever
    looks in between, or after a crash, finds the old pair, no model, or the new pair.
    """
    beside = destination(target.file.with_name(f"{target.file.name}.data"))
    with blaming(target.path), _temporary(target) as model, _temporary(beside) as data:
        large.write(proto, model, data, beside.path.name)
        discard(older)
        old = model.with_name(f"{model.name}.old")
        with suppress(FileNotFoundError):
            target.file.rename(old)
        try:
            data.replace(beside.file)
        except OSError:
            with suppress(FileNotFoundError):
                old.rename(target.file)  # its weights are still there
            raise
        try:
            model.replace(target.file)
        finally:
            old.unlink(missing_ok=True)
