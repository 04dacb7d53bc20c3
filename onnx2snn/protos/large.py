"""Large models: their weights are kept out of every message that is serialised.

A message of 2 GiB or more cannot be serialised, and one of less takes its size again. So shape
inference, the checker and the opset converter are given a light copy, in which heavy initializers
are inputs, and files over the limit keep these in a second file as external data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import onnx
from onnx import TensorProto, helper

from onnx2snn.errors import ModelFileError, one_line, out_of_memory
from onnx2snn.protos import apart, wire
from onnx2snn.protos.storage import stored_bytes
from onnx2snn.protos.temporary import listed, room_wanted, temporary_folder

LIMIT = 2**31 - 2**20
"""Bytes a serialised model may have: protobuf's 2 GiB, less a margin."""

MAPPED = 2**24
"""Bytes from which a model is handed to onnxruntime as a file."""

HEAVY = 1024
"""Bytes from which an initializer is heavy: data only.

Smaller ones (shapes, axes, bounds) steer shape inference.
"""

ALIGNMENT = 4096
"""Bytes at whose multiples tensors start in a file, so that they can be mapped into memory."""

INITIALIZERS_APART = 4
"""The IR version from which on an initializer need not be an input, too."""

Copied = TypeVar("Copied", onnx.ModelProto, onnx.GraphProto)


def heavy(proto: onnx.ModelProto) -> list[TensorProto]:
    """Return the initializers that make a model large."""
    return [tensor for tensor in proto.graph.initializer if _is_heavy(tensor)]


def _is_heavy(tensor: TensorProto) -> bool:
    if apart.is_apart(tensor):
        return True
    # a look at raw data copies them
    return tensor.HasField("raw_data") and (stored_bytes(tensor) or 0) >= HEAVY


def fits(proto: onnx.ModelProto) -> bool:
    """Return whether a model can be serialised as one message."""
    return _estimate(proto) <= LIMIT


def byte_size(proto: onnx.ModelProto) -> int:
    """Return the bytes of a model with all its weights; past the limit a close estimate."""
    if fits(proto):
        return wire.size_of(proto)
    return _estimate(proto)


def _estimate(proto: onnx.ModelProto) -> int:
    """Return the bytes of a model, less the names and dimensions of heavy weights.

    The limit leaves room for these. Measuring the whole model would serialise it.
    """
    weights = sum(stored_bytes(tensor) or 0 for tensor in heavy(proto))
    rest = without_weights(proto) if weights else proto
    return int(rest.ByteSize()) + weights


def serialise(proto: onnx.ModelProto) -> bytes:
    """Return the bytes of a model that fits, the same for the same model."""
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def digest(proto: onnx.ModelProto) -> hashlib._Hash:
    """Return the SHA-256 hash of a model's bytes.

    Past the limit it is that of the bytes without heavy initializers, and then of each of these.
    """
    if fits(proto):
        whole = hashlib.sha256()
        for part in wire.parts(proto):
            whole.update(part)
        return whole
    found = hashlib.sha256(serialise(without_weights(proto)))
    for tensor in heavy(proto):
        found.update(apart.bytes_of(tensor))
    return found


def set_apart(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large initializers stand apart (`protos.apart`)."""
    model = _without_initializers(proto)
    model.graph.initializer.extend(map(apart.put_tensor_apart, proto.graph.initializer))
    return model


def whole(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that holds the weights that stand apart; the model itself if none does."""
    if apart.folder_of(proto) is None:
        return proto
    model = _without_initializers(proto)
    for tensor in proto.graph.initializer:
        if not apart.is_apart(tensor):
            model.graph.initializer.append(tensor)
            continue
        held = model.graph.initializer.add(
            name=tensor.name, data_type=tensor.data_type, dims=tensor.dims
        )
        held.raw_data = bytes(apart.bytes_of(tensor))
        apart.let_go()
    return model


def light(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which heavy initializers are inputs, for tools that need no values."""
    model = without_weights(proto)
    listed = {value.name for value in model.graph.input}
    all_small = len(model.graph.initializer) == len(proto.graph.initializer)
    for tensor in [] if all_small else heavy(proto):
        if tensor.name not in listed:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(value)
    # before, the initializers that stayed would have to be inputs, too
    model.ir_version = max(model.ir_version, INITIALIZERS_APART)
    return model


def restore_weights(model: onnx.ModelProto, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Put the heavy initializers of `proto` back into the result of a tool on its light copy.

    `model`, the result, is changed and returned.
    """
    weights = heavy(proto)
    # the light copy had them as inputs
    names = {tensor.name for tensor in weights}
    kept = [value for value in model.graph.input if value.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(weights)
    return model


def infer_model_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a light copy with the types and shapes of every tensor that ONNX can infer.

    Raises:
        ModelFileError: The types of the model contradict each other.
    """
    return inferred_light(light(proto))


def inferred_light(model: onnx.ModelProto, *, values: bool = True) -> onnx.ModelProto:
    """Return a light copy with what ONNX can infer; ModelFileError as `infer_model_shapes`.

    `values`: follow the values of small tensors, too, of which shapes are made.
    """
    try:
        inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(model, data_prop=values)
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError(one_line(error)) from error
        raise ModelFileError(
            f"no types and shapes can be inferred in the model ({one_line(error)}); export it again"
        ) from error
    return inferred


def write(proto: onnx.ModelProto, path: Path, data: Path, location: str) -> None:
    """Write a model that does not fit one message as two files.

    Args:
        proto: The model.
        path: The file of the model without its heavy initializers.
        data: The file of these.
        location: Name that the model refers to `data` by, relative to its own folder.
    """
    model = without_weights(proto)
    with data.open("wb") as file:
        for tensor in heavy(proto):
            _write_tensor(tensor, file, model.graph, location)
    path.write_bytes(serialise(model))


def _write_tensor(
    tensor: TensorProto, file: BinaryIO, graph: onnx.GraphProto, location: str
) -> None:
    """Append a tensor's values to a file, and to a graph the initializer that refers to them."""
    padding = -file.tell() % ALIGNMENT
    file.seek(padding, os.SEEK_CUR)  # leaves a hole, which takes no room on the disk
    data = memoryview(apart.bytes_of(tensor))
    stub = graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    apart.refer(stub, apart.Reference(location, file.tell(), data.nbytes))
    file.write(data)


@contextmanager
def as_argument(proto: onnx.ModelProto, *, whole: bool = False) -> Iterator[bytes | str]:
    """Yield the argument that onnxruntime opens a model from.

    That is the model's bytes, or where it is large the path of a temporary file: onnxruntime maps
    weights in a file into memory; from bytes it makes two more copies of them.

    `whole`: bytes as long as possible, for a session that writes its model, which would refer to
    the temporary file.
    """
    folder = apart.folder_of(proto)
    if folder is not None:
        # onnxruntime finds weights beside the model's file alone
        with listed(apart.new_model(folder)) as path:
            with room_wanted():
                path.write_bytes(serialise(proto))
            apart.let_go()
            yield str(path)
        return
    most = LIMIT if whole else MAPPED
    if _estimate(proto) <= most:
        yield serialise(proto)
        return
    # where mapped files cannot be removed (Windows), the system's own clean-up has to
    with temporary_folder() as folder:
        path = folder / "model.onnx"
        data = folder / "model.data"
        with room_wanted():
            write(proto, path, data, data.name)
        yield str(path)


def without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without its heavy initializers, which are never copied on the way."""
    model = _without_initializers(proto)
    small = [tensor for tensor in proto.graph.initializer if not _is_heavy(tensor)]
    model.graph.initializer.extend(small)
    return model


def _without_initializers(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without initializers."""
    model = _without_field(proto, "graph")
    model.graph.CopyFrom(_without_field(proto.graph, "initializer"))
    return model


def _without_field(message: Copied, omitted: str) -> Copied:
    """Return a copy of a message without one of its fields."""
    copy = type(message)()
    for descriptor, value in message.ListFields():
        if descriptor.name == omitted:
            continue
        target = getattr(copy, descriptor.name)
        if hasattr(target, "MergeFrom"):  # repeated fields and messages
            target.MergeFrom(value)
        else:
            setattr(copy, descriptor.name, value)
    return copy
