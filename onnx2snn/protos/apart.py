"""Weights apart: large constants of a conversion stand in files, and models refer to them.

A conversion makes some twenty models of the same weights. Inside `weights_apart` a constant of
`APART` bytes is written to a file once. Models hold references to it, which are ONNX's external
data; graphs hold arrays that map the file; onnxruntime maps it, too. So no stage copies the
weights, and what is mapped takes memory only where it is being read.

Files go at the end of the `with`; a model that is to outlive it has to be made whole before
(`large.whole`).
"""

from __future__ import annotations

import math
import mmap
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos import temporary

APART = 2**18
"""Bytes from which a constant stands in a file."""

_numbers = count()
"""Of files, so that none has the name of another."""


@dataclass(frozen=True)
class Reference:
    """Where the values of a constant stand; `file` is a name in the shelf's folder."""

    file: str
    offset: int
    length: int


@dataclass
class _Shelf:
    """The files of one `weights_apart`, in the folder of the outermost one."""

    folder: Path
    files: list[str] = field(default_factory=list)

    def new_file(self) -> Path:
        """Return the path of a new file, which goes with the shelf."""
        name = f"{next(_numbers)}.data"
        self.files.append(name)
        _folders[name] = self.folder
        return self.folder / name

    def clear(self) -> None:
        """Remove the files; arrays that map one are ordinary arrays from now on."""
        gone = set(self.files)
        for key, (place, _) in list(_known.items()):
            if place.file in gone:
                _known.pop(key, None)
        for name in self.files:
            del _folders[name]
            with suppress(OSError):  # where mapped files cannot be removed, the folder's end is due
                (self.folder / name).unlink(missing_ok=True)


_shelf: ContextVar[_Shelf | None] = ContextVar("shelf", default=None)

_known: dict[int, tuple[Reference, mmap.mmap]] = {}
"""Arrays that map a file, by identity."""

_folders: dict[str, Path] = {}
"""Where files are, by name: a thread of a conversion knows its models alone."""


@contextmanager
def weights_apart() -> Iterator[None]:
    """Keep large constants in files meanwhile; the files that are made inside go at the end."""
    outer = _shelf.get()
    folder = temporary.made_folder() if outer is None else outer.folder
    shelf = _Shelf(folder)
    token = _shelf.set(shelf)
    try:
        yield
    finally:
        _shelf.reset(token)
        shelf.clear()
        if outer is None:
            temporary.remove(folder)


def new_file() -> Path | None:
    """Return the path of a new file for weights, or None where they are not kept apart."""
    shelf = _shelf.get()
    return None if shelf is None else shelf.new_file()


def folder_of(proto: onnx.ModelProto) -> Path | None:
    """Return the folder of the files that a model refers to, or None where it holds its weights."""
    for tensor in proto.graph.initializer:
        if is_apart(tensor):
            return _folders[reference_of(tensor).file]
    return None


def new_model(folder: Path) -> Path:
    """Return the path of a new file for a model that refers to files in a folder."""
    return folder / f"{next(_numbers)}.onnx"


def is_apart(tensor: TensorProto) -> bool:
    """Return whether a tensor of a model refers to a file of ours: no other is left in models."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def is_known(tensor: TensorProto) -> bool:
    """Return whether the file that a tensor refers to is one of a conversion at work."""
    return reference_of(tensor).file in _folders


def reference_of(tensor: TensorProto) -> Reference:
    """Return where the values of a tensor stand that refers to a file."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    return Reference(said["location"], int(said.get("offset", "0")), int(said["length"]))


def refer(tensor: TensorProto, place: Reference) -> None:
    """Let a tensor without values refer to a file."""
    tensor.data_location = TensorProto.EXTERNAL
    said = {"location": place.file, "offset": place.offset, "length": place.length}
    for key, value in said.items():
        tensor.external_data.add(key=key, value=str(value))


def put_apart(values: Array) -> Array:
    """Return a large array as one that maps a file; others, or outside of a conversion, as is."""
    shelf = _shelf.get()
    ordinary = values.dtype.kind in "fiu" and values.nbytes >= APART
    if shelf is None or not ordinary or reference(values) is not None:
        return values
    place = _written(shelf, np.ascontiguousarray(values).data.cast("B"))
    return _mapped(shelf.folder, place, values.dtype, values.shape)


def put_tensor_apart(tensor: TensorProto) -> TensorProto:
    """Return a large tensor as one that refers to a file; others as they are."""
    shelf = _shelf.get()
    size = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * math.prod(tensor.dims)
    if shelf is None or size < APART or not tensor.HasField("raw_data"):
        return tensor
    made = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    refer(made, _written(shelf, memoryview(tensor.raw_data)))
    return made


def _written(shelf: _Shelf, data: memoryview) -> Reference:
    """Write some bytes to a file of their own (OutputError)."""
    path = shelf.new_file()
    with temporary.room_wanted(), path.open("wb") as file:
        file.write(data)
    return Reference(path.name, 0, data.nbytes)


def reference(values: Array) -> Reference | None:
    """Return the place of an array that maps a file of this conversion, or None for any other."""
    known = _known.get(id(values))
    return None if known is None else known[0]


def values_of(tensor: TensorProto) -> Array:
    """Return the values of a tensor; of one that refers to a file they are mapped, not read."""
    if not is_apart(tensor):
        return numpy_helper.to_array(tensor)
    place = reference_of(tensor)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return _mapped(_folders[place.file], place, dtype, tuple(tensor.dims))


def bytes_of(tensor: TensorProto) -> bytes | memoryview:
    """Return the raw bytes of a tensor, mapped where it refers to a file."""
    if not is_apart(tensor):
        raw: bytes = tensor.raw_data
        return raw
    return values_of(tensor).reshape(-1).view(np.uint8).data


def _mapped(
    where: Path, place: Reference, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> Array:
    """Return an array, read-only, that maps part of a file."""
    with (where / place.file).open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    flat = np.frombuffer(mapping, dtype, math.prod(shape), place.offset)
    values = flat.reshape(shape)
    key = id(values)
    _known[key] = place, mapping
    weakref.finalize(values, _known.pop, key, None).atexit = False
    return values


def let_go() -> None:
    """Let the system take back what was read of mapped files; it is read again when needed."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None:
        return
    for _, mapping in list(_known.values()):
        mapping.madvise(advice)
