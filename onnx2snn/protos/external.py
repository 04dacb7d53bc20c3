"""External data: read from inside the model's folder alone, and refused if not whole.

The names come from the model, so they are not trusted, whatever version of onnx is installed:

* a relative path without `..`, every part of which is opened by itself and is no symbolic link;
* a regular file with a single name (a second hard link may be a file of somebody else's);
* offset and length inside the file, and as many bytes as the tensor's type and shape ask for.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from onnx2snn.errors import ModelFileError
from onnx2snn.protos.reading import read_whole
from onnx2snn.protos.storage import stored_bytes
from onnx2snn.protos.walk import tensors

MOST_CHARACTERS = 4096
"""Characters of a location; Linux takes no longer path."""

FOLLOW_NOTHING = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)
"""A pipe in the place of a file is looked at, not waited for."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor's bytes lie; `length` is None for the rest of the file."""

    location: str
    offset: int
    length: int | None


def is_external(tensor: TensorProto) -> bool:
    """Return whether a tensor's values lie in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def locations(path: str) -> list[str]:
    """Return the files that external data name, of a model or of a single tensor (.pb).

    There are none where it cannot be read.
    """
    read = onnx.TensorProto() if path.lower().endswith(".pb") else onnx.ModelProto()
    try:
        read.ParseFromString(read_whole(Path(path)))
    except (OSError, ValueError, DecodeError):
        return []
    held = [read] if isinstance(read, TensorProto) else tensors(read)
    named = [entry for tensor in held for entry in tensor.external_data]
    # a text that is not UTF-8 is bytes
    texts = [entry.value for entry in named if entry.key == "location"]
    return [text for text in dict.fromkeys(texts) if isinstance(text, str)]


def read_external(tensor: TensorProto, folder: Path, model: str) -> bytes:
    """Read the values of a tensor into it, and return them.

    Args:
        tensor: The tensor, which holds its values afterwards.
        folder: The folder of the model's file.
        model: The model's name, for errors.

    Raises:
        ModelFileError: The file is outside the folder, missing or not whole.
    """
    try:
        place = _place(tensor)
        data = _bytes_at(place, folder, stored_bytes(tensor))
    except ValueError as error:
        raise ModelFileError(f"the external data of '{model}' cannot be read: {error}") from error
    except OSError as error:
        said = f"'{place.location}': {error.strerror or error}"
        raise ModelFileError(f"the external data of '{model}' cannot be read: {said}") from error
    tensor.raw_data = data
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]
    return data


def _place(tensor: TensorProto) -> _Place:
    """Return where a tensor's bytes lie (ValueError: that makes no sense)."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    if not location:
        raise ValueError(f"tensor '{tensor.name}' names no file")
    length = said.get("length")
    return _Place(
        location,
        _whole_number(said.get("offset", "0"), f"the offset of tensor '{tensor.name}'"),
        None if length is None else _whole_number(length, f"the length of tensor '{tensor.name}'"),
    )


def _whole_number(text: str, what: str) -> int:
    # as many digits as 64 bits have: longer ones are no offsets
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"{what} is '{text[:40]}', no number of bytes")
    return int(text)


def _bytes_at(place: _Place, folder: Path, wanted: int | None) -> bytes:
    """Return the bytes at a place, as many as `wanted` (None: as many as there are)."""
    handle = _open_inside(folder, place.location)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"'{place.location}' is no ordinary file")
        if status.st_nlink > 1:
            raise ValueError(f"'{place.location}' has several hard links; copy it")
        rest = status.st_size - place.offset
        length = rest if place.length is None else place.length
        if wanted is not None and place.length is None:
            length = wanted
        if wanted is not None and length != wanted:
            raise ValueError(
                f"'{place.location}' gives {length} bytes where the tensor takes {wanted}"
            )
        if length < 0 or length > rest:
            raise ValueError(
                f"'{place.location}' has {status.st_size} bytes, and {length} at {place.offset} "
                "are asked for"
            )
        file.seek(place.offset)
        return file.read(length)


def _open_inside(folder: Path, location: str) -> int:
    """Return a descriptor of a file inside a folder, reached without any symbolic link."""
    shown = location[:80]
    if "\0" in location or len(location) > MOST_CHARACTERS:
        raise ValueError(f"'{shown}' is no path")
    path = Path(location)
    if path.is_absolute() or path.drive or ".." in path.parts or not path.parts:
        raise ValueError(f"'{shown}' leads out of the model's folder")
    if not FOLLOW_NOTHING or os.open not in os.supports_dir_fd:
        return _open_resolved(folder, path)
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in path.parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | FOLLOW_NOTHING, dir_fd=here)
            os.close(here)
            here = inner
        flags = os.O_RDONLY | FOLLOW_NOTHING | WITHOUT_WAITING
        return os.open(path.parts[-1], flags, dir_fd=here)
    finally:
        os.close(here)


def _open_resolved(folder: Path, path: Path) -> int:
    """Return a descriptor of the file where the system cannot open it part by part (Windows)."""
    file = folder / path
    if file.resolve() != folder.resolve() / path:
        raise ValueError(f"'{path}' is reached by a link")
    return os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
