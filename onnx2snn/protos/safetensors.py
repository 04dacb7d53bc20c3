"""Files of arrays in the format of safetensors: a header in JSON, and the bytes behind it.

    8 bytes: N, little-endian | N bytes: the header | the arrays one after another

https://github.com/huggingface/safetensors#format. The header has a row for each array, with its
type, its shape and the place of its bytes, and `__metadata__`, texts by name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.protos.save import atomic_path

METADATA = "__metadata__"

ALIGNMENT = 8
"""Bytes at whose multiples the arrays start."""

LETTERS = {"f": "F", "i": "I", "u": "U"}
"""Types by NumPy's kind; the number of bits follows."""


def write_safetensors(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str]
) -> None:
    """Write arrays of numbers, whole or not at all (OutputError); texts go to the header."""
    header: dict[str, object] = {METADATA: dict(metadata)}
    start = 0
    for name, values in arrays.items():
        end = start + values.nbytes
        header[name] = {
            "dtype": _type_name(values),
            "shape": list(values.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for values in arrays.values():
            little = values.astype(values.dtype.newbyteorder("<"), copy=False)
            file.write(np.ascontiguousarray(little).tobytes())


def _type_name(values: Array) -> str:
    if values.dtype.kind == "b":
        return "BOOL"
    return f"{LETTERS[values.dtype.kind]}{8 * values.dtype.itemsize}"
