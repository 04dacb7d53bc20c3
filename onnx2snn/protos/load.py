"""Loading of ONNX models: read, checked, with external data inside, as onnxruntime runs them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from onnx2snn.aliases import ModelSource
from onnx2snn.errors import ModelFileError, one_line
from onnx2snn.protos import large
from onnx2snn.protos.external import is_external, read_external
from onnx2snn.protos.float32 import in_float32
from onnx2snn.protos.footprint import check_footprint
from onnx2snn.protos.freeing import uncollected
from onnx2snn.protos.loops import check_loops
from onnx2snn.protos.opset import runnable
from onnx2snn.protos.reading import read_whole
from onnx2snn.protos.spelling import make_dense, shorten_domain
from onnx2snn.protos.validity import check_structure, name_nodes_apart
from onnx2snn.protos.walk import tensors


@dataclass(frozen=True)
class LoadedModel:
    """A model as onnxruntime runs it, checked and with all data inside, and where it came from.

    `proto` is the model as it came, but for sparse constants (`protos.spelling`), an opset older
    than 7 (`protos.opset`) and layers in another float type than float32 (`protos.float32`).
    """

    proto: onnx.ModelProto
    name: str
    sha256: str
    """Hash of the model file's bytes, followed by its external data where it has any."""
    size: int
    """Bytes of the model, external data included."""
    unbatched: tuple[str, ...] = ()
    """Inputs and outputs to which an axis of one sample was added (`protos.unbatched`)."""


@dataclass
class _Given:
    """A model as it was given.

    `folder` is where its external data lies, None where nothing tells.
    """

    proto: onnx.ModelProto
    name: str
    folder: Path | None
    digest: hashlib._Hash
    size: int


@uncollected()
def load_model(source: ModelSource) -> LoadedModel:
    """Read and check an ONNX model given as a path, as bytes or as a ModelProto.

    Raises:
        ModelFileError: For anything that is not a whole, valid ONNX model.
        UnsupportedGraphError: For an opset before 7 that cannot be raised.
    """
    given = _given_model(source)
    if not given.proto.graph.node:
        raise ModelFileError(
            f"'{given.name}' holds no ONNX graph; give the path of an exported .onnx model"
        )
    # before any library looks at it
    check_structure(given.proto, given.name)
    _load_external_data(given)
    shorten_domain(given.proto)
    _check_valid(given)
    check_loops(given.proto, given.name)
    check_footprint(given.proto, given.name)
    name_nodes_apart(given.proto)
    make_dense(given.proto, given.name)
    proto = in_float32(runnable(given.proto))
    if proto is not given.proto:
        # ONNX's converter of opsets drops them
        del proto.metadata_props[:]
        proto.metadata_props.extend(given.proto.metadata_props)
    return LoadedModel(proto, given.name, given.digest.hexdigest(), given.size)


def _given_model(source: ModelSource) -> _Given:
    """Read a model without its external data."""
    if isinstance(source, onnx.ModelProto):
        proto = onnx.ModelProto()
        proto.CopyFrom(source)
        name = source.graph.name or "model"
        if any(map(is_external, tensors(proto))):
            raise _unplaced(name)
        return _Given(proto, name, None, large.digest(source), large.byte_size(source))
    if isinstance(source, bytes):
        return _parsed_model(source, "model bytes", None)
    path = Path(source)
    return _parsed_model(_read(path), str(path), path.parent)


def _parsed_model(data: bytes, name: str, folder: Path | None) -> _Given:
    """Return the model that some bytes hold."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelFileError(
            f"'{name}' is not an ONNX model, or it is truncated; export it again"
        ) from error
    return _Given(proto, name, folder, hashlib.sha256(data), len(data))


def _read(path: Path) -> bytes:
    """Return the bytes of a model's file."""
    try:
        if path.is_dir():
            raise ModelFileError(
                f"'{path}' is a folder, not a model; give the path of an .onnx file"
            )
        return read_whole(path)
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model at '{path}'; check the path") from error
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelFileError(f"'{path}' is no path: {error}") from error


def _load_external_data(given: _Given) -> None:
    """Read a model's external data into it, and count and hash them."""
    external = [tensor for tensor in tensors(given.proto) if is_external(tensor)]
    if external and given.folder is None:
        raise _unplaced(given.name)
    for tensor in external:
        assert given.folder is not None
        data = read_external(tensor, given.folder, given.name)
        # another file of weights makes another model
        given.digest.update(data)
        given.size += len(data)


def _check_valid(given: _Given) -> None:
    """Refuse a model that ONNX's checker refuses.

    The checker copies the model it is given, and weights tell it nothing: it gets the light copy.
    """
    try:
        onnx.checker.check_model(large.light(given.proto))
    except onnx.checker.ValidationError as error:
        raise ModelFileError(
            f"'{given.name}' is not a valid ONNX model: {one_line(error)}"
        ) from error


def _unplaced(name: str) -> ModelFileError:
    """Return the error of a model whose external data lie nowhere."""
    return ModelFileError(
        f"'{name}' has external data, and nothing tells where; give the path of its file"
    )
