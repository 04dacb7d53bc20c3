"""Shapes of tensors between neurons: computed apart for the core and for the readout.

The shape of a tensor is constant in time. The readout knows of the core only means over time, and a
mean has the shape of its tensor: so what both compute from a shape, each computes for itself.
Copies serve the core; the nodes of the ANN stay with the readout and the outputs.
"""

from __future__ import annotations

from onnx2snn.graph.editing import Editor, consumers, is_output, redirect
from onnx2snn.graph.flow import shape_only
from onnx2snn.graph.operators import Role
from onnx2snn.graph.types import Graph, Node
from onnx2snn.prepare.roles import CONSTANT, roles_of


def separate_shapes(graph: Graph) -> bool:
    """Copy what core and readout both compute from shapes; return whether there was anything.

    Args:
        graph: Sorted; it is changed, and copies go to its end.
    """
    if not any(shape_only(node) for node in graph.nodes):
        return False
    rows = roles_of(graph)
    roles: dict[str, Role] = {name: row.role for name, row in rows.items()}
    editor = Editor(graph)
    copied = False
    # from the end: a node that is left to the readout makes a reader there of what it reads
    for node in reversed(list(graph.nodes)):
        if rows[node.name].reason != CONSTANT:
            continue
        inside = _readers_in_core(node, roles)
        if not _serves_readout(graph, node, roles):
            continue
        if inside:
            copy = _copy_for(editor, node, inside)
            roles[copy.name] = "linear"
            copied = True
        roles[node.name] = "readout"
    return copied


def _readers_in_core(node: Node, roles: dict[str, Role]) -> list[Node]:
    """Return the nodes before the readout that read an output of a node."""
    found: list[Node] = []
    for tensor in node.outputs:
        found += [reader for reader in consumers(tensor) if roles[reader.name] != "readout"]
    return found


def _serves_readout(graph: Graph, node: Node, roles: dict[str, Role]) -> bool:
    """Return whether the readout, or whoever runs the model, takes an output of a node."""
    for tensor in node.outputs:
        if is_output(graph, tensor):
            return True
        if any(roles[reader.name] == "readout" for reader in tensor.outputs):
            return True
    return False


def _copy_for(editor: Editor, node: Node, readers: list[Node]) -> Node:
    """Return a copy of a node, whose outputs these readers take from now on."""
    name = editor.name(f"{node.name}/core")
    outputs = [editor.variable(f"{tensor.name}/core", like=tensor) for tensor in node.outputs]
    for old, new in zip(node.outputs, outputs, strict=True):
        redirect(editor.graph, old, new, readers)
    inputs = list(node.inputs)
    return editor.append(node.op, name, inputs, outputs, dict(node.attrs), domain=node.domain)
