"""A typed view of onnx-graphsurgeon's graphs: the members that this package uses, and their types.

The library ships no types. These protocols say what it promises, so that the rest of the package is
checked against them; the objects themselves are the library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from onnx2snn.aliases import Dim


class Tensor(Protocol):
    """`onnx_graphsurgeon.Variable` or `Constant`: an edge of the graph.

    `inputs` holds the node that makes it (none for graph inputs and constants), `outputs` the nodes
    that read it, once for each of their inputs it is; `shape` is None where the rank is unknown.
    """

    name: str
    dtype: Any
    shape: Sequence[Dim] | None
    inputs: list[Node]
    outputs: list[Node]

    def is_empty(self) -> bool:
        """Whether it stands for an optional input that is left out."""


class Node(Protocol):
    """`onnx_graphsurgeon.Node`: an operator with its attributes."""

    name: str
    op: str
    domain: str | None
    attrs: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[Tensor]


class Graph(Protocol):
    """`onnx_graphsurgeon.Graph`."""

    name: str
    opset: int
    import_domains: Any
    nodes: list[Node]
    inputs: list[Tensor]
    outputs: list[Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""

    def copy(self) -> Graph:
        """Return a copy whose nodes are its own; the values of constants are shared."""

    def toposort(self) -> Graph:
        """Sort the nodes in place: each behind those it takes tensors from."""

    def cleanup(self, remove_unused_graph_inputs: bool = False) -> Graph:
        """Drop nodes and tensors that no output needs, in place."""
