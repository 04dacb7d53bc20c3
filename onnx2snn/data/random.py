"""Which integer inputs are indices into a table that the model holds, and how many rows it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx

from onnx2snn.data.intake import Array, Rows
from onnx2snn.data.samples import Samples
from onnx2snn.errors import DataError
from onnx2snn.protos.specs import TensorSpec, image_axes
from onnx2snn.protos.walk import tensors

_KEEPS_VALUES = (
    "Cast",
    "Identity",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Slice",
    "Expand",
    "Tile",
)


def index_bounds(proto: onnx.ModelProto) -> dict[str, int]:
    """By input, how many indices are valid: the rows of the smallest constant table that a Gather reads with it."""
    sizes = {t.name: t.dims for t in tensors(proto)} | {
        n.output[0]: a.t.dims
        for n in proto.graph.node
        if n.op_type == "Constant"
        for a in n.attribute
    }
    origin = {v.name: v.name for v in proto.graph.input if v.name not in sizes}
    bounds: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type in _KEEPS_VALUES and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in origin and node.input[0] in sizes:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            name, rows = origin[node.input[1]], int(sizes[node.input[0]][axis])
            bounds[name] = min(bounds.get(name, rows), rows)
    return bounds


def random_samples(
    inputs: Sequence[TensorSpec], count: int, seed: int, bounds: Mapping[str, int] | None = None
) -> tuple[Samples, list[str]]:
    """Make `count` samples up: N(0,1) for floats, uniform over the range of integers, 0 or 1 for bool.

    Integers of an input in `bounds` are at least 0 and less than its bound. Also returns a note for each dimension
    or vocabulary that had to be guessed. DataError for a type or shape that has no samples.
    """
    guesses: dict[object, int] = {}
    notes: list[str] = []
    rows: dict[str, Rows] = {}
    for number, spec in enumerate(inputs):
        if spec.shape == () or spec.dtype.kind not in "fiubV" or count < 1:
            mend = "make it a constant of the model" if spec.shape == () else "supply data for it"
            raise DataError(f"{count} random samples of input '{spec}' cannot be made: {mend}")
        if spec.shape is None:
            notes.append(f"shape of input '{spec.name}' taken as [N,16]")
        shape = [count]
        for axis, dim in enumerate((spec.shape or (None, 16))[1:], 1):
            if not isinstance(dim, int):
                what = f"axis {axis}" if dim is None else f"'{dim}'"
                key = (
                    (number, axis) if dim is None else dim
                )  # an unknown dimension agrees with no other
                if key not in guesses:
                    guesses[key] = 224 if axis in image_axes(spec)[:2] else 16
                    notes.append(f"dimension {what} of input '{spec.name}' taken as {guesses[key]}")
                dim = guesses[key]
            shape.append(dim)
        low, high = 0, (bounds or {}).get(spec.name, 0) - 1
        if spec.dtype.kind in "iu" and high < 0:
            low, high = int(np.iinfo(spec.dtype).min), int(np.iinfo(spec.dtype).max)
            if spec.dtype.itemsize > 1:  # a byte is a pixel; more may be a word
                notes.append(
                    f"values of input '{spec.name}' drawn over all of {spec.dtype}, whatever they stand for"
                )
        draw = partial(_draw, spec.dtype, tuple(shape[1:]), (seed, number), (low, high))
        rows[spec.name] = Rows(spec.dtype, tuple(shape), draw)
    return Samples(rows), notes


def _draw(
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    seed: tuple[int, int],
    ends: tuple[int, int],
    indices: Array,
) -> Array:
    out = np.empty((len(indices), *shape), dtype)
    for row, index in enumerate(indices):
        random = np.random.default_rng(
            (*seed, int(index))
        )  # one stream per sample: any order gives the same data
        if dtype.kind in "iu":
            out[row] = random.integers(*ends, shape, dtype, endpoint=True)
        else:
            out[row] = (
                random.integers(0, 2, shape) if dtype.kind == "b" else random.standard_normal(shape)
            )
    return out
