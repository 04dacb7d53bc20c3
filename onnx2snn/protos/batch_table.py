"""The table of operators that say where their output has its samples (`protos.batch_axis`).

Adding an operator is one row here and one case in its test. An operator without a row is one about
which nothing is known.
"""

from __future__ import annotations

from onnx2snn.protos import batch_products as products
from onnx2snn.protos import batch_rules as rules
from onnx2snn.protos.batch_types import NodeView, Place
from onnx2snn.protos.nodes import RECURRENT, STANDARD_DOMAINS

ELEMENTWISE_DOMAINS = ("onnx2snn",)
"""Domains all of whose operators combine their inputs element by element: the neurons'."""

# fmt: off
_ELEMENTWISE = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift",
    "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Dropout", "Elu", "Equal", "Erf",
    "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
    "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean",
    "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu",
    "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign",
    "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
)
_EACH_SAMPLE = (
    "AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
    "GlobalLpPool", "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LRN",
    "LpPool", "MaxPool", "SpaceToDepth", "ConvInteger", "GridSample",
)
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)
# fmt: on

BATCH_RULES: dict[str, rules.Rule] = {
    **dict.fromkeys(_ELEMENTWISE, rules.elementwise),
    **dict.fromkeys(_EACH_SAMPLE, rules.each_sample),
    **dict.fromkeys(_REDUCTIONS, rules.reduces),
    # before opset 13 all axes behind the given one are summed over
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), rules.from_an_axis_on),
    "Split": rules.along_an_axis(0),
    "LpNormalization": rules.along_an_axis(-1),
    "TopK": rules.along_an_axis(-1),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), rules.from_an_axis_on),
    **dict.fromkeys(("ArgMax", "ArgMin"), rules.picks),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), rules.reshapes),
    **dict.fromkeys(("Expand", "Tile"), rules.repeats),
    **dict.fromkeys(RECURRENT, products.recurs),
    **dict.fromkeys(("Resize", "Upsample"), rules.keeps_size),
    "Pad": rules.slices,
    "Slice": rules.slices,
    "BatchNormalization": rules.normalises_by_record,
    "CastLike": rules.first_input,
    "Concat": rules.joins,
    "ConstantOfShape": rules.filled,
    "CumSum": rules.along_a_given_axis,
    "Gather": rules.gathers,
    "Gemm": products.multiplies_rows,
    "MatMul": products.multiplies_matrices,
    "Transpose": rules.transposes,
}
"""Operators of the standard domain, and where their output has its samples."""


def place_of(view: NodeView, output: int) -> Place:
    """Return the batch axis of an output of a node that depends on samples, or None."""
    if view.node.domain in ELEMENTWISE_DOMAINS:
        return rules.elementwise(view, output)
    if view.node.domain not in STANDARD_DOMAINS:
        return None
    rule = BATCH_RULES.get(view.node.op_type)
    return None if rule is None else rule(view, output)
