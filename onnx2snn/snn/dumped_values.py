"""Values of nodes as a dump says them: numbers and texts as JSON, tensors as arrays by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

import numpy as np
from onnx import AttributeProto, NodeProto, helper

from onnx2snn.aliases import Array
from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.protos.apart import values_of

WIDEST = 8
"""Bytes of the largest number that readers of arrays know."""


class ArrayReference(TypedDict):
    """In place of a value: the name of the array that holds it."""

    array: str


Said = int | float | str | list[int] | list[float] | list[str] | ArrayReference
"""The value of an attribute."""

_FLOATS = (AttributeProto.FLOAT, AttributeProto.FLOATS)


def _texts(values: Iterable[bytes]) -> list[str]:
    return [value.decode() for value in values]


_READERS: dict[int, Callable[[Any], Said]] = {
    AttributeProto.INT: int,
    AttributeProto.INTS: list,
    AttributeProto.FLOAT: float,
    AttributeProto.FLOATS: list,
    AttributeProto.STRING: bytes.decode,
    AttributeProto.STRINGS: _texts,
}
"""How values of ONNX become those of JSON, by the type of the attribute."""


class ArrayTable:
    """The arrays of a dump, each under a name of its own."""

    def __init__(self, reserved: set[str]) -> None:
        """Keep clear of names that tensors have."""
        self.arrays: dict[str, Array] = {}
        self._taken = reserved

    def put(self, name: str, values: Array) -> None:
        """Hold a constant under its tensor's name.

        Raises:
            UnsupportedGraphError: Its type is none of NumPy's numbers.
        """
        values = np.asarray(values)
        if values.dtype.kind not in "fiub" or values.dtype.itemsize > WIDEST:
            raise UnsupportedGraphError(
                "",
                "",
                f"constant '{name}' is of type {values.dtype}, which arrays do not hold; "
                "use --to step",
            )
        self.arrays[name] = values

    def said(self, node: NodeProto, held: AttributeProto) -> Said:
        """Return an attribute's value.

        Raises:
            UnsupportedGraphError: No JSON and no array says it.
        """
        value: Any = helper.get_attribute_value(held)
        if held.type == AttributeProto.TENSOR:
            return self._referred(node, held.name, values_of(value))
        if held.type in _FLOATS and not np.isfinite(value).all():
            # JSON has no such number
            return self._referred(node, held.name, np.array(value, np.float32))
        try:
            return _READERS[held.type](value)
        except (KeyError, UnicodeDecodeError):
            kind = AttributeProto.AttributeType.Name(held.type)
            raise UnsupportedGraphError(
                node.name,
                node.op_type,
                f"its attribute '{held.name}' ({kind}) is nothing that arrays say; use --to step",
            ) from None

    def _referred(self, node: NodeProto, label: str, values: Array) -> ArrayReference:
        name = f"{node.name}/{label}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self.put(name, values)
        return {"array": name}
