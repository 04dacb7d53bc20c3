"""The algebra of moving a constant factor through a node: one small rule per operator, in two
tables.

`BACKWARD` rules take the scale s of a node's output, s * f(x), and say which scales to put on its
inputs instead and which constants change; `FORWARD` rules take the scales of a node's inputs, f(s *
x), and say the same of its outputs. Each rule is pure; it returns a Move, or a sentence saying why
the scale has to stay.
"""

from __future__ import annotations

from onnx2snn.graph.types import Node
from onnx2snn.protos.nodes import STANDARD_DOMAINS
from onnx2snn.rewrite.fold_rules import (
    along_axes,
    blocks,
    padding,
    pointwise,
    reshaping,
    selecting,
    weighted,
)
from onnx2snn.rewrite.fold_rules.moves import BackwardRule, FoldOutcome, ForwardRule, Scales
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.stateful import (
    ACCUMULATE,
    ACCUMULATED_MAX_POOL,
    INCREASE,
    MEAN_SO_FAR,
    RUNNING_MEAN,
)


def _of_first(rule: BackwardRule) -> ForwardRule:
    """Return a forward rule for an operator that takes the scale of its first input alone.

    f(s x) = s f(x) says the same in both directions, so the rule for s f(x) serves.
    """

    def forward(node: Node, scales: Scales) -> FoldOutcome:
        if set(scales) != {0}:
            return "its parameters are not constants"
        return rule(node, scales[0])

    return forward


# the scale passes as it is, in both directions
_PASSES: dict[str, BackwardRule] = {
    "AveragePool": along_axes.pool,
    "GlobalAveragePool": along_axes.pool,
    "MaxPool": along_axes.max_pool,
    "GlobalMaxPool": along_axes.max_pool,
    ACCUMULATED_MAX_POOL: along_axes.max_pool,
    RUNNING_MEAN: pointwise.anywhere,
    MEAN_SO_FAR: pointwise.anywhere,
    INCREASE: pointwise.anywhere,
    "Cast": pointwise.float_cast,
    "CumSum": along_axes.cumulate,
    "Resize": along_axes.resize,
    "Upsample": along_axes.resize,
}

# s f(x): how the scale of the output goes to the inputs and constants
BACKWARD: dict[str, BackwardRule] = _PASSES | {
    "Conv": weighted.conv_back,
    "ConvTranspose": weighted.deconv_back,
    "Gemm": weighted.gemm_back,
    "MatMul": weighted.matmul_back,
    "Mul": pointwise.mul_back,
    "Add": pointwise.add_back,
    "Sub": pointwise.add_back,
    "Sum": pointwise.add_back,
    ACCUMULATE: pointwise.add_back,
    "Mean": pointwise.add_back,
    "Where": pointwise.where_back,
    "ReduceSum": along_axes.reduce_back,
    "ReduceMean": along_axes.reduce_back,
    "Reshape": reshaping.reshape_back,
    "Flatten": reshaping.reshape_back,
    "Squeeze": reshaping.reshape_back,
    "Unsqueeze": reshaping.reshape_back,
    "Transpose": reshaping.transpose_back,
    "Concat": selecting.concat_back,
    "Pad": padding.pad_back,
    "Slice": selecting.slice_back,
    "Gather": selecting.gather_back,
    "Expand": reshaping.expand_back,
    "Tile": reshaping.tile_back,
    "DepthToSpace": blocks.depth_to_space_back,
    "SpaceToDepth": blocks.space_to_depth_back,
}

# f(s x): how the scales of inputs go to the outputs and constants
FORWARD: dict[str, ForwardRule] = {
    **{op: _of_first(rule) for op, rule in _PASSES.items()},
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
    "ReduceSum": along_axes.reduce_forward,
    "ReduceMean": along_axes.reduce_forward,
    "Reshape": reshaping.reshape_forward,
    "Flatten": reshaping.reshape_forward,
    "Squeeze": reshaping.reshape_forward,
    "Unsqueeze": reshaping.reshape_forward,
    "Transpose": reshaping.transpose_forward,
    "Concat": selecting.concat_forward,
    "Pad": padding.pad_forward,
    "Slice": selecting.slice_forward,
    "Gather": selecting.gather_forward,
    "Split": selecting.split_forward,
    "Expand": reshaping.expand_forward,
    "Tile": reshaping.tile_forward,
    "DepthToSpace": blocks.depth_to_space_forward,
    "SpaceToDepth": blocks.space_to_depth_forward,
    "Shape": reshaping.shape_forward,
    "Size": reshaping.shape_forward,
    "EyeLike": reshaping.shape_forward,
}

KNOWN_DOMAINS = (*STANDARD_DOMAINS, SNN_DOMAIN)
"""Domains whose operators the tables are about."""
