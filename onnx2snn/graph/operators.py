"""The table of operators: what each one is to a network that runs once per time-step.

Adding an operator is one row here and one case in its test; `tools/operator_table.py` brings the README up to date. A row says which
inputs may vary in time; all others have to be constant in time. Evaluated per step, a linear (or affine) operator is
exact in the mean; whatever has no row, or breaks it, is telescoped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.protos.nodes import standard

Role = Literal["encoder", "neuron", "linear", "pooled", "analog", "readout", "refused"]
"""`pooled`: a max-pool that stands before a neuron, on the input current; `analog`: telescoped; the others as in the
README."""


@dataclass(frozen=True)
class Linear:
    """One row: how many inputs may vary in time at once, which ones, and what else has to hold.

    `varying`: indices of the inputs that may vary (None: any); `at_once`: how many of them may (None: all).
    `check` returns why this very node is not linear, or None.
    """

    varying: tuple[int, ...] | None = (0,)
    at_once: int | None = None
    weighted: bool = False
    check: Callable[[Node], str | None] | None = None


def _one_output(node: Node) -> str | None:
    return (
        "its second output is used" if len(node.outputs) > 1 and node.outputs[1].outputs else None
    )


def _inference(node: Node) -> str | None:
    return (
        "it is in training mode; export the model for inference"
        if node.attrs.get("training_mode", 0)
        else None
    )


def _averages(node: Node) -> str | None:
    return None if node.attrs.get("mode", "avg") == "avg" else "it takes maxima"


def _adds(node: Node) -> str | None:
    mode = node.attrs.get("reduction", "none")
    return None if mode in ("none", "add") else f"its reduction is '{mode}'"


_ANY = Linear(varying=None)
_ONE_OF = Linear(varying=None, at_once=1)
_FIRST = Linear()
_WEIGHTED = Linear(weighted=True)
_UPDATE = Linear(varying=(0, 2), check=_adds)

LINEAR: dict[str, Linear] = {
    "Conv": _WEIGHTED,
    "ConvTranspose": _WEIGHTED,
    "DeformConv": _FIRST,
    "Gemm": Linear(varying=(0, 1), at_once=1, weighted=True),
    "MatMul": Linear(varying=None, at_once=1, weighted=True),
    "Einsum": _ONE_OF,
    "BatchNormalization": Linear(check=_inference),
    "Add": _ANY,
    "Sub": _ANY,
    "Sum": _ANY,
    "Mean": _ANY,
    "Mul": _ONE_OF,
    "Div": _FIRST,
    "Neg": _FIRST,
    "Where": Linear(varying=(1, 2)),
    "Concat": _ANY,
    "AveragePool": _FIRST,
    "GlobalAveragePool": _FIRST,
    "ReduceMean": _FIRST,
    "ReduceSum": _FIRST,
    "CumSum": _FIRST,
    "Flatten": _FIRST,
    "Reshape": _FIRST,
    "Squeeze": _FIRST,
    "Unsqueeze": _FIRST,
    "Transpose": _FIRST,
    "DepthToSpace": _FIRST,
    "SpaceToDepth": _FIRST,
    "Col2Im": _FIRST,
    "Slice": _FIRST,
    "Split": _FIRST,
    "Gather": _FIRST,
    "GatherElements": _FIRST,
    "GatherND": _FIRST,
    "Compress": _FIRST,
    "Trilu": _FIRST,
    "ReverseSequence": _FIRST,
    "ScatterElements": _UPDATE,
    "ScatterND": _UPDATE,
    "MaxUnpool": _FIRST,
    "Pad": _FIRST,
    "CenterCropPad": _FIRST,
    "Expand": _FIRST,
    "Tile": _FIRST,
    "Resize": _FIRST,
    "Upsample": _FIRST,
    "GridSample": _FIRST,
    "RoiAlign": Linear(check=_averages),
    "Dropout": Linear(check=_one_output),
    "Identity": _FIRST,
    "Cast": _FIRST,
    "CastLike": _FIRST,
}

NOT_TELESCOPED: dict[str, str] = {
    **dict.fromkeys(
        ("RNN", "GRU", "LSTM"), "recurrent layers are not supported between spiking layers"
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), "control flow is not supported between spiking layers"),
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"),
        "it draws random numbers at every step",
    ),
    **dict.fromkeys(
        ("NonZero", "Unique", "NonMaxSuppression"), "the shape of its output would depend on spikes"
    ),
}
"""Operators that cannot run between spiking layers in any way, and why."""

SHAPING: dict[str, tuple[int, ...]] = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "Pad": (1,),
    "Slice": (1, 2),
    "Resize": (2, 3),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "OneHot": (1,),
    "TopK": (1,),
}
"""The inputs that decide the shape of an output; no state can be kept where that changes from step to step."""


def is_weighted(node: Node) -> bool:
    """Conv, ConvTranspose, Gemm or MatMul with constant weights: an operator whose inputs cross synapses."""
    row = LINEAR.get(node.op)
    if row is None or not row.weighted or not standard(node):
        return False
    operands = node.inputs[:2] if node.op in ("MatMul", "Gemm") else node.inputs[1:2]
    return any(constant(t) is not None for t in operands)


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
    """The bounds of a Clip node; an absent bound, or the largest number, is infinite, one computed at run time None."""
    absent = np.asarray(np.inf)
    given = [
        absent if len(node.inputs) <= i or node.inputs[i].is_empty() else constant(node.inputs[i])
        for i in (1, 2)
    ]
    low, high = given
    return _unbounded(-low if low is absent else low), _unbounded(high)


def _unbounded(value: Array | None) -> Array | None:
    if value is None or not np.issubdtype(value.dtype, np.floating):
        return value
    return np.where(np.abs(value) >= np.finfo(np.float32).max, np.copysign(np.inf, value), value)


def refusal(node: Node, varies: Callable[[int], bool]) -> str | None:
    """Why a node cannot run inside the spiking core in any way, or None where it can."""
    if not standard(node):
        return None
    if node.op in NOT_TELESCOPED:
        return NOT_TELESCOPED[node.op]
    wrong = [
        index for index in SHAPING.get(node.op, ()) if index < len(node.inputs) and varies(index)
    ]
    if wrong:
        return f"the shape of its output would depend on spikes, by its input '{node.inputs[wrong[0]].name}'"
    return None


def nonlinearity(node: Node, varies: Callable[[int], bool]) -> str | None:
    """Why a node is not linear in what varies in time, or None where it is."""
    if not standard(node):
        return f"nothing is known about operators of domain '{node.domain}'"
    row = LINEAR.get(node.op)
    if row is None:
        return "not linear"
    moving = [index for index in range(len(node.inputs)) if varies(index)]
    wrong = [index for index in moving if row.varying is not None and index not in row.varying]
    if wrong:
        return f"not linear in its input '{node.inputs[wrong[0]].name}', which depends on spikes"
    if row.at_once is not None and len(moving) > row.at_once:
        return "both of its inputs depend on spikes, and their product is not linear"
    return row.check(node) if row.check else None
