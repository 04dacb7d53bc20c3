"""Names in a graph: every node has one, and none begins as those that this package adds."""

from __future__ import annotations

from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.graph.editing import Editor, unique_name
from onnx2snn.graph.types import Graph
from onnx2snn.snn.format import SNN_DOMAIN

RESERVED = f"{SNN_DOMAIN}/"
"""Names of tensors that this package adds begin so."""


def name_nodes(graph: Graph) -> None:
    """Name every node, after its first output where it has no name of its own."""
    taken: set[str] = set()
    for node in graph.nodes:
        base = node.name
        # tensors have names that are unique, but a node may be called like one
        if not base:
            base = node.outputs[0].name if node.outputs else node.op
        node.name = unique_name(taken, base)


def free_reserved_names(editor: Editor) -> None:
    """Rename inner tensors under the names that this package gives: "onnx2snn/..."."""
    graph = editor.graph
    outer = {id(tensor) for tensor in [*graph.inputs, *graph.outputs]}
    for name, tensor in graph.tensors().items():
        if not name.startswith(RESERVED):
            continue
        if id(tensor) in outer:
            reason = f"tensor '{name}' has a name that onnx2snn keeps for its own; rename it"
            raise UnsupportedGraphError("", "", reason)
        tensor.name = editor.name(f"ann/{name}")
