"""The rules of `runtime.time_axis`: when does an operator treat samples independently?

Every rule takes a node with the facts about its tensors. It returns why time cannot be folded into
the leading axis, or None where it can. "Varies" means: in time.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.runtime.time_facts import NodeFacts

# Operators on samples.


def always(node: NodeFacts) -> str | None:
    """Allow an operator on single elements."""
    return None


def only_the_first_input_varies(node: NodeFacts) -> str | None:
    """Allow an operator on single samples, if all but the samples is constant."""
    for name in node.inputs[1:]:
        if name and name not in node.facts.constants:
            return f"its input '{name}' is not constant"
    return None


def multiplies_rows(node: NodeFacts) -> str | None:
    """Allow a Gemm whose rows are samples: x W + b with constant W, and b the same for all rows."""
    x = node.inputs[0]
    if not node.facts.varies(x) or node.attribute("transA", 0):
        return "its second operand, or a transposed one, changes in time"
    bias = node.constant(2)
    if bias is not None and bias.ndim > 1 and bias.shape[0] != 1:
        return "its bias has rows of its own"
    return only_the_first_input_varies(node)


def multiplies_matrices(node: NodeFacts) -> str | None:
    """Allow a MatMul whose operands line up with samples along the leading axis."""
    rank = max(node.varying_ranks)
    if rank < 2:
        return "it sums along the leading axis"
    for index, name in enumerate(node.inputs):
        if node.facts.varies(name):
            # of rank 2 the second operand's leading axis is summed over
            keeps_samples = rank > 2 or index == 0
            fits = keeps_samples and node.facts.ranks[name] == rank
        else:
            fits = _is_one_matrix(node.constant(index), rank)
        if not fits:
            return f"its operand '{name}' does not leave the leading axis alone"
    return None


def _is_one_matrix(constant: Array | None, rank: int) -> bool:
    """Whether a constant operand is the same for all samples of a product of a rank."""
    if constant is None:
        return False
    is_matrix = constant.ndim <= 2
    return is_matrix or constant.ndim < rank or constant.shape[0] == 1


# Operators along axes.


def normalises_another_axis(node: NodeFacts) -> str | None:
    """Allow a normalisation along an axis, the last by default, other than the leading one."""
    reason = _works_behind(node, default=-1)
    return reason or only_the_first_input_varies(node)


def takes_apart_another_axis(node: NodeFacts) -> str | None:
    """Allow taking parts along an axis, the leading one by default, other than the leading one."""
    reason = _works_behind(node, default=0)
    return reason or only_the_first_input_varies(node)


def joins_along_another_axis(node: NodeFacts) -> str | None:
    """Allow a Concat along another axis; constants would lack the samples' axis."""
    for name in node.inputs:
        if name in node.facts.constants:
            return f"its input '{name}' has no batch"
    return _works_behind(node, default=None)


def _works_behind(node: NodeFacts, default: int | None) -> str | None:
    """Refuse an `axis` that is the leading one, or is not known."""
    axis = node.attribute("axis", default)
    rank = node.varying_ranks[0]
    if not isinstance(axis, int) or axis % rank == 0:
        return "it works along the leading axis"
    return None


def cumulates_along_another_axis(node: NodeFacts) -> str | None:
    """Allow a CumSum along another axis."""
    axis = node.constant(1)
    if axis is None or int(axis.flat[0]) % node.rank == 0:
        return "it sums along the leading axis"
    return None


def reduces_other_axes(node: NodeFacts) -> str | None:
    """Allow a reduction of other axes."""
    axes = node.axes(1)
    if _may_be_leading(axes, node.rank):
        return "it reduces the leading axis"
    return None


def adds_or_drops_other_axes(node: NodeFacts) -> str | None:
    """Allow a Squeeze or Unsqueeze of other axes."""
    # axes count in the tensor that has them, which is the larger one
    rank = max(node.rank, node.output_rank)
    axes = node.axes(1)
    if _may_be_leading(axes, rank):
        return "it changes the leading axis"
    return None


def slices_other_axes(node: NodeFacts) -> str | None:
    """Allow a Slice of other axes by constant bounds."""
    axes = node.axes(3)
    if _may_be_leading(axes, node.rank):
        return "it slices the leading axis"
    return only_the_first_input_varies(node)


def _may_be_leading(axes: list[int] | None, rank: int) -> bool:
    """Whether the leading axis is among some axes; without axes an operator means all of them."""
    if axes is None:
        return True
    return any(axis % rank == 0 for axis in axes)


def pads_other_axes(node: NodeFacts) -> str | None:
    """Allow constant pads that are 0 on both sides of the leading axis."""
    pads = node.constant(1)
    if pads is None:
        return "its pads are not constant"
    axes = node.axes(3)
    if axes is None:
        axes = list(range(node.rank))
    # pads are [begin of each axis, then end of each axis]
    sides = np.reshape(pads, (2, -1))
    for index, axis in enumerate(axes):
        is_leading = axis % node.rank == 0
        if is_leading and sides[:, index].any():
            return "it pads the leading axis"
    return None


def leaves_the_leading_axis_in_place(node: NodeFacts) -> str | None:
    """Allow a Transpose that keeps the leading axis."""
    order = node.attribute("perm")
    if isinstance(order, list) and order[0] == 0:
        return None
    return "it moves the leading axis"


# Operators that change shapes.


def reshapes_within_samples(node: NodeFacts) -> str | None:
    """Allow a Reshape that leaves the leading axis free, or takes its length from a folded tensor.

    It is free where its length is given as 0, the input's own, or as -1, the rest.
    """
    if node.shape_kind(1) == "whole":
        return None
    shape = node.constant(1)
    if shape is None:
        return "its shape is not constant"
    if shape.size == 0 or node.attribute("allowzero", 0):
        return "its shape fixes the leading axis"
    # a later -1 beside a copied leading axis takes the rest of each block
    if int(shape[0]) in (0, -1):
        return None
    return "its shape fixes the leading axis"


def flattens_within_samples(node: NodeFacts) -> str | None:
    """Allow a Flatten from axis 1 on."""
    axis = node.attribute("axis", 1)
    if isinstance(axis, int) and axis % node.rank == 1:
        return None
    return "it merges the leading axis with others"


def expands_within_samples(node: NodeFacts) -> str | None:
    """Allow an Expand that does not repeat the leading axis."""
    if node.shape_kind(1) in ("whole", "single"):
        return None
    return repeats_within_samples(node)


def repeats_within_samples(node: NodeFacts) -> str | None:
    """Allow a Tile that does not repeat the leading axis: by repeats of 1 there, or none at all."""
    repeats = node.constant(1)
    if repeats is None:
        return f"its input '{node.inputs[1]}' is not constant"
    if repeats.size < node.rank:
        return None
    if repeats.size == node.rank and int(repeats[0]) == 1:
        return None
    return "it repeats the batch"


def resizes_other_axes(node: NodeFacts) -> str | None:
    """Allow a Resize of other axes, by axes, by scales or by sizes."""
    if node.attribute("axes") is not None:
        axes = node.axes(4)
        return "its axes" if _may_be_leading(axes, node.rank) else None
    return _keeps_scale(node, node.constant(2))


def upsamples_other_axes(node: NodeFacts) -> str | None:
    """Allow an Upsample of other axes, by scales."""
    return _keeps_scale(node, node.constant(1))


def _keeps_scale(node: NodeFacts, scales: Array | None) -> str | None:
    """Refuse scales, or where there are none sizes, that change the leading axis."""
    if scales is not None and scales.size:
        is_kept = float(scales[0]) == 1
        return None if is_kept else "it scales the leading axis"
    if node.shape_kind(3) == "whole":
        return None
    return "its sizes name the leading axis"
