"""Facts about the tensors of a core, as rules on folding time ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.protos.apart import values_of
from onnx2snn.protos.nodes import attribute
from onnx2snn.runtime.time_shapes import ShapeKind


class Constants(Mapping[str, Array]):
    """Initializers by name, made into arrays when they are looked at.

    Weights are large, and few of them are looked at.
    """

    def __init__(self, tensors: Iterable[onnx.TensorProto]) -> None:
        """`tensors`: the initializers."""
        self._tensors = {tensor.name: tensor for tensor in tensors}

    def __getitem__(self, name: str) -> Array:
        """Return the value of an initializer."""
        tensor = self._tensors[name]
        return values_of(tensor)

    def __contains__(self, name: object) -> bool:
        """Return whether there is such an initializer, without looking at it."""
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        """Iterate over names."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._tensors)


@dataclass(frozen=True)
class TensorFacts:
    """Facts about all tensors of a core.

    Attributes:
        ranks: In one time-step, by name, as far as they are known.
        constants: Initializers by name.
        time_varying: Names of the tensors that depend on a spike.
        shapes: Tensors that are shapes of time-varying ones (`runtime.time_shapes`).
    """

    ranks: Mapping[str, int]
    constants: Mapping[str, Array]
    time_varying: frozenset[str]
    shapes: Mapping[str, ShapeKind]

    def varies(self, name: str) -> bool:
        """Return whether a tensor varies in time."""
        return name in self.time_varying


@dataclass(frozen=True)
class NodeFacts:
    """A node, and the facts about its inputs and outputs."""

    node: onnx.NodeProto
    facts: TensorFacts

    @property
    def inputs(self) -> list[str]:
        """The names of its inputs, "" for one that is left out."""
        return list(self.node.input)

    @property
    def rank(self) -> int:
        """The rank of its first input."""
        return self.facts.ranks[self.node.input[0]]

    @property
    def output_rank(self) -> int:
        """The rank of its first output."""
        return self.facts.ranks[self.node.output[0]]

    @property
    def varying_ranks(self) -> list[int]:
        """The ranks of its inputs that vary in time."""
        names = [name for name in self.inputs if self.facts.varies(name)]
        return [self.facts.ranks[name] for name in names]

    def has(self, index: int) -> bool:
        """Return whether it has an input of this number."""
        return index < len(self.node.input)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute, or the default where it is left out."""
        return attribute(self.node, name, default)

    def constant(self, index: int) -> Array | None:
        """Return the value of an input, or None where it is left out or not constant."""
        if not self.has(index):
            return None
        name = self.node.input[index]
        return self.facts.constants.get(name)

    def shape_kind(self, index: int) -> ShapeKind | None:
        """Return which kind of shape an input is, or None where it is left out or none."""
        if not self.has(index):
            return None
        name = self.node.input[index]
        return self.facts.shapes.get(name)

    def axes(self, index: int) -> list[int] | None:
        """Return the axes given as attribute or constant input `index`; None without any.

        Those counted from the end stay as they are.
        """
        given = self.attribute("axes")
        if given is None:
            given = self.constant(index)
        if given is None:
            return None
        flat = np.ravel(np.asarray(given))
        return [int(axis) for axis in flat]


TimeRule = Callable[[NodeFacts], str | None]
"""Returns why time cannot be folded into the leading axis of a node, or None where it can."""
