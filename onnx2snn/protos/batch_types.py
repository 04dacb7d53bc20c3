"""What is said of batch axes: the place of samples in a tensor, and a node with what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from onnx2snn.protos.apart import values_of
from onnx2snn.protos.nodes import attribute

SIZES = (101, 103)
"""Sizes of the batch with which shapes are inferred: prime, and hardly any other axis's."""

Sizes = Mapping[str, tuple[int | None, ...]]
"""Shapes by name, None for a size that is not known."""


@dataclass(frozen=True)
class BatchAxis:
    """The axis of a tensor that counts samples.

    Its length is `blocks` x samples x `rows`: in each block, every sample has `rows` neighbouring
    entries. More than one block or row is what folding another axis into it makes: frames behind
    samples, [N F, ...], are rows, and before them, [F N, ...], blocks.
    """

    axis: int
    rows: int = 1
    blocks: int = 1

    @property
    def each(self) -> int:
        """Entries along the axis that a sample has."""
        return self.blocks * self.rows

    def moved(self, axis: int) -> BatchAxis:
        """Return the same along another axis."""
        return replace(self, axis=axis)

    def as_long_as(self, other: BatchAxis | None) -> bool:
        """Return whether another is the same axis, of the same length."""
        return other is not None and (self.axis, self.each) == (other.axis, other.each)


Place = BatchAxis | None
"""Where samples are; None: not known."""


@dataclass(frozen=True)
class Shapes:
    """Shapes of tensors, inferred for two sizes of the batch."""

    one: Sizes
    other: Sizes

    def rank(self, name: str) -> int | None:
        """Return the rank of a tensor, or None where it is not known."""
        return len(self.one[name]) if name in self.one else None

    def by_size(self, name: str) -> Place:
        """Return the one axis whose size is proportional to the batch's, or None.

        How its entries are divided into blocks and rows sizes do not tell: all are rows here.
        """
        found = []
        pairs = zip(self.one.get(name, ()), self.other.get(name, ()), strict=False)
        for axis, (size, bigger) in enumerate(pairs):
            if size is None or bigger is None:
                # it may be the batch's, too
                return None
            if size == bigger:
                continue
            rows = size // SIZES[0]
            if size != rows * SIZES[0] or bigger != rows * SIZES[1]:
                return None
            found.append(BatchAxis(axis, rows))
        return found[0] if len(found) == 1 else None

    def before(self, name: str, axis: int) -> int | None:
        """Return the product of the sizes of the axes before one, None where one is not known."""
        sizes = self.one.get(name)
        if sizes is None:
            return None
        product = 1
        for size in sizes[:axis]:
            if size is None:
                return None
            product *= size
        return product

    def size(self, name: str, axis: int) -> int | None:
        """Return the size of an axis for the first size of the batch, or None."""
        sizes = self.one.get(name)
        if sizes is None or not -len(sizes) <= axis < len(sizes):
            return None
        return sizes[axis]


@dataclass(frozen=True)
class NodeView:
    """A node, and what is known about its tensors.

    Attributes:
        node: The node.
        places: Batch axes of the tensors that depend on samples.
        shapes: Of all tensors.
        counts: By tensor that holds sizes, which of its entries depend on the size of the batch.
        fixed: Constants by name.
    """

    node: onnx.NodeProto
    places: Mapping[str, Place]
    shapes: Shapes
    counts: Mapping[str, Sequence[bool]]
    fixed: Mapping[str, onnx.TensorProto]

    @property
    def depends(self) -> bool:
        """Whether an input depends on samples, or on their number."""
        return any(name in self.places or self.has_counts(name) for name in self.node.input)

    def has_counts(self, name: str) -> bool:
        """Return whether a tensor's values depend on the size of the batch."""
        return any(self.counts.get(name, ()))

    @property
    def varying(self) -> list[int]:
        """The numbers of the inputs that depend on samples."""
        return [i for i, name in enumerate(self.node.input) if name in self.places]

    def place(self, index: int) -> Place:
        """Return the batch axis of an input that depends on samples."""
        return self.places.get(self.node.input[index])

    def rank(self, index: int) -> int | None:
        """Return the rank of an input."""
        return self.shapes.rank(self.node.input[index])

    def output_rank(self, index: int = 0) -> int | None:
        """Return the rank of an output."""
        return self.shapes.rank(self.node.output[index])

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute, or the default where it is left out."""
        return attribute(self.node, name, default)

    def numbers(self, name: str, index: int) -> list[int] | None:
        """Return numbers given as attribute, or as a constant input; None where there are none."""
        given = self.attribute(name)
        if given is None and index < len(self.node.input):
            tensor = self.fixed.get(self.node.input[index])
            given = None if tensor is None else values_of(tensor)
        if given is None:
            return None
        return [int(number) for number in np.ravel(given)]

    def is_given(self, index: int) -> bool:
        """Return whether there is an input of this number."""
        return index < len(self.node.input) and bool(self.node.input[index])
