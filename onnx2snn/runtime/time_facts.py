"""Facts about the tensors of a core that rules on folding time ask for: ranks, constants, time dependence, shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import attribute
from onnx2snn.runtime.time_shapes import ShapeKind


class Constants(Mapping[str, Array]):
    """Initializers by name, made into arrays when they are looked at: weights are large, and few are."""

    def __init__(self, tensors: Iterable[onnx.TensorProto]) -> None:
        """`tensors`: the initializers."""
        self._tensors = {tensor.name: tensor for tensor in tensors}

    def __getitem__(self, name: str) -> Array:
        """Return the value of an initializer."""
        return numpy_helper.to_array(self._tensors[name])

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
    """Facts about the tensors around a node.

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

    def varying_ranks(self, node: onnx.NodeProto) -> list[int]:
        """Return the ranks of a node's inputs that vary in time."""
        return [self.ranks[name] for name in node.input if self.varies(name)]

    def constant_input(self, node: onnx.NodeProto, index: int) -> Array | None:
        """Return the value of an input, or None where it is left out or not constant."""
        if index >= len(node.input):
            return None
        return self.constants.get(node.input[index])

    def axes(self, node: onnx.NodeProto, index: int) -> list[int] | None:
        """Return the axes given as attribute or constant input `index`, or None where there are none.

        Those counted from the end stay as they are.
        """
        given = attribute(node, "axes")
        if given is None:
            given = self.constant_input(node, index)
        if given is None:
            return None
        return [int(axis) for axis in np.ravel(np.asarray(given))]


Rule = Callable[[onnx.NodeProto, TensorFacts], str | None]
"""Returns why time cannot be folded into the leading axis of a node, or None where it can."""
