"""Storage of tensors in protobuf: element types, the field that holds values, and how many bytes.

A tensor is sound if its type is one that ONNX knows, no size is negative, its values stand in one
place alone (raw bytes, or the one typed field of its type), and there are as many as its shape
says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx import TensorProto

STRING = 8
"""The element type of texts, which have no fixed size."""

BITS = {
    1: 32,  # float
    2: 8,  # uint8
    3: 8,  # int8
    4: 16,  # uint16
    5: 16,  # int16
    6: 32,  # int32
    7: 64,  # int64
    9: 8,  # bool
    10: 16,  # float16
    11: 64,  # double
    12: 32,  # uint32
    13: 64,  # uint64
    14: 64,  # complex64
    15: 128,  # complex128
    16: 16,  # bfloat16
    17: 8,  # float8e4m3fn
    18: 8,  # float8e4m3fnuz
    19: 8,  # float8e5m2
    20: 8,  # float8e5m2fnuz
    21: 4,  # uint4
    22: 4,  # int4
    23: 4,  # float4e2m1
    24: 8,  # float8e8m0
    25: 2,  # uint2
    26: 2,  # int2
}
"""Bits of an element, by ONNX's number of the type."""

TYPES = frozenset([STRING, *BITS])
"""All element types that ONNX knows."""

LARGEST = 2**62
"""Bytes that no tensor has."""

MOST_AXES = 32
"""Axes that an array has at most, by the oldest NumPy that is supported."""


@dataclass(frozen=True)
class _Field:
    """The typed field of a type; `each` is its entries an element."""

    name: str
    each: int = 1


FIELDS = {
    1: _Field("float_data"),
    7: _Field("int64_data"),
    STRING: _Field("string_data"),
    11: _Field("double_data"),
    12: _Field("uint64_data"),
    13: _Field("uint64_data"),
    14: _Field("float_data", 2),
    15: _Field("double_data", 2),
}
"""The typed fields of types whose values do not stand in int32_data."""

TYPED = ("float_data", "int32_data", "int64_data", "uint64_data", "double_data", "string_data")


def elements(tensor: TensorProto) -> int:
    """Return how many elements a tensor has by its shape."""
    return math.prod(tensor.dims)


def stored_bytes(tensor: TensorProto) -> int | None:
    """Return how many raw bytes a tensor takes, or None where that is not known (texts)."""
    bits = BITS.get(tensor.data_type)
    if bits is None:
        return None
    return -(-elements(tensor) * bits // 8)


def fault(tensor: TensorProto) -> str | None:
    """Return why a tensor whose values are inside the model is not sound, or None where it is."""
    if tensor.data_type not in TYPES:
        return f"has element type {tensor.data_type}, which ONNX does not know"
    if len(tensor.dims) > MOST_AXES:
        return f"has {len(tensor.dims)} axes, more than arrays have"
    if any(size < 0 for size in tensor.dims):
        return f"has shape {list(tensor.dims)}"
    wanted = stored_bytes(tensor)
    if wanted is not None and wanted > LARGEST:
        return f"has shape {list(tensor.dims)}, more than any memory holds"
    if tensor.data_location == TensorProto.EXTERNAL:
        return None  # it is checked when it is read
    return _fault_of_values(tensor, wanted)


def _fault_of_values(tensor: TensorProto, wanted: int | None) -> str | None:
    """Return why the values that a tensor holds do not fit its type and shape."""
    filled = [name for name in TYPED if len(getattr(tensor, name))]
    has_raw = len(tensor.raw_data) > 0
    if has_raw and filled:
        return f"holds values twice, as raw data and in {filled[0]}"
    if has_raw:
        if wanted is None:
            return "holds texts as raw data"
        if len(tensor.raw_data) != wanted:
            return f"holds {len(tensor.raw_data)} bytes where its shape takes {wanted}"
        return None
    return _fault_of_typed(tensor, wanted, filled)


def _fault_of_typed(tensor: TensorProto, wanted: int | None, filled: list[str]) -> str | None:
    """Return why a tensor's typed field does not fit its type and shape."""
    field = FIELDS.get(tensor.data_type, _Field("int32_data"))
    if any(name != field.name for name in filled):
        return f"holds values in {filled[0]}, which is not the field of its type"
    expected = elements(tensor) * field.each
    bits = BITS.get(tensor.data_type, 8)
    if bits < 8:
        # several elements stand in one entry
        expected = wanted or 0
    held = len(getattr(tensor, field.name))
    if held != expected:
        return f"holds {held} values where its shape takes {expected}"
    return None
