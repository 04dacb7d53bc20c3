"""Uses of spikes: how a weighted operator takes them, and where the factor λ goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnx2snn.graph.dims import rank
from onnx2snn.graph.editing import constant, is_constant
from onnx2snn.graph.types import Node

Form = Literal["folded", "behind", "product"]
"""Where the factor λ goes: into the weights, behind the operator, behind the product of two."""


@dataclass(frozen=True)
class Use:
    """A spiking operator: its node, its operands that are spikes with their sites, and its form."""

    node: str
    operands: tuple[int, ...]
    sites: tuple[str, ...]
    form: Form


def channel_axis(node: Node, index: int) -> int:
    """Return the axis of an operand that the weights sum over."""
    if node.op in ("Conv", "ConvTranspose"):
        return 1
    ndim = rank(node.inputs[index])
    assert ndim is not None
    return ndim - 1 if index == 0 else ndim - 2


def form_of(node: Node, operands: Sequence[int]) -> Form:
    """Return where λ goes, of an operator whose operands of these indices arrive as spikes."""
    if len(operands) == 2:
        return "product"
    (index,) = operands
    others = [tensor for other, tensor in enumerate(node.inputs[:2]) if other != index]
    fixed = all(is_constant(tensor) for tensor in others)
    if node.op in ("Conv", "ConvTranspose") and fixed:
        return "folded"
    if node.op == "Gemm" and fixed and index == 0 and not node.attrs.get("transA", 0):
        return "folded"
    if node.op == "MatMul" and fixed and (rank(node.inputs[index]) or 0) >= 2:
        (weights,) = others
        values = constant(weights)
        if values is not None and values.ndim >= 2:
            return "folded"
    return "behind"
