"""Files in and out: model bytes, external data, input and output specs, the atomic save."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError

from onnx2snn.errors import ModelFileError, OutputError
from onnx2snn.protos import large
from onnx2snn.protos.float32 import in_float32
from onnx2snn.protos.opset import runnable
from onnx2snn.protos.specs import Dim, TensorSpec
from onnx2snn.protos.walk import tensors

METADATA_KEY = "onnx2snn"
ROLLOUT_KEY = "onnx2snn_rollout"
"""The `metadata_props` key under which an emitted model holds its description."""

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto


@dataclass(frozen=True)
class LoadedModel:
    """A model as onnxruntime runs it, checked and with all data inside, and where it came from.

    `proto` is the model as it came, but for an opset older than 7 (`protos.opset`) and for layers in another float type than
    float32 (`protos.float32`).
    """

    proto: onnx.ModelProto
    name: str
    sha256: str
    """Hash of the model file's bytes, followed by its external data where it has any."""
    size: int
    """Bytes of the model, external data included."""


def load_model(source: ModelSource) -> LoadedModel:
    """Read and check an ONNX model given as a path, as bytes or as a ModelProto.

    Raises ModelFileError for anything that is not a whole, valid ONNX model, UnsupportedGraphError for an opset before
    7 that cannot be raised.
    """
    if isinstance(source, onnx.ModelProto):
        proto, name, folder = onnx.ModelProto(), source.graph.name or "model", None
        proto.CopyFrom(source)
        size, digest = large.byte_size(source), large.digest(source)
    else:
        data, name, folder = _read(source)
        proto, size, digest = _parse(data, name), len(data), hashlib.sha256(data)
    if not proto.graph.node:
        raise ModelFileError(f"'{name}' holds no ONNX graph; give the path of an exported .onnx model")
    external = [t for t in tensors(proto) if onnx.external_data_helper.uses_external_data(t)]
    if external and folder is None:
        raise ModelFileError(f"'{name}' has external data, and nothing tells where; give the path of its file")
    if folder is not None:
        try:
            onnx.load_external_data_for_model(proto, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ModelFileError(f"the external data of '{name}' cannot be read: {one_line(error)}") from error
    for tensor in external:
        digest.update(tensor.raw_data)
        size += len(tensor.raw_data)
    try:
        onnx.checker.check_model(large.light(proto))  # the checker copies what it is given, and weights tell it nothing
    except onnx.checker.ValidationError as error:
        raise ModelFileError(f"'{name}' is not a valid ONNX model: {one_line(error)}") from error
    return LoadedModel(in_float32(runnable(proto)), name, digest.hexdigest(), size)


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelFileError(f"'{name}' is not an ONNX model, or it is truncated; export it again") from error
    return proto


def _read(source: str | os.PathLike[str] | bytes) -> tuple[bytes, str, Path | None]:
    if isinstance(source, bytes):
        return source, "model bytes", None
    path = Path(source)
    if path.is_dir():
        raise ModelFileError(f"'{path}' is a folder, not a model; give the path of an .onnx file")
    try:
        return path.read_bytes(), str(path), path.parent
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model at '{path}'; check the path") from error
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read: {error.strerror}") from error


def one_line(error: object) -> str:
    """The first non-empty line of an error's message, for a one-sentence report."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def input_specs(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The inputs a caller has to give: those without an initializer."""
    given = {t.name for t in proto.graph.initializer} | {t.values.name for t in proto.graph.sparse_initializer}
    return tuple(_specs(v for v in proto.graph.input if v.name not in given))


def output_specs(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The outputs of a model."""
    return tuple(_specs(proto.graph.output))


def _specs(values: Iterable[onnx.ValueInfoProto]) -> Iterator[TensorSpec]:
    for value in values:
        if value.type.WhichOneof("value") != "tensor_type":
            raise ModelFileError(f"'{value.name}' is not a tensor; only tensor inputs and outputs can be converted")
        tensor = value.type.tensor_type
        shape = tuple(_dim(d) for d in tensor.shape.dim) if tensor.HasField("shape") else None
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        yield TensorSpec(value.name, dtype, shape)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return str(dim.dim_param) or None


def metadata_of(proto: onnx.ModelProto, key: str = METADATA_KEY) -> str | None:
    """The JSON that marks a model as emitted by this tool, or with `ROLLOUT_KEY` as a rollout of one, or None."""
    return next((p.value for p in proto.metadata_props if p.key == key), None)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Refuse early what `atomic_write` would refuse after minutes of work (OutputError)."""
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"'{target}' is a folder; name the file to write")
    if not target.parent.is_dir():
        raise OutputError(f"'{target}' cannot be written: there is no folder '{target.parent}'; create it first")
    if not os.access(target.parent, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
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
        temporary.chmod(0o666 & ~umask)  # mkstemp makes it private; a result gets an ordinary file's mode
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
