"""The rules of `runtime.time_axis`: under which conditions an operator treats blocks of its leading axis independently.

Every rule takes a node and the facts about its tensors, and returns why time cannot be folded into the leading axis, or
None where it can. "Varies" means: in time.
"""

from __future__ import annotations

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import attribute
from onnx2snn.runtime.time_facts import TensorFacts

# Operators on samples.


def always(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow an operator on single elements."""
    return None


def only_the_first_input_varies(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow an operator on single samples, if everything but the samples is constant."""
    for name in node.input[1:]:
        if name and name not in facts.constants:
            return f"its input '{name}' is not constant"
    return None


def multiplies_rows(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a Gemm whose rows are samples: a constant second operand, a bias that is the same for all rows."""
    if not facts.varies(node.input[0]) or attribute(node, "transA", 0):
        return "its second operand, or a transposed one, changes in time"
    bias = facts.constant_input(node, 2)
    if bias is not None and bias.ndim > 1 and bias.shape[0] != 1:
        return "its bias has rows of its own"
    return only_the_first_input_varies(node, facts)


def multiplies_matrices(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a MatMul whose operands line up with samples along the leading axis."""
    rank = max(facts.varying_ranks(node))
    for index, name in enumerate(node.input):
        if facts.varies(name):
            # of rank 2 the second operand's leading axis is summed over
            fits = facts.ranks[name] == rank and (rank > 2 or index == 0)
        else:
            fits = _is_one_matrix(facts.constants.get(name), rank)
        if not fits:
            return f"its operand '{name}' does not leave the leading axis alone"
    return None


def _is_one_matrix(constant: Array | None, rank: int) -> bool:
    """Whether a constant operand is the same for all samples of a product of a rank."""
    if constant is None:
        return False
    return constant.ndim <= 2 or constant.ndim < rank or constant.shape[0] == 1


# Operators along axes.


def normalises_another_axis(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a normalisation along an axis, the last by default, that is not the leading one."""
    return _works_behind(node, facts, default=-1) or only_the_first_input_varies(node, facts)


def takes_apart_another_axis(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow taking parts along an axis, the leading one by default, that is not the leading one."""
    return _works_behind(node, facts, default=0) or only_the_first_input_varies(node, facts)


def joins_along_another_axis(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a Concat along another axis; constants would lack the samples' axis."""
    for name in node.input:
        if name in facts.constants:
            return f"its input '{name}' has no batch"
    return _works_behind(node, facts, default=None)


def _works_behind(node: onnx.NodeProto, facts: TensorFacts, default: int | None) -> str | None:
    """Refuse an `axis` that is the leading one, or is not known."""
    axis = attribute(node, "axis", default)
    rank = facts.varying_ranks(node)[0]
    if not isinstance(axis, int) or axis % rank == 0:
        return "it works along the leading axis"
    return None


def cumulates_along_another_axis(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a CumSum along another axis."""
    axis = facts.constants.get(node.input[1])
    rank = facts.ranks[node.input[0]]
    if axis is None or int(axis.flat[0]) % rank == 0:
        return "it sums along the leading axis"
    return None


def reduces_other_axes(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a reduction of other axes."""
    if _may_be_leading(facts.axes(node, 1), facts.ranks[node.input[0]]):
        return "it reduces the leading axis"
    return None


def adds_or_drops_other_axes(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a Squeeze or Unsqueeze of other axes, which count in the larger of the two ranks."""
    rank = max(facts.ranks[node.input[0]], facts.ranks[node.output[0]])
    if _may_be_leading(facts.axes(node, 1), rank):
        return "it changes the leading axis"
    return None


def slices_other_axes(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a Slice of other axes by constant bounds."""
    if _may_be_leading(facts.axes(node, 3), facts.ranks[node.input[0]]):
        return "it slices the leading axis"
    return only_the_first_input_varies(node, facts)


def _may_be_leading(axes: list[int] | None, rank: int) -> bool:
    """Whether the leading axis is among some axes; without axes an operator means all of them."""
    return axes is None or any(axis % rank == 0 for axis in axes)


def pads_other_axes(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow constant pads that are 0 on both sides of the leading axis."""
    pads = facts.constant_input(node, 1)
    rank = facts.ranks[node.input[0]]
    if pads is None:
        return "its pads are not constant"
    axes = facts.axes(node, 3)
    if axes is None:
        axes = list(range(rank))
    # pads are [begin of each axis, then end of each axis]
    sides = np.reshape(pads, (2, len(axes)))
    for index, axis in enumerate(axes):
        if axis % rank == 0 and sides[:, index].any():
            return "it pads the leading axis"
    return None


def leaves_the_leading_axis_in_place(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a Transpose that keeps the leading axis."""
    order = attribute(node, "perm")
    if isinstance(order, list) and order[0] == 0:
        return None
    return "it moves the leading axis"


# Operators that change shapes.


def reshapes_within_samples(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a Reshape that leaves the leading axis free (0 or -1) or takes its length from a folded tensor."""
    if facts.shapes.get(node.input[1]) == "whole":
        return None
    shape = facts.constants.get(node.input[1])
    if shape is None:
        return "its shape is not constant"
    copies_zeros = not attribute(node, "allowzero", 0)
    # a later -1 beside a copied leading axis takes the rest of each block
    if shape.size > 0 and int(shape[0]) in (0, -1) and copies_zeros:
        return None
    return "its shape fixes the leading axis"


def flattens_within_samples(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a Flatten from axis 1 on."""
    axis = attribute(node, "axis", 1)
    rank = facts.ranks[node.input[0]]
    if isinstance(axis, int) and axis % rank == 1:
        return None
    return "it merges the leading axis with others"


def repeats_within_samples(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow an Expand or Tile that does not repeat the leading axis."""
    if node.op_type == "Expand" and facts.shapes.get(node.input[1]) in ("whole", "single"):
        return None
    given = facts.constants.get(node.input[1])
    rank = facts.ranks[node.input[0]]
    if given is None:
        return f"its input '{node.input[1]}' is not constant"
    if given.size < rank:
        return None
    if given.size == rank and int(given[0]) == 1:
        return None
    return "it repeats the batch"


def resizes_other_axes(node: onnx.NodeProto, facts: TensorFacts) -> str | None:
    """Allow a Resize or Upsample of other axes, be it by axes, by scales or by sizes."""
    if attribute(node, "axes") is not None:
        rank = facts.ranks[node.input[0]]
        leading = any(axis % rank == 0 for axis in facts.axes(node, 4) or [])
        return "its axes" if leading else None
    scales = facts.constant_input(node, 1 if node.op_type == "Upsample" else 2)
    if scales is not None and scales.size:
        return None if float(scales[0]) == 1 else "it scales the leading axis"
    sizes = facts.shapes.get(node.input[3]) if len(node.input) > 3 else None
    return None if sizes == "whole" else "its sizes name the leading axis"
