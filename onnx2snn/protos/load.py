"""Files in and out: model bytes, external data, input and output specs, the atomic save."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from onnx2snn.aliases import ModelSource
from onnx2snn.errors import ModelFileError, one_line
from onnx2snn.protos import large
from onnx2snn.protos.float32 import in_float32
from onnx2snn.protos.opset import runnable
from onnx2snn.protos.walk import tensors


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
        raise ModelFileError(
            f"'{name}' holds no ONNX graph; give the path of an exported .onnx model"
        )
    external = [t for t in tensors(proto) if onnx.external_data_helper.uses_external_data(t)]
    if external and folder is None:
        raise ModelFileError(
            f"'{name}' has external data, and nothing tells where; give the path of its file"
        )
    if folder is not None:
        try:
            onnx.load_external_data_for_model(proto, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ModelFileError(
                f"the external data of '{name}' cannot be read: {one_line(error)}"
            ) from error
    for tensor in external:
        digest.update(tensor.raw_data)
        size += len(tensor.raw_data)
    try:
        onnx.checker.check_model(
            large.light(proto)
        )  # the checker copies what it is given, and weights tell it nothing
    except onnx.checker.ValidationError as error:
        raise ModelFileError(f"'{name}' is not a valid ONNX model: {one_line(error)}") from error
    return LoadedModel(in_float32(runnable(proto)), name, digest.hexdigest(), size)


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelFileError(
            f"'{name}' is not an ONNX model, or it is truncated; export it again"
        ) from error
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
