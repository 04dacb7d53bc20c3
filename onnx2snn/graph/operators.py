"""The table of operators: what each one is to a network that runs once per time-step.

Adding an operator is one row here and one case in its test; `tools/operator_table.py` brings
docs/operators.md up to date. A row says which inputs may vary in time; all others have to be
constant in time. Evaluated per step, a linear (or affine) operator is exact in the mean; an
operator without a row, or a node that breaks its row, is analog.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node, Tensor
from onnx2snn.protos.nodes import RECURRENT, WEIGHTED, standard

Role = Literal[
    "encoder", "neuron", "linear", "pooled", "spiking", "estimated", "analog", "readout", "refused"
]
"""What becomes of a node.

`neuron`: fires; `linear`: runs per step as it is; `pooled`: a max-pool that stands before a neuron,
on the input current; `analog`: not driven by spikes, it acts on the accumulated input; `encoder`,
`readout`: before the first and behind the last neurons; `refused`: cannot be converted. In
differential coding `spiking` is a weighted operator that spikes drive, and `estimated` an operator
between two of them, which acts on estimates.
"""


@dataclass(frozen=True)
class Linear:
    """One row: how many inputs may vary in time at once, which ones, and what else has to hold.

    `varying`: indices of the inputs that may vary (None: any); `at_once`: how many of them may
    (None: all). `check` returns why this very node is not linear, or None.
    """

    varying: tuple[int, ...] | None = (0,)
    at_once: int | None = None
    check: Callable[[Node], str | None] | None = None


def _one_output(node: Node) -> str | None:
    used = len(node.outputs) > 1 and node.outputs[1].outputs
    if used:
        return "its second output is used"
    return None


def _inference(node: Node) -> str | None:
    if node.attrs.get("training_mode", 0):
        return "it is in training mode; export the model for inference"
    return None


def _takes_averages(node: Node) -> str | None:
    if node.attrs.get("mode", "avg") != "avg":
        return "it takes maxima"
    return None


def _adds(node: Node) -> str | None:
    mode = node.attrs.get("reduction", "none")
    if mode not in ("none", "add"):
        return f"its reduction is '{mode}'"
    return None


_ANY = Linear(varying=None)
_ONE_OF = Linear(varying=None, at_once=1)
_FIRST = Linear()
_UPDATE = Linear(varying=(0, 2), check=_adds)

LINEAR: dict[str, Linear] = {
    # weighted operators, and others whose weights are constants
    "Conv": _FIRST,
    "ConvTranspose": _FIRST,
    "DeformConv": _FIRST,
    "Gemm": Linear(varying=(0, 1), at_once=1),
    "MatMul": Linear(varying=None, at_once=1),
    "Einsum": _ONE_OF,
    "BatchNormalization": Linear(check=_inference),
    # arithmetic and choices
    "Add": _ANY,
    "Sub": _ANY,
    "Sum": _ANY,
    "Mean": _ANY,
    "Mul": _ONE_OF,
    "Div": _FIRST,
    "Neg": _FIRST,
    "Where": Linear(varying=(1, 2)),
    "Concat": _ANY,
    # means and sums
    "AveragePool": _FIRST,
    "GlobalAveragePool": _FIRST,
    "ReduceMean": _FIRST,
    "ReduceSum": _FIRST,
    "CumSum": _FIRST,
    # elements move, and are copied or left out
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
    # interpolation
    "Resize": _FIRST,
    "Upsample": _FIRST,
    "GridSample": _FIRST,
    "RoiAlign": Linear(check=_takes_averages),
    # in an ANN that does not train, and in floating point, these change nothing
    "Dropout": Linear(check=_one_output),
    "Identity": _FIRST,
    "Cast": _FIRST,
    "CastLike": _FIRST,
}

_RECURRENT = "recurrent layers are not supported between spiking layers"
_CONTROL = "control flow is not supported between spiking layers"
_RANDOM = "it draws random numbers at every step"
_SHAPED_BY_VALUES = "the shape of its output would depend on spikes"

CONTROL = ("If", "Loop", "Scan")
"""Control flow."""

SHAPED_BY_VALUES = ("NonZero", "Unique", "NonMaxSuppression")
"""Operators whose output has a shape that depends on values."""

REFUSED: dict[str, str] = {
    **dict.fromkeys(RECURRENT, _RECURRENT),
    **dict.fromkeys(CONTROL, _CONTROL),
    "Bernoulli": _RANDOM,
    "Multinomial": _RANDOM,
    "RandomNormalLike": _RANDOM,
    "RandomUniformLike": _RANDOM,
    **dict.fromkeys(SHAPED_BY_VALUES, _SHAPED_BY_VALUES),
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
"""The inputs that decide the shape of an output.

No state can be kept where that changes from step to step.
"""


def shaped_by(node: Node, varies: Callable[[int], bool]) -> bool:
    """Return whether the shape of what a node makes depends on the values of inputs that vary.

    `varies` says of an input's index whether that input varies in time. Control flow may make any
    shape that is not inferred.
    """
    indices = range(len(node.inputs))
    if not standard(node) or node.op in CONTROL:
        known = all(_fully_known(tensor) for tensor in node.outputs)
        return not known and any(varies(index) for index in indices)
    if node.op in SHAPED_BY_VALUES:
        return any(varies(index) for index in indices)
    deciding = SHAPING.get(node.op, ())
    return any(index < len(node.inputs) and varies(index) for index in deciding)


def _fully_known(tensor: Tensor) -> bool:
    if tensor.shape is None:
        return False
    return all(dim is not None for dim in tensor.shape)


def is_weighted(node: Node) -> bool:
    """Return whether a node is a weighted operator: one of WEIGHTED with constant weights.

    Of a MatMul or Gemm either operand may hold the weights.
    """
    if node.op not in WEIGHTED or not standard(node):
        return False
    # a convolution's weights are its second input; a product's may be either operand
    either = node.op in ("MatMul", "Gemm")
    operands = node.inputs[:2] if either else node.inputs[1:2]
    return any(constant(operand) is not None for operand in operands)


def core_refusal(node: Node, varies: Callable[[int], bool]) -> str | None:
    """Return why a node cannot run inside the spiking core in any way, or None where it can.

    `varies` says of an input's index whether that input varies in time.
    """
    if not standard(node):
        return None
    if node.op in REFUSED:
        return REFUSED[node.op]
    for index in SHAPING.get(node.op, ()):
        if index < len(node.inputs) and varies(index):
            name = node.inputs[index].name
            return f"the shape of its output would depend on spikes, by its input '{name}'"
    return None


def nonlinearity(node: Node, varies: Callable[[int], bool]) -> str | None:
    """Return why a node is not linear in its inputs that vary in time, or None where it is.

    `varies` says of an input's index whether that input varies in time.
    """
    if not standard(node):
        return f"nothing is known about operators of domain '{node.domain}'"
    row = LINEAR.get(node.op)
    if row is None:
        return "not linear"
    varying = [index for index in range(len(node.inputs)) if varies(index)]
    for index in varying:
        if row.varying is not None and index not in row.varying:
            name = node.inputs[index].name
            return f"not linear in its input '{name}', which depends on spikes"
    if row.at_once is not None and len(varying) > row.at_once:
        return "both of its inputs depend on spikes, and their product is not linear"
    if row.check is None:
        return None
    return row.check(node)
