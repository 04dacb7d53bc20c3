"""Models past protobuf's limit: whatever has to be serialised goes without its large weights.

A message of 2 GiB or more cannot be serialised. So shape inference, the checker and the opset converter are given a
light copy, in which large initializers are inputs, and files keep them in a second file as external data.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper

LIMIT = 2**31 - 2**20
"""Bytes a serialised model may have: protobuf's 2 GiB, less a margin."""

MAPPED = 2**24
"""Bytes from which a model is handed to onnxruntime as a file."""

HEAVY = 1024
"""Bytes from which an initializer is data only; smaller ones (shapes, axes, bounds) steer shape inference."""

ALIGNMENT = 4096
"""Of tensors in a file of external data, so that they can be mapped into memory."""


def heavy(proto: onnx.ModelProto) -> list[TensorProto]:
    """The initializers that make a model large."""
    return [t for t in proto.graph.initializer if len(t.raw_data) >= HEAVY]


def fits(proto: onnx.ModelProto) -> bool:
    """Whether a model can be serialised as one message."""
    return _estimate(proto) <= LIMIT


def byte_size(proto: onnx.ModelProto) -> int:
    """The bytes of a model with all its weights; past the limit a close estimate."""
    return int(proto.ByteSize()) if fits(proto) else _estimate(proto)


def _estimate(proto: onnx.ModelProto) -> int:
    """Less the names and dimensions of heavy weights, for which the limit leaves room; measuring would serialise."""
    return int(_without_weights(proto).ByteSize()) + sum(len(t.raw_data) for t in heavy(proto))


def serialise(proto: onnx.ModelProto) -> bytes:
    """The bytes of a model that fits, the same for the same model."""
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def digest(proto: onnx.ModelProto) -> Any:
    """A SHA-256 hash object of a model's bytes; past the limit of the light part's, then each weight's."""
    if fits(proto):
        return hashlib.sha256(serialise(proto))
    found = hashlib.sha256(serialise(_without_weights(proto)))
    for tensor in heavy(proto):
        found.update(tensor.raw_data)
    return found


def light(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which heavy initializers are inputs of their type and shape, for tools that need no values."""
    model = _without_weights(proto)
    listed = {v.name for v in model.graph.input}
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims)
        for t in heavy(proto)
        if t.name not in listed
    )
    model.ir_version = max(model.ir_version, 4)  # before, every initializer had to be an input
    return model


def restore_weights(model: onnx.ModelProto, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Put the heavy initializers of `proto` back into what a tool made of its light copy (changed)."""
    weights = heavy(proto)
    names = {t.name for t in weights}
    kept = [v for v in model.graph.input if v.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(weights)
    return model


def infer_model_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A light copy with inferred types and shapes of every tensor that can be inferred."""
    inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(light(proto), data_prop=True)
    return inferred


def write(proto: onnx.ModelProto, path: Path, data: Path, location: str) -> None:
    """Write a model that does not fit one message: its heavy initializers go to `data`, called `location` in it."""
    model = _without_weights(proto)
    with data.open("wb") as file:
        for tensor in heavy(proto):
            file.seek(-file.tell() % ALIGNMENT, 1)
            stub = model.graph.initializer.add(
                name=tensor.name, data_type=tensor.data_type, dims=tensor.dims
            )
            stub.data_location = TensorProto.EXTERNAL
            where = {"location": location, "offset": file.tell(), "length": len(tensor.raw_data)}
            for key, value in where.items():
                stub.external_data.add(key=key, value=str(value))
            file.write(tensor.raw_data)
    path.write_bytes(serialise(model))


@contextmanager
def as_argument(proto: onnx.ModelProto, *, whole: bool = False) -> Iterator[bytes | str]:
    """What onnxruntime opens a model from: its bytes, or where it is large the path of a temporary file.

    onnxruntime maps weights in a file into memory; from bytes it makes two more copies of them. `whole`: bytes as long
    as possible, for a session that writes its model, which would refer to the temporary file.
    """
    if _estimate(proto) <= (LIMIT if whole else MAPPED):
        yield serialise(proto)
        return
    # where mapped files cannot be removed (Windows), the system's own clean-up has to
    with tempfile.TemporaryDirectory(prefix="onnx2snn-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "model.onnx")
        write(proto, path, Path(folder, "model.data"), "model.data")
        yield str(path)


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    model: onnx.ModelProto = _without(proto, "graph")
    model.graph.CopyFrom(_without(proto.graph, "initializer"))
    model.graph.initializer.extend(t for t in proto.graph.initializer if len(t.raw_data) < HEAVY)
    return model


def _without(message: Any, omitted: str) -> Any:
    """A copy of a message without one of its fields."""
    copy: Message = type(message)()
    for descriptor, value in message.ListFields():
        if descriptor.name == omitted:
            continue
        target = getattr(copy, descriptor.name)
        if hasattr(target, "MergeFrom"):  # repeated fields and messages
            target.MergeFrom(value)
        else:
            setattr(copy, descriptor.name, value)
    return copy
