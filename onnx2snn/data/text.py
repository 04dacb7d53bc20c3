"""Text as data: strings reach the model as NumPy objects, the form onnxruntime takes."""

from __future__ import annotations

import numpy as np

from onnx2snn.data.rows import Rows, converted
from onnx2snn.errors import DataError


def text_rows(what: str, rows: Rows) -> Rows:
    """Return the rows of a text input; `what` names it in errors.

    Raises:
        DataError: It holds anything else than strings.
    """
    if rows.dtype.kind == "U":
        return converted(rows, np.dtype(object))
    if rows.dtype.hasobject and _all_strings(rows):
        return rows
    raise DataError(f"{what} is {rows.dtype}, but the model takes strings: give an array of str")


def _all_strings(rows: Rows) -> bool:
    values = rows.read(np.arange(rows.count))
    return all(isinstance(value, str) for value in values.flat)
