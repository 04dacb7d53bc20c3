"""Nodes that know only their own time-step, computed for all steps at once.

Most work on folded tensors as they are. The cases that need more:

- an elementwise operator on tensors that do not line up with the folded leading axis, since they
  are constant in time or of lower rank: on unfolded tensors, since broadcasting aligns the trailing
  axes
- a product with a factor per channel: a depthwise convolution
- Concat with tensors that are constant in time: these are repeated for each step
"""

from __future__ import annotations

import onnx

from onnx2snn.aliases import Array
from onnx2snn.runtime.time_axis import elementwise
from onnx2snn.runtime.time_core import OWN, TimedCore
from onnx2snn.runtime.time_facts import NodeFacts
from onnx2snn.runtime.time_forms import Forms, unfolded_name


def emit_all_steps(node: onnx.NodeProto, forms: Forms) -> None:
    """Append a node that gives its results for all time-steps in folded form."""
    facts = forms.core.facts
    is_shape = node.output[0] in facts.shapes
    is_constant = not any(facts.varies(name) for name in node.input)
    if is_shape or is_constant:
        # of a folded tensor it is the shape that is needed, as it is
        forms.build.append(_copied(node))
    elif elementwise(node) and not _lines_up(node, forms):
        _emit_unfolded(node, forms)
    elif is_depthwise(node, forms.core):
        _emit_depthwise(node, forms)
    elif node.op_type == "Concat":
        _emit_concat(node, forms)
    else:
        forms.build.append(_copied(node))


def _lines_up(node: onnx.NodeProto, forms: Forms) -> bool:
    """Whether an elementwise node's inputs line up in folded form."""
    facts = forms.core.facts
    rank = max(NodeFacts(node, facts).varying_ranks)
    for name in node.input:
        if facts.varies(name):
            fits = facts.ranks[name] == rank
        else:
            fits = _broadcasts(facts.constants.get(name), rank)
        if not fits:
            return False
    return True


def _broadcasts(constant: Array | None, rank: int) -> bool:
    """Whether a constant is the same for all samples beside tensors of a rank."""
    if constant is None:
        return False
    return constant.ndim < rank or constant.shape[0] == 1


def _emit_unfolded(node: onnx.NodeProto, forms: Forms) -> None:
    """Compute [K, M, ...] and fold it; inputs that are constant in time fit as they are."""
    facts = forms.core.facts
    # the rank of the result, which all that varies is brought to, with axes of 1 behind K
    ranks = [facts.ranks.get(name, 0) for name in node.input]
    rank = max(ranks)
    copy = _copied(node)
    for index, name in enumerate(node.input):
        if facts.varies(name):
            copy.input[index] = forms.unfolded(name, rank)
    folded = node.output[0]
    unfolded = unfolded_name(folded)
    copy.output[0] = unfolded
    forms.build.append(copy)
    forms.fold(unfolded, folded, rank)


def is_depthwise(node: onnx.NodeProto, core: TimedCore) -> bool:
    """Return whether a node becomes a depthwise convolution: a Mul with a factor per channel."""
    return node.op_type == "Mul" and _factor_per_channel(node, core) is not None


def _factor_per_channel(node: onnx.NodeProto, core: TimedCore) -> Array | None:
    """Return the factor [C, 1, 1] by which a Mul scales the channels of images; else None."""
    x, name = node.input
    factor = core.facts.constants.get(name)
    dims = core.dims.get(x)
    if factor is None or dims is None or not core.facts.varies(x):
        return None
    if len(dims) != 4:
        return None
    channels = dims[1]
    if factor.size != channels or factor.shape[-3:] != (channels, 1, 1):
        return None
    return factor


def _emit_depthwise(node: onnx.NodeProto, forms: Forms) -> None:
    """Scale channels by weights [C, 1, 1, 1].

    A convolution keeps onnxruntime's blocked layout, which a Mul does not.
    """
    x, name = node.input
    factor = _factor_per_channel(node, forms.core)
    assert factor is not None
    weights = f"{OWN}{name}/weights"
    forms.build.constant(weights, factor.reshape(-1, 1, 1, 1))
    forms.build.node(
        "Conv",
        [x, weights],
        node.output,
        node.name,
        group=factor.size,
        kernel_shape=[1, 1],
    )


def _emit_concat(node: onnx.NodeProto, forms: Forms) -> None:
    """Join tensors, of which those constant in time are repeated for each step."""
    copy = _copied(node)
    for index, name in enumerate(node.input):
        if not forms.core.facts.varies(name):
            copy.input[index] = forms.repeated(name)
    forms.build.append(copy)


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
