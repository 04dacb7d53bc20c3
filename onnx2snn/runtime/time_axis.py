"""The table of operators that work when time-steps are folded into the leading (batch) axis.

With K time-steps of a tensor [M, ...] in one of shape [K M, ...], the steps one after the other, an operator gives the
K results one after the other if it treats blocks of the leading axis independently. A row's check says why a node does
not, or None. Adding an operator is one row here and one case in its test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import STANDARD_DOMAINS, attribute
from onnx2snn.runtime.time_shapes import ShapeKind


class Constants(Mapping[str, Array]):
    """Initializers by name, made into arrays when they are looked at: weights are large, and few are."""

    def __init__(self, tensors: Iterable[onnx.TensorProto]) -> None:
        """`tensors`: the initializers."""
        self._tensors = {tensor.name: tensor for tensor in tensors}

    def __getitem__(self, name: str) -> Array:
        """The value of an initializer."""
        return numpy_helper.to_array(self._tensors[name])

    def __contains__(self, name: object) -> bool:
        """Whether there is such an initializer."""
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._tensors)


@dataclass(frozen=True)
class Setting:
    """What is known of the tensors around a node: ranks per time-step, constants, and which ones change in time."""

    ranks: Mapping[str, int]
    constants: Mapping[str, Array]
    moving: frozenset[str]
    shapes: Mapping[str, ShapeKind]

    def moves(self, name: str) -> bool:
        """Whether a tensor changes in time."""
        return name in self.moving


Check = Callable[[onnx.NodeProto, Setting], str | None]


def elementwise(node: onnx.NodeProto) -> bool:
    """Whether a node combines its inputs element by element, with broadcasting."""
    return node.op_type in ELEMENTWISE and node.domain in STANDARD_DOMAINS


def refusal(node: onnx.NodeProto, setting: Setting) -> str | None:
    """Why time cannot be folded into a node's leading axis, or None where it can."""
    if node.domain not in STANDARD_DOMAINS:
        return f"nothing is known about operators of domain '{node.domain}'"
    if node.output[0] in setting.shapes:
        return None
    unknown = [
        t for t in [*node.input, *node.output] if setting.moves(t) and not setting.ranks.get(t)
    ]
    if unknown:
        return f"the rank of '{unknown[0]}' is unknown or 0"
    check = CHECKS.get(node.op_type)
    return check(node, setting) if check else f"{node.op_type} may mix samples"


def _only_first_moves(node: onnx.NodeProto, setting: Setting) -> str | None:
    others = [t for t in node.input[1:] if t and t not in setting.constants]
    return f"its input '{others[0]}' is not constant" if others else None


def _any(node: onnx.NodeProto, setting: Setting) -> str | None:
    return None


def _axis_behind(default: int | None, *, kept: bool = True) -> Check:
    """Its `axis` is not the leading one; `kept`: counted from the end in the rank of the input."""

    def check(node: onnx.NodeProto, setting: Setting) -> str | None:
        axis = attribute(node, "axis", default)
        rank = setting.ranks[next(t for t in node.input if setting.moves(t))]
        if not isinstance(axis, int) or axis % (rank if kept else rank + 1) == 0:
            return "it works along the leading axis"
        return None

    return check


def _joined(node: onnx.NodeProto, setting: Setting) -> str | None:
    constant = [t for t in node.input if t in setting.constants]
    if constant:
        return f"its input '{constant[0]}' has no batch"
    return _axis_behind(None)(node, setting)


def _both(*checks: Check) -> Check:
    def check(node: onnx.NodeProto, setting: Setting) -> str | None:
        return next((reason for c in checks if (reason := c(node, setting))), None)

    return check


def _gemm(node: onnx.NodeProto, setting: Setting) -> str | None:
    if not setting.moves(node.input[0]) or attribute(node, "transA", 0):
        return "its second operand, or a transposed one, changes in time"
    bias = setting.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if bias is not None and bias.ndim > 1 and bias.shape[0] != 1:
        return "its bias has rows of its own"
    return _only_first_moves(node, setting)


def _matmul(node: onnx.NodeProto, setting: Setting) -> str | None:
    rank = max(setting.ranks[t] for t in node.input if setting.moves(t))
    for index, name in enumerate(node.input):
        constant = setting.constants.get(name)
        if setting.moves(name):
            fits = setting.ranks[name] == rank and (rank > 2 or index == 0)
        else:
            fits = constant is not None and (
                constant.ndim <= 2 or constant.ndim < rank or constant.shape[0] == 1
            )
        if not fits:
            return f"its operand '{name}' does not leave the leading axis alone"
    return None


def _axes(node: onnx.NodeProto, setting: Setting, index: int) -> list[int] | None:
    """Axes given as attribute or constant input, those counted from the end as they are; None where there are none."""
    given = attribute(node, "axes")
    if given is None and len(node.input) > index and node.input[index] in setting.constants:
        given = setting.constants[node.input[index]]
    return None if given is None else [int(axis) for axis in np.ravel(np.asarray(given))]


def _reduces(node: onnx.NodeProto, setting: Setting) -> str | None:
    axes, rank = _axes(node, setting, 1), setting.ranks[node.input[0]]
    return (
        "it reduces the leading axis" if axes is None or any(a % rank == 0 for a in axes) else None
    )


def _cumulates(node: onnx.NodeProto, setting: Setting) -> str | None:
    axis, rank = setting.constants.get(node.input[1]), setting.ranks[node.input[0]]
    return (
        "it sums along the leading axis" if axis is None or int(axis.flat[0]) % rank == 0 else None
    )


def _squeezes(node: onnx.NodeProto, setting: Setting) -> str | None:
    axes = _axes(node, setting, 1)
    rank = max(setting.ranks[node.input[0]], setting.ranks[node.output[0]])
    return (
        "it changes the leading axis" if axes is None or any(a % rank == 0 for a in axes) else None
    )


def _slices(node: onnx.NodeProto, setting: Setting) -> str | None:
    axes, rank = _axes(node, setting, 3), setting.ranks[node.input[0]]
    if axes is None or any(a % rank == 0 for a in axes):
        return "it slices the leading axis"
    return _only_first_moves(node, setting)


def _pads(node: onnx.NodeProto, setting: Setting) -> str | None:
    pads, axes = (
        setting.constants.get(node.input[1]) if len(node.input) > 1 else None,
        _axes(node, setting, 3),
    )
    rank = setting.ranks[node.input[0]]
    if pads is None:
        return "its pads are not constant"
    padded = list(range(rank)) if axes is None else [a % rank for a in axes]
    sides = np.reshape(pads, (2, len(padded)))
    return (
        "it pads the leading axis"
        if any(sides[:, i].any() for i, a in enumerate(padded) if a == 0)
        else None
    )


def _transposes(node: onnx.NodeProto, setting: Setting) -> str | None:
    order = attribute(node, "perm")
    return None if isinstance(order, list) and order[0] == 0 else "it moves the leading axis"


def _reshapes(node: onnx.NodeProto, setting: Setting) -> str | None:
    if setting.shapes.get(node.input[1]) == "whole":
        return None
    shape = setting.constants.get(node.input[1])
    if shape is None:
        return "its shape is not constant"
    free = shape.size > 0 and int(shape[0]) in (0, -1) and not attribute(node, "allowzero", 0)
    # a later -1 beside a copied leading axis takes what is left of each block
    return None if free else "its shape fixes the leading axis"


def _flattens(node: onnx.NodeProto, setting: Setting) -> str | None:
    axis = attribute(node, "axis", 1)
    rank = setting.ranks[node.input[0]]
    return (
        None
        if isinstance(axis, int) and axis % rank == 1
        else "it merges the leading axis with others"
    )


def _leading_one(index: int) -> Check:
    """An input (a shape to broadcast to, repeats) leaves the leading axis as it is."""

    def check(node: onnx.NodeProto, setting: Setting) -> str | None:
        if node.op_type == "Expand" and setting.shapes.get(node.input[index]) in (
            "whole",
            "single",
        ):
            return None
        given, rank = setting.constants.get(node.input[index]), setting.ranks[node.input[0]]
        if given is None:
            return f"its input '{node.input[index]}' is not constant"
        return (
            None
            if given.size < rank or (given.size == rank and int(given[0]) == 1)
            else "it repeats the batch"
        )

    return check


def _resizes(node: onnx.NodeProto, setting: Setting) -> str | None:
    if attribute(node, "axes") is not None:
        return (
            None
            if all(a % setting.ranks[node.input[0]] for a in _axes(node, setting, 4) or [])
            else "its axes"
        )
    scales = (
        setting.constants.get(node.input[1 if node.op_type == "Upsample" else 2])
        if len(node.input) > 1
        else None
    )
    if scales is not None and scales.size:
        return None if float(scales[0]) == 1 else "it scales the leading axis"
    sizes = setting.shapes.get(node.input[3]) if len(node.input) > 3 else None
    return None if sizes == "whole" else "its sizes name the leading axis"


_BINARY = "Add Sub Mul Div Sum Mean Max Min Pow Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Mod"
ELEMENTWISE = frozenset(_BINARY.split())
_UNARY = (
    "Identity Cast Relu LeakyRelu Elu Selu Celu Gelu Sigmoid HardSigmoid HardSwish Mish Softplus Softsign Tanh Erf Exp "
    "Log Sqrt Reciprocal Abs Neg Floor Ceil Round Sign Not Sin Cos IsNaN IsInf ThresholdedRelu Shrink"
)
_PER_SAMPLE = (
    "Conv ConvTranspose MaxPool AveragePool LpPool GlobalMaxPool GlobalAveragePool GlobalLpPool BatchNormalization "
    "InstanceNormalization GroupNormalization LRN DepthToSpace SpaceToDepth Clip PRelu CastLike"
)
_REDUCTIONS = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceLogSumExp ReduceProd ReduceSumSquare"

CHECKS: dict[str, Check] = {
    **dict.fromkeys(ELEMENTWISE, _any),
    **dict.fromkeys(_UNARY.split(), _any),
    **dict.fromkeys(_PER_SAMPLE.split(), _only_first_moves),
    **dict.fromkeys(_REDUCTIONS.split(), _reduces),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "LayerNormalization"), _both(_axis_behind(-1), _only_first_moves)
    ),
    "CumSum": _cumulates,
    "Concat": _joined,
    "Split": _both(_axis_behind(0), _only_first_moves),
    "Gather": _both(_axis_behind(0), _only_first_moves),
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Squeeze": _squeezes,
    "Unsqueeze": _squeezes,
    "Slice": _slices,
    "Pad": _pads,
    "Transpose": _transposes,
    "Reshape": _reshapes,
    "Flatten": _flattens,
    "Expand": _leading_one(1),
    "Tile": _leading_one(1),
    "Resize": _resizes,
    "Upsample": _resizes,
}
