"""The estimate a neuron starts at, taken off its input: y/λ - m.

clip(x, a, b) - m = clip(x - m, a - m, b - m), and x - m = Z + (b - m) behind a weighted operator: m
goes into the bounds and the bias that stand before the neuron, where nothing else reads what they
make. Elsewhere it is an Add of its own.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import keeps_shape
from onnx2snn.graph.editing import constant, is_output, producer
from onnx2snn.graph.types import Node, Tensor
from onnx2snn.protos.nodes import standard
from onnx2snn.rewrite.lowering import Lowering
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.stateful import ACCUMULATE


def less_start(low: Lowering, y: Tensor, start: Array, name: str) -> Tensor:
    """Return y/λ - m.

    Args:
        low: The lowering; its graph is changed.
        y: The neuron's input, in threshold units.
        start: m, in threshold units, per channel.
        name: The neuron's.
    """
    shift = -start
    path = _to_bias(low, y, shift)
    if path is None:
        moved = low.editor.constant(f"{name}/start", shift.astype(low.dtype))
        return low.node("Add", f"{name}/moved", [y, moved], y)
    *limits, accumulate = path
    for node in limits:
        if node.op == "Relu":
            node.op = "Max"
            node.inputs.append(low.editor.constant(f"{node.name}/low", shift.astype(low.dtype)))
        else:
            _add_to(low, node, shift)
    if len(accumulate.inputs) > 1:
        _add_to(low, accumulate, shift)
    else:
        label = f"{accumulate.name}/bias"
        accumulate.inputs.append(low.editor.constant(label, shift.astype(low.dtype)))
    return y


def _to_bias(low: Lowering, y: Tensor, shift: Array) -> list[Node] | None:
    """Return the nodes from a neuron's input up to a bias, if all can take the shift."""
    path: list[Node] = []
    tensor = y
    while True:
        node = producer(tensor)
        alone = len(tensor.outputs) == 1 and not is_output(low.graph, tensor)
        if node is None or not alone or not keeps_shape(tensor, shift):
            return None
        path.append(node)
        if node.op == ACCUMULATE and node.domain == SNN_DOMAIN:
            bias = node.inputs[1] if len(node.inputs) > 1 else None
            return path if bias is None or constant(bias) is not None else None
        if not _is_limit(node):
            return None
        tensor = node.inputs[0]


def _is_limit(node: Node) -> bool:
    if not standard(node):
        return False
    if node.op == "Relu":
        return True
    if node.op not in ("Max", "Min") or len(node.inputs) != 2:
        return False
    return constant(node.inputs[1]) is not None


def _add_to(low: Lowering, node: Node, shift: Array) -> None:
    """Add to the constant that is a node's second input."""
    before = constant(node.inputs[1])
    assert before is not None
    total = before.astype(np.float64) + shift
    label = f"{node.name}/shifted"
    node.inputs[1] = low.editor.constant(label, total.astype(low.dtype))
