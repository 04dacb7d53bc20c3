"""The table of operators: what each one is to a network that runs once per time-step.

Adding an operator is one row here (and one test). A row says which inputs may vary in time; all others have to be
constant in time. Evaluated per step, a linear (or affine) operator is exact in the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ._graph import Array, Node, constant

Role = Literal["encoder", "neuron", "linear", "pooled", "readout", "refused"]
"""`pooled`: a max-pool that stands before a neuron, on the input current; the others as in the README."""

STANDARD_DOMAINS = ("", "ai.onnx", None)


@dataclass(frozen=True)
class Linear:
    """One row: how many inputs may vary in time at once, which ones, and what else has to hold.

    `varying`: indices of the inputs that may vary (None: any); `at_once`: how many of them may (None: all).
    `check` returns a reason for refusal, or None.
    """

    varying: tuple[int, ...] | None = (0,)
    at_once: int | None = None
    weighted: bool = False
    check: Callable[[Node], str | None] | None = None


def _gemm(node: Node) -> str | None:
    return "its first input is transposed (transA)" if node.attrs.get("transA", 0) else None


def _one_output(node: Node) -> str | None:
    return "its second output is used" if len(node.outputs) > 1 and node.outputs[1].outputs else None


def _inference(node: Node) -> str | None:
    return "it is in training mode; export the model for inference" if node.attrs.get("training_mode", 0) else None


_ANY = Linear(varying=None)
_ONE_OF = Linear(varying=None, at_once=1)
_FIRST = Linear()
_WEIGHTED = Linear(weighted=True)

LINEAR: dict[str, Linear] = {
    "Conv": _WEIGHTED,
    "ConvTranspose": _WEIGHTED,
    "Gemm": Linear(weighted=True, check=_gemm),
    "MatMul": Linear(varying=None, at_once=1, weighted=True),
    "BatchNormalization": Linear(check=_inference),
    "Add": _ANY,
    "Sub": _ANY,
    "Mul": _ONE_OF,
    "Div": _FIRST,
    "Neg": _FIRST,
    "Concat": _ANY,
    "AveragePool": _FIRST,
    "GlobalAveragePool": _FIRST,
    "Flatten": _FIRST,
    "Reshape": _FIRST,
    "Squeeze": _FIRST,
    "Unsqueeze": _FIRST,
    "Slice": _FIRST,
    "Gather": _FIRST,
    "Transpose": _FIRST,
    "Pad": _FIRST,
    "Dropout": Linear(check=_one_output),
    "Identity": _FIRST,
}

MAX_POOLS = ("MaxPool", "GlobalMaxPool")

# the value does not depend on its input's value, so it is constant in time whatever feeds it
SHAPE_ONLY = ("Shape", "Size")


def standard(node: Node) -> bool:
    """Whether a node is of the default ONNX domain."""
    return node.domain in STANDARD_DOMAINS


def is_weighted(node: Node) -> bool:
    """Conv, ConvTranspose, Gemm or MatMul with constant weights: an operator whose inputs cross synapses."""
    row = LINEAR.get(node.op)
    if row is None or not row.weighted or not standard(node):
        return False
    if node.op == "MatMul":
        return any(constant(t) is not None for t in node.inputs)
    return constant(node.inputs[1]) is not None


def upper_bound(node: Node) -> float | None:
    """u of an activation clip(z, 0, u), infinity for Relu; None where a node is no supported activation."""
    if not standard(node):
        return None
    if node.op == "Relu":
        return float("inf")
    if node.op == "Clip":
        low, high = clip_bounds(node)
        if low is not None and high is not None and low.size == high.size == 1:
            lower, upper = float(low.item()), float(high.item())
            return upper if lower == 0 and 0 < upper < float("inf") else None
    return None


def clip_bounds(node: Node) -> tuple[Array | None, Array | None]:
    """The bounds of a Clip node; an absent bound is infinite, one computed at run time is None."""
    absent = np.asarray(np.inf)
    given = [absent if len(node.inputs) <= i or node.inputs[i].is_empty() else constant(node.inputs[i]) for i in (1, 2)]
    low, high = given
    return (-low if low is absent else low), high


def refusal(node: Node, varies: Callable[[int], bool]) -> str | None:
    """Why a node cannot run inside the spiking core, or None where it is linear in what varies in time."""
    if not standard(node):
        return f"operators of domain '{node.domain}' are not supported between spiking layers"
    row = LINEAR.get(node.op)
    if row is None:
        if node.op == "Clip":
            return "between spiking layers only Clip(0, u) with constant bounds is supported"
        return "this operator is not linear and not supported between spiking layers"
    moving = [index for index in range(len(node.inputs)) if varies(index)]
    wrong = [index for index in moving if row.varying is not None and index not in row.varying]
    if wrong:
        return f"its input '{node.inputs[wrong[0]].name}' depends on spikes; it has to be a constant"
    if row.at_once is not None and len(moving) > row.at_once:
        return "both of its inputs depend on spikes, and their product is not linear"
    return row.check(node) if row.check else None
