"""Per-channel affine operators, s x + b: what BatchNormalization is in canonical form.

They change places with a max-pool: maxpool(s x + b) = s maxpool(x) + b for s >= 0. For s < 0 the
maximum becomes a minimum, -maxpool(-x).
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import keeps_shape, rank
from onnx2snn.graph.editing import constant, producer
from onnx2snn.graph.types import Node, Tensor
from onnx2snn.protos.nodes import standard


def channel_signs(node: Node) -> Array | None:
    """Return 1 or -1 by channel (axis 1) for the scales of a per-channel affine operator.

    It broadcasts to the operator's output; a scale of 0 counts as 1. None where a node is no such
    operator: a Mul or Add of a tensor and a constant second, which differs along channels alone.
    """
    if node.op not in ("Mul", "Add") or not standard(node):
        return None
    x = node.inputs[0]
    value = constant(node.inputs[1])
    ndim = rank(x)
    if value is None or ndim is None or constant(x) is not None or not keeps_shape(x, value):
        return None
    if not np.issubdtype(value.dtype, np.floating):
        return None
    # aligned to the right, as ONNX broadcasts
    aligned = value.reshape((1,) * (ndim - value.ndim) + value.shape)
    if any(size != 1 for axis, size in enumerate(aligned.shape) if axis != 1):
        return None
    if node.op == "Add":
        aligned = np.zeros_like(aligned)
    return np.where(aligned < 0, -1.0, 1.0)


def affine_chain(tensor: Tensor) -> tuple[list[Node], Tensor, Array]:
    """Return the per-channel affine operators that end in a tensor, the last one first.

    With them come the tensor that they start from, and the signs of their scales together.
    """
    chain: list[Node] = []
    signs: Array = np.ones(1)
    node = producer(tensor)
    while node is not None:
        own = channel_signs(node)
        if own is None:
            break
        chain.append(node)
        signs = signs * own
        tensor = node.inputs[0]
        node = producer(tensor)
    return chain, tensor, signs
