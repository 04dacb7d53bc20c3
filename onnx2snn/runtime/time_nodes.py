"""Nodes that know only their own time-step, computed for all steps at once.

Most work on folded tensors as they are. The cases that need more:
- elementwise, where an input that is constant in time or of lower rank does not line up with the folded leading axis:
  on unfolded tensors, since broadcasting aligns the trailing axes
- a product with a factor per channel: a depthwise convolution
- Concat with tensors constant in time: these are repeated for each step
"""

from __future__ import annotations

import onnx
from onnx import helper

from onnx2snn.runtime.time_axis import elementwise
from onnx2snn.runtime.time_core import OWN
from onnx2snn.runtime.time_forms import Forms


def emit_all_steps(node: onnx.NodeProto, forms: Forms) -> None:
    """Append a node that gives its results for all time-steps in folded form."""
    facts = forms.core.facts
    is_shape = node.output[0] in facts.shapes
    if not is_shape and elementwise(node) and not _lines_up(node, forms):
        _emit_unfolded(node, forms)
        return
    weights = None
    if not is_shape and node.op_type == "Mul":
        weights = _depthwise_weights(node, forms)
    if weights is not None:
        _emit_depthwise(node, weights, forms)
        return
    copy = _copied(node)
    if not is_shape and node.op_type == "Concat":
        for index, name in enumerate(node.input):
            if not facts.varies(name):
                copy.input[index] = forms.repeated(name)
    forms.build.append(copy)


def _lines_up(node: onnx.NodeProto, forms: Forms) -> bool:
    """Whether an elementwise node's inputs line up in folded form."""
    facts = forms.core.facts
    rank = max(facts.varying_ranks(node))
    for name in node.input:
        if facts.varies(name):
            fits = facts.ranks[name] == rank
        else:
            constant = facts.constants.get(name)
            fits = constant is not None and (constant.ndim < rank or constant.shape[0] == 1)
        if not fits:
            return False
    return True


def _emit_unfolded(node: onnx.NodeProto, forms: Forms) -> None:
    """Compute [K, M, ...] and fold it; inputs that are constant in time fit as they are."""
    facts = forms.core.facts
    rank = max(facts.ranks.get(name, 0) for name in node.input)
    copy = _copied(node)
    for index, name in enumerate(node.input):
        if facts.varies(name):
            copy.input[index] = forms.unfolded(name, rank)
    copy.output[0] = f"{OWN}{node.output[0]}/unfolded"
    forms.build.append(copy)
    forms.fold(copy.output[0], node.output[0], rank)


def _depthwise_weights(node: onnx.NodeProto, forms: Forms) -> str | None:
    """Return weights [C, 1, 1, 1] in place of a factor per channel; None where a Mul is no such product.

    A convolution keeps onnxruntime's blocked layout, which a Mul does not.
    """
    facts = forms.core.facts
    x, factor_name = node.input
    factor = facts.constants.get(factor_name)
    dims = forms.core.dims.get(x)
    if factor is None or dims is None or len(dims) != 4 or not facts.varies(x):
        return None
    channels = dims[1]
    if factor.size != channels or factor.shape[-3:] != (channels, 1, 1):
        return None
    return forms.build.constant(f"{OWN}{factor_name}/weights", factor.reshape(-1, 1, 1, 1))


def _emit_depthwise(node: onnx.NodeProto, weights: str, forms: Forms) -> None:
    x = node.input[0]
    channels = forms.core.dims[x][1]
    conv = helper.make_node(
        "Conv", [x, weights], node.output, node.name, group=channels, kernel_shape=[1, 1]
    )
    forms.build.append(conv)


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
