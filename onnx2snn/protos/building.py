"""Builds the nodes and constants of a protobuf graph, where each tensor is made once.

The counterpart of `graph.editing.Editor` for those who do without onnx-graphsurgeon. Tensors have
names that say how they are made, so a tensor asked for twice is the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array


class ProtoBuilder:
    """Nodes in order, and constants by name."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._made: set[str] = set()

    def has(self, tensor: str) -> bool:
        """Return whether a tensor has been made here."""
        return tensor in self._made or tensor in self.constants

    def append(self, node: onnx.NodeProto) -> None:
        """Append a node as it is."""
        self.nodes.append(node)
        self._made.update(node.output)

    def node(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, **attributes: Any
    ) -> None:
        """Append a node of the standard domain."""
        self.append(helper.make_node(op, inputs, outputs, name, **attributes))

    def emit(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node of one output and return the output; nothing if that is there already.

        The node is named after its output and operator.
        """
        if output not in self._made:
            self.node(op, inputs, [output], f"{output}/{op.lower()}", **attributes)
        return output

    def constant(self, name: str, value: Array) -> str:
        """Add a constant and return its name; one of the same name has the same value."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(value, name)
        return name
