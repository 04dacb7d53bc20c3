"""Random samples, for a model that comes without data.

Floats are drawn from N(0, 1), integers uniformly, booleans with even odds. An integer input that
reads rows of a table in the model gets indices of rows that exist. Every sample has a random stream
of its own, so that it is the same in any batch and any order.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx

from onnx2snn.aliases import Array, Dim, DType
from onnx2snn.data.rows import Rows
from onnx2snn.data.samples import Samples
from onnx2snn.errors import DataError
from onnx2snn.protos.nodes import attribute
from onnx2snn.protos.specs import TensorSpec, image_axes
from onnx2snn.protos.walk import constants

IMAGE_SIZE = 224
"""Guess for an unknown height or width of an image."""

OTHER_SIZE = 16
"""Guess for any other unknown dimension."""

KEEPS_VALUES = (
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
"""Operators behind which an index is still the same index."""


class ValueRange(NamedTuple):
    """The lowest and the highest integer to draw."""

    low: int
    high: int


@dataclass
class Guesses:
    """Sizes of unknown dimensions, equal where their symbols are, and a note for each guess."""

    sizes: dict[Hashable, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def sample_shape(self, number: int, spec: TensorSpec) -> tuple[int, ...]:
        """Return the shape of one sample of an input, which is the model's `number`-th."""
        dims = spec.shape
        if dims is None:
            dims = (None, OTHER_SIZE)
            self.notes.append(f"shape of input '{spec.name}' taken as [N,{OTHER_SIZE}]")
        shape = []
        for axis, dim in enumerate(dims[1:], 1):
            if isinstance(dim, int):
                shape.append(dim)
            else:
                # an unknown dimension without a symbol agrees with no other
                key = (number, axis) if dim is None else dim
                shape.append(self._size(key, spec, axis, dim))
        return tuple(shape)

    def _size(self, key: Hashable, spec: TensorSpec, axis: int, dim: Dim) -> int:
        """Return the size of a dimension: the one guessed before, or else a new guess."""
        if key not in self.sizes:
            height_and_width = image_axes(spec)[:2]
            size = IMAGE_SIZE if axis in height_and_width else OTHER_SIZE
            what = f"axis {axis}" if dim is None else f"'{dim}'"
            self.sizes[key] = size
            self.notes.append(f"dimension {what} of input '{spec.name}' taken as {size}")
        return self.sizes[key]

    def value_range(self, spec: TensorSpec, valid: int) -> ValueRange:
        """Return the range of an input's integers; `valid` is the number of valid indices, or 0."""
        if valid > 0 or spec.dtype.kind not in "iu":
            return ValueRange(0, valid - 1)
        if spec.dtype.itemsize > 1:
            # a byte is a pixel; more may be a word, a mask or a count: all of these can be 0 and 1
            self.notes.append(
                f"values of input '{spec.name}' drawn from 0 and 1, whatever they stand for"
            )
            return ValueRange(0, 1)
        limits = np.iinfo(spec.dtype)
        return ValueRange(int(limits.min), int(limits.max))


def random_samples(
    inputs: Sequence[TensorSpec], count: int, seed: int, bounds: Mapping[str, int] | None = None
) -> tuple[Samples, list[str]]:
    """Make samples up: N(0, 1) for floats, uniform over the range of integers, 0 or 1 for bool.

    Args:
        inputs: The inputs of the model.
        count: Number of samples.
        seed: Seed of all random streams.
        bounds: By input, the number of valid indices: its integers are at least 0 and less.

    Returns:
        The samples, and a note for each dimension or range that had to be guessed.

    Raises:
        DataError: For an input of a type or shape that has no samples.
    """
    guesses = Guesses()
    rows: dict[str, Rows] = {}
    for number, spec in enumerate(inputs):
        _check_possible(spec, count)
        shape = guesses.sample_shape(number, spec)
        valid = 0 if bounds is None else bounds.get(spec.name, 0)
        ends = guesses.value_range(spec, valid)
        draw = partial(_draw, spec.dtype, shape, (seed, number), ends)
        rows[spec.name] = Rows(spec.dtype, (count, *shape), draw)
    return Samples(rows), guesses.notes


def _check_possible(spec: TensorSpec, count: int) -> None:
    """Refuse an input that random samples cannot be made of."""
    known_type = spec.dtype.kind in "fiubV"
    if spec.shape != () and known_type and count >= 1:
        return
    mend = "supply data for it"
    if spec.shape == ():
        mend = "supply data, with one value for it, or make it a constant of the model"
    raise DataError(f"{count} random samples of input '{spec}' cannot be made: {mend}")


def _draw(
    dtype: DType,
    shape: tuple[int, ...],
    seed: tuple[int, int],
    ends: ValueRange,
    indices: Array,
) -> Array:
    """Return the samples with these numbers, [M, ...]."""
    out = np.empty((len(indices), *shape), dtype)
    for row, index in enumerate(indices):
        # one stream per sample: any order gives the same data
        random = np.random.default_rng((*seed, int(index)))
        if dtype.kind in "iu":
            out[row] = random.integers(ends.low, ends.high, shape, dtype, endpoint=True)
        elif dtype.kind == "b":
            out[row] = random.integers(0, 2, shape)
        else:
            out[row] = random.standard_normal(shape)
    return out


def index_bounds(proto: onnx.ModelProto) -> dict[str, int]:
    """Return the number of valid indices of each integer input that reads a table of the model.

    It is the number of rows of the smallest constant table that a Gather reads with the input.
    """
    tables = {name: tensor.dims for name, tensor in constants(proto.graph).items()}
    # by tensor, the input whose values it holds
    origin = {value.name: value.name for value in proto.graph.input if value.name not in tables}
    bounds: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type in KEEPS_VALUES and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather":
            table, indices = node.input
            if table in tables and indices in origin:
                axis = attribute(node, "axis", 0)
                rows = int(tables[table][axis])
                name = origin[indices]
                bounds[name] = min(bounds.get(name, rows), rows)
    return bounds
