"""The bytes of a model, one part after the other: no moment holds all of them.

They are those of `SerializeToString(deterministic=True)`: protobuf writes fields in the order of
their numbers, and fields of a message may be serialised one by one. So a model is what stands
before its graph, the graph, and what stands behind it; a graph is alike around its initializers,
and an initializer around its raw data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto

from onnx2snn.protos import apart
from onnx2snn.protos.storage import stored_bytes

GRAPH = 7
"""Number of a model's field `graph`."""

INITIALIZER = 5
"""Number of a graph's field `initializer`."""

RAW_DATA = 9
"""Number of a tensor's field `raw_data`."""

WHOLE = 2**16
"""Bytes up to which a tensor is serialised as one message."""


def parts(proto: onnx.ModelProto) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a model; weights that stand apart are written into it."""
    graph = proto.graph
    nodes = _serialised(graph, before=INITIALIZER)
    values = _serialised(graph, behind=INITIALIZER)
    size = len(nodes) + _initializers_size(graph) + len(values)
    yield _serialised(proto, before=GRAPH)
    yield _header(GRAPH, size)
    yield nodes
    for tensor in graph.initializer:
        frame = _framed(tensor)
        yield _header(INITIALIZER, frame.size)
        yield frame.head
        if frame.size > len(frame.head):
            yield apart.bytes_of(tensor)
            yield frame.tail
    yield values
    yield _serialised(proto, behind=GRAPH)


def size_of(proto: onnx.ModelProto) -> int:
    """Return the bytes of a model with the weights that stand apart, without making them."""
    graph = proto.graph
    around = [
        _serialised(graph, before=INITIALIZER),
        _serialised(graph, behind=INITIALIZER),
    ]
    inner = sum(map(len, around)) + _initializers_size(graph)
    outer = len(_serialised(proto, before=GRAPH)) + len(_serialised(proto, behind=GRAPH))
    return outer + len(_header(GRAPH, inner)) + inner


def _initializers_size(graph: onnx.GraphProto) -> int:
    total = 0
    for tensor in graph.initializer:
        size = _framed(tensor).size
        total += len(_header(INITIALIZER, size)) + size
    return total


@dataclass(frozen=True)
class _Frame:
    """A serialised tensor without its raw data, and its bytes with them.

    `head` is all of it where the tensor is small.
    """

    head: bytes
    tail: bytes
    size: int


def _framed(tensor: TensorProto) -> _Frame:
    length = stored_bytes(tensor) or 0
    is_apart = apart.is_apart(tensor)
    if not is_apart and (length < WHOLE or not tensor.HasField("raw_data")):
        whole = tensor.SerializeToString(deterministic=True)
        return _Frame(whole, b"", len(whole))
    head = _serialised(tensor, before=RAW_DATA) + _header(RAW_DATA, length)
    tail = b"" if is_apart else _serialised(tensor, behind=RAW_DATA)
    return _Frame(head, tail, len(head) + length + len(tail))


def _serialised(message: Any, before: int = 2**29, behind: int = 0) -> bytes:
    """Return the bytes of a message's fields whose numbers are between two others."""
    some = type(message)()
    for descriptor, value in message.ListFields():
        if not behind < descriptor.number < before:
            continue
        target = getattr(some, descriptor.name)
        if hasattr(target, "MergeFrom"):  # repeated fields and messages
            target.MergeFrom(value)
        else:
            setattr(some, descriptor.name, value)
    data: bytes = some.SerializeToString(deterministic=True)
    return data


def _header(number: int, length: int) -> bytes:
    """Return what stands before a field of bytes: its number and wire type 2, then its length."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    """Return a whole number in groups of seven bits, the lowest first."""
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)
