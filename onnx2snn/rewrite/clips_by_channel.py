"""Clips that factors per channel pass: s clip(x, a, b) = min(max(s x, s a), s b) where s > 0.

A Clip has one bound for all channels, Max and Min take one for each. So Clips are written out
before factors are folded, and those whose bounds are still one number become Clips again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.bounds import INFINITY, scalar_bounds
from onnx2snn.graph.dims import rank
from onnx2snn.graph.editing import Editor, constant, consumers, detach, tidy
from onnx2snn.graph.types import Graph, Node
from onnx2snn.protos.nodes import standard
from onnx2snn.rewrite.factors import is_factor
from onnx2snn.rewrite.fold import Folding, fold
from onnx2snn.rewrite.fold_rules.positive import POSITIVE


@dataclass(frozen=True)
class _WrittenOut:
    """A Clip that stands as two nodes now; the second one bears its name."""

    lower: Node
    upper: Node


def fold_past_clips(graph: Graph) -> tuple[Graph, Folding]:
    """Move the factors of a graph whose activations stay as they are; the graph is changed.

    Returns:
        The graph, and what became of the factors.
    """
    editor = Editor(graph)
    written = [_write_out(editor, node) for node in list(graph.nodes) if _has_bounds(node)]
    folded, folding = fold(graph, (), POSITIVE)
    if written:
        _gather(folded, written)
        tidy(folded)
    return folded, folding


def _has_bounds(node: Node) -> bool:
    """Return whether a node is a Clip of float32 by two constant numbers, that one factor reads.

    A factor further behind may be of fewer elements, as behind a pool: there it had better stay.
    """
    if node.op != "Clip" or not standard(node) or not rank(node.inputs[0]):
        return False
    readers = consumers(node.outputs[0])
    if len(readers) != 1 or not is_factor(readers[0]):
        return False
    found = scalar_bounds(node)
    if found is None or found[0] == -INFINITY or found[1] == INFINITY:
        return False
    return all(tensor.dtype == np.float32 for tensor in node.inputs[1:])


def _write_out(editor: Editor, node: Node) -> _WrittenOut:
    """clip(x, a, b) = min(max(x, a), b); max(x, 0) is a Relu."""
    x, low, high = node.inputs
    between = editor.variable(f"{node.name}/above", like=node.outputs[0])
    bound = constant(low)
    assert bound is not None
    if bound.item() == 0:
        op, taken = "Relu", [x]
    else:
        op, taken = "Max", [x, low]
    lower = editor.node(op, f"{node.name}/lower", taken, [between])
    node.op = "Min"
    node.inputs = [between, high]
    return _WrittenOut(lower, node)


def _gather(graph: Graph, written: Sequence[_WrittenOut]) -> None:
    """Turn those back whose bounds are one number each."""
    editor = Editor(graph)
    for both in written:
        low, high = _bound(both.lower), _bound(both.upper)
        in_a_row = both.upper.inputs[:1] == both.lower.outputs
        if low is None or high is None or not in_a_row:
            continue
        least = editor.constant(f"{both.upper.name}/low", low)
        most = editor.constant(f"{both.upper.name}/high", high)
        both.upper.op = "Clip"
        both.upper.inputs = [both.lower.inputs[0], least, most]
        detach(both.lower)


def _bound(node: Node) -> Array | None:
    """Return the bound of a Relu, Max or Min as a scalar, or None where channels have their own."""
    if node.op == "Relu":
        return np.zeros((), np.float32)
    values = constant(node.inputs[1])
    assert values is not None
    if np.any(values != values.flat[0]):
        return None
    return values.reshape(-1)[:1].reshape(())
