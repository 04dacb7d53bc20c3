"""Max-pools whose size ONNX gets wrong -> the same pools by their padding.

With `ceil_mode` and padding, onnxruntime leaves out a last window that would start in the padding,
as PyTorch does; ONNX's inference counts it, and inside loops onnxruntime refuses what contradicts
inference. Without `ceil_mode` both agree: along an axis of n elements, with a window XX"""

from __future__ import annotations

from collections.abc import Iterator

from onnx2snn.graph.dims import static_dims
from onnx2snn.graph.types import Graph, Node
from onnx2snn.protos.nodes import standard


def settle_ceil_pools(graph: Graph) -> None:
    """Write padding in place of `ceil_mode` where inference is wrong; the graph is changed.

    Cases: max-pools of a known size, with explicit padding that is shorter than the window.
    """
    for node in ceil_pools(graph):
        padding = _padding_behind(node)
        if padding is None:
            continue
        rank = len(padding)
        before = list(node.attrs.get("pads", [0] * rank))[:rank]
        node.attrs = {**node.attrs, "pads": [*before, *padding], "ceil_mode": 0}


def ceil_pools(graph: Graph) -> Iterator[Node]:
    """Yield the max-pools whose size may be inferred wrongly."""
    for node in graph.nodes:
        if node.op != "MaxPool" or not standard(node):
            continue
        explicit = node.attrs.get("auto_pad", "NOTSET") == "NOTSET"
        if explicit and node.attrs.get("ceil_mode", 0):
            yield node


def _padding_behind(node: Node) -> list[int] | None:
    """Return the padding behind each axis, or None where `ceil_mode` is as good or has to stay."""
    entering = static_dims(node.inputs[0], 2)
    leaving = static_dims(node.outputs[0], 2)
    if entering is None or leaving is None:
        return None
    rank = len(entering)
    kernel = node.attrs["kernel_shape"]
    strides = node.attrs.get("strides", [1] * rank)
    dilations = node.attrs.get("dilations", [1] * rank)
    pads = node.attrs.get("pads", [0] * (2 * rank))
    padding = []
    wrong = False
    for axis in range(rank):
        window = (kernel[axis] - 1) * dilations[axis] + 1
        stride = strides[axis]
        before, behind = pads[axis], pads[axis + rank]
        # windows that ONNX counts: those that start in the input or in any padding
        free = entering[axis] + before + behind - window
        counted = -(-free // stride) + 1
        wrong = wrong or counted != leaving[axis]
        reached = (leaving[axis] - 1) * stride + window - entering[axis] - before
        padding.append(max(reached, 0))
    fits = all(behind < size for behind, size in zip(padding, kernel, strict=True))
    return padding if wrong and fits else None
