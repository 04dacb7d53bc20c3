"""Max and Min with a constant number -> Clip, and a Clip behind a Clip -> one.

max(z, c) = clip(z, c, ∞), min(z, c) = clip(z, -∞, c), and clip(clip(z, a, b), c, d) = clip(z, e, f)
with e = max(a, c) and f = min(b, d) where e < f.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.bounds import INFINITY, scalar_bounds
from onnx2snn.graph.dims import keeps_shape
from onnx2snn.graph.editing import Editor, constant, drop, is_output, producer
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.protos.nodes import standard

Bounds = tuple[float, float]
"""a and b of clip(z, a, b), in ANN units; -∞ and ∞ where there is none."""


def make_clips(graph: Graph, candidates: set[str]) -> None:
    """Bring Max, Min and chains of Clips that may fire into one Clip, or Relu, each.

    Cases: a < b; a Clip that another one takes in feeds nothing else.

    Args:
        graph: The graph, which is changed.
        candidates: Names of the activations that may fire (`prepare.feeding`).
    """
    editor = Editor(graph)
    for node in list(graph.nodes):
        if node.name not in candidates or not standard(node):
            continue
        if node.op in ("Max", "Min"):
            _from_extremum(editor, node)
        if node.op == "Clip":
            _take_in(editor, node)


def constant_operand(node: Node) -> tuple[Tensor, Array] | None:
    """Return the operands of a Max or Min of a floating-point tensor and a constant.

    None where there are no such two, or the constant would broadcast the tensor.
    """
    if len(node.inputs) != 2:
        return None
    first, second = node.inputs
    found = _tensor_and_constant(first, second) or _tensor_and_constant(second, first)
    # broadcast by the constant, the result would have another shape than the current
    if found is None or not keeps_shape(*found):
        return None
    return found


def _tensor_and_constant(tensor: Tensor, other: Tensor) -> tuple[Tensor, Array] | None:
    value = constant(other)
    if value is None or constant(tensor) is not None:
        return None
    if not np.issubdtype(value.dtype, np.floating):
        return None
    return tensor, value


def _from_extremum(editor: Editor, node: Node) -> None:
    """Turn a Max or Min with a constant number into a Clip with one bound."""
    operands = constant_operand(node)
    if operands is None:
        return
    z, value = operands
    if value.size != 1:
        return
    if node.op == "Max":
        _set_clip(editor, node, z, (value.item(), INFINITY))
    else:
        _set_clip(editor, node, z, (-INFINITY, value.item()))


def _take_in(editor: Editor, node: Node) -> None:
    """Let a Clip do the work of the Clip or Relu before it, too."""
    inner = producer(node.inputs[0])
    if inner is None:
        return
    first = bounds_of(inner)
    second = bounds_of(node)
    if first is None or second is None:
        return
    between = inner.outputs[0]
    if len(between.outputs) != 1 or is_output(editor.graph, between):
        return
    # clip(clip(z, a, b), c, d) = clip(z, max(a, c), min(b, d)), if their ranges overlap
    low = max(first[0], second[0])
    high = min(first[1], second[1])
    if low < high:
        _set_clip(editor, node, inner.inputs[0], (low, high))
        drop(editor.graph, inner)


def bounds_of(node: Node) -> Bounds | None:
    """Return the bounds of a Relu, or of a Clip by constant numbers; None of any other node."""
    if not standard(node):
        return None
    if node.op == "Relu":
        return 0.0, INFINITY
    if node.op == "Clip":
        return scalar_bounds(node)
    return None


def _set_clip(editor: Editor, node: Node, z: Tensor, bounds: Bounds) -> None:
    """Make a node clip(z, *bounds) in place: a Relu where that is one."""
    node.attrs = {}
    if bounds == (0.0, INFINITY):
        node.op = "Relu"
        node.inputs = [z]
        return
    node.op = "Clip"
    dtype = z.dtype or np.float32
    # new constants: those of the old node may be shared
    low, high = (np.asarray(value, dtype) for value in bounds)
    node.inputs = [
        z,
        editor.constant(f"{node.name}/low", low),
        editor.constant(f"{node.name}/high", high),
    ]
