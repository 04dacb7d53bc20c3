"""The table of operators that work when time-steps are folded into the leading (batch) axis.

With K time-steps of a tensor [M, ...] in one of shape [K M, ...], the steps one after the other, an
operator gives the K results one after the other if it treats blocks of the leading axis
independently. A row's rule says why a node does not, or None. Adding an operator is one row here
and one case in its test.
"""

from __future__ import annotations

import onnx

from onnx2snn.protos.nodes import standard
from onnx2snn.runtime import time_rules as rules
from onnx2snn.runtime.time_facts import NodeFacts, TensorFacts, TimeRule

ELEMENTWISE = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Sum",
        "Mean",
        "Max",
        "Min",
        "Pow",
        "Where",
        "Mod",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "And",
        "Or",
        "Xor",
    ]
)
"""Operators that combine their inputs element by element, with broadcasting."""

_UNARY = [
    "Identity",
    "Cast",
    "Relu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Mish",
    "Softplus",
    "Softsign",
    "Tanh",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Neg",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Not",
    "Sin",
    "Cos",
    "IsNaN",
    "IsInf",
    "ThresholdedRelu",
    "Shrink",
]

_PER_SAMPLE = [
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "LpPool",
    "GlobalMaxPool",
    "GlobalAveragePool",
    "GlobalLpPool",
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LRN",
    "DepthToSpace",
    "SpaceToDepth",
    "Clip",
    "PRelu",
    "CastLike",
]

_REDUCTIONS = [
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceProd",
    "ReduceSumSquare",
]

_ALONG_AN_AXIS = ("Softmax", "LogSoftmax", "LayerNormalization")

TIME_RULES: dict[str, TimeRule] = {
    **dict.fromkeys(ELEMENTWISE, rules.always),
    **dict.fromkeys(_UNARY, rules.always),
    **dict.fromkeys(_PER_SAMPLE, rules.only_the_first_input_varies),
    **dict.fromkeys(_REDUCTIONS, rules.reduces_other_axes),
    **dict.fromkeys(_ALONG_AN_AXIS, rules.normalises_another_axis),
    "CumSum": rules.cumulates_along_another_axis,
    "Concat": rules.joins_along_another_axis,
    "Split": rules.takes_apart_another_axis,
    "Gather": rules.takes_apart_another_axis,
    "Gemm": rules.multiplies_rows,
    "MatMul": rules.multiplies_matrices,
    "Squeeze": rules.adds_or_drops_other_axes,
    "Unsqueeze": rules.adds_or_drops_other_axes,
    "Slice": rules.slices_other_axes,
    "Pad": rules.pads_other_axes,
    "Transpose": rules.leaves_the_leading_axis_in_place,
    "Reshape": rules.reshapes_within_samples,
    "Flatten": rules.flattens_within_samples,
    "Expand": rules.expands_within_samples,
    "Tile": rules.repeats_within_samples,
    "Resize": rules.resizes_other_axes,
    "Upsample": rules.upsamples_other_axes,
}
"""Operators of the standard domain that let time be folded, and the rule that says when."""


def elementwise(node: onnx.NodeProto) -> bool:
    """Return whether a node combines its inputs element by element, with broadcasting."""
    return node.op_type in ELEMENTWISE and standard(node)


def time_refusal(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Return why time cannot be folded into a node's leading axis, or None where it can."""
    if not standard(node):
        return f"nothing is known about operators of domain '{node.domain}'"
    if node.output[0] in facts.shapes:
        return None
    for name in [*node.input, *node.output]:
        is_known = facts.ranks.get(name, 0) > 0
        if facts.varies(name) and not is_known:
            return f"the rank of '{name}' is unknown or 0"
    rule = TIME_RULES.get(node.op_type)
    if rule is None:
        return f"{node.op_type} may mix samples"
    return rule(NodeFacts(node, facts))
