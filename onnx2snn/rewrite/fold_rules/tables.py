"""The algebra of moving a constant factor through a node: one small rule per operator, in two tables.

`BACKWARD` rules take the scale s of a node's output, s * f(x), and say which scales to put on its inputs instead and
which constants change; `FORWARD` rules take the scales of a node's inputs, f(s * x), and say the same of its outputs.
Each rule is pure; it returns a Move, or a sentence saying why the scale has to stay.
"""

from __future__ import annotations

from onnx2snn.rewrite.fold_rules import layout, pointwise, weighted
from onnx2snn.rewrite.fold_rules.moves import BackwardRule, ForwardRule
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, INCREASE, MEAN_SO_FAR, RUNNING_MEAN


def _of_first(rule: BackwardRule) -> ForwardRule:
    """For an operator that takes the scale of its first input alone."""
    return lambda node, scales: (
        rule(node, scales[0]) if set(scales) == {0} else "its parameters are not constants"
    )


_PASSES: dict[str, BackwardRule] = {
    "AveragePool": pointwise.pool_back,
    "GlobalAveragePool": pointwise.pool_back,
    "MaxPool": pointwise.max_back,
    "GlobalMaxPool": pointwise.max_back,
    ACCUMULATED_MAX_POOL: pointwise.max_back,
    RUNNING_MEAN: pointwise.anywhere_back,
    MEAN_SO_FAR: pointwise.anywhere_back,
    INCREASE: pointwise.anywhere_back,
    "Cast": pointwise.float_cast,
    "CumSum": pointwise.cumulate,
    "Resize": pointwise.resize,
    "Upsample": pointwise.resize,
}

BACKWARD: dict[str, BackwardRule] = _PASSES | {
    "Conv": weighted.conv_back,
    "ConvTranspose": weighted.deconv_back,
    "Gemm": weighted.gemm_back,
    "MatMul": weighted.matmul_back,
    "Mul": pointwise.mul_back,
    "Add": pointwise.add_back,
    "Sub": pointwise.add_back,
    "Sum": pointwise.add_back,
    "Mean": pointwise.add_back,
    "Where": pointwise.where_back,
    "ReduceSum": pointwise.reduce_back,
    "ReduceMean": pointwise.reduce_back,
    "Reshape": layout.reshape_back,
    "Flatten": layout.reshape_back,
    "Squeeze": layout.reshape_back,
    "Unsqueeze": layout.reshape_back,
    "Transpose": layout.transpose_back,
    "Concat": layout.concat_back,
    "Pad": layout.pad_back,
    "Slice": layout.slice_back,
    "Gather": layout.gather_back,
    "Expand": layout.expand_back,
    "Tile": layout.tile_back,
    "DepthToSpace": layout.depth_to_space_back,
    "SpaceToDepth": layout.space_to_depth_back,
}

FORWARD: dict[str, ForwardRule] = {op: _of_first(rule) for op, rule in _PASSES.items()} | {
    "Conv": _of_first(weighted.conv_forward),
    "ConvTranspose": _of_first(weighted.deconv_forward),
    "Gemm": _of_first(weighted.gemm_forward),
    "MatMul": weighted.matmul_forward,
    "Mul": pointwise.mul_forward,
    "Add": pointwise.add_forward,
    "Sub": pointwise.add_forward,
    "Sum": pointwise.add_forward,
    "Mean": pointwise.add_forward,
    "Where": pointwise.where_forward,
    "ReduceSum": pointwise.reduce_forward,
    "ReduceMean": pointwise.reduce_forward,
    "Reshape": layout.reshape_forward,
    "Flatten": layout.reshape_forward,
    "Squeeze": layout.reshape_forward,
    "Unsqueeze": layout.reshape_forward,
    "Transpose": layout.transpose_forward,
    "Concat": layout.concat_forward,
    "Pad": layout.pad_forward,
    "Slice": layout.slice_forward,
    "Gather": layout.gather_forward,
    "Split": layout.split_forward,
    "Expand": layout.expand_forward,
    "Tile": layout.tile_forward,
    "DepthToSpace": layout.depth_to_space_forward,
    "SpaceToDepth": layout.space_to_depth_forward,
    "Shape": layout.shape_forward,
    "Size": layout.shape_forward,
    "EyeLike": layout.shape_forward,
}

KNOWN_DOMAINS = ("", "ai.onnx", None, SNN_DOMAIN)
