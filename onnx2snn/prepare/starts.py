"""Where estimates of differential coding may start at a value of their own.

What the operators behind a site make of its start is a part of their bias. It has to be known when
the graph is written: one value per channel, or a map where a convolution has a border.
"""

from __future__ import annotations

from onnx2snn.graph.dims import dims_of
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.weighted_sites import WeightedPartition


def steady_starts(graph: Graph, parts: WeightedPartition) -> set[str]:
    """Return the sites whose estimates may start at a value of their own per channel.

    What the operators behind make of it has to be known: they take it into their weights, and
    where they convolve with a border the size of the map is fixed.
    """
    nodes = {node.name: node for node in graph.nodes}
    tensors = graph.tensors()
    names = {site.name: site.tensor for site in parts.sites if site.channels is not None}
    for use in parts.uses:
        for name in use.sites:
            if name not in names:
                continue
            map_is_known = use.form == "folded" and not map_unknown(
                nodes[use.node], tensors[names[name]]
            )
            if not map_is_known:
                del names[name]
    return set(names)


def needs_map(operator: Node) -> bool:
    """Return whether an operator's output on a constant input differs from place to place."""
    if operator.op == "ConvTranspose":
        return True
    if operator.op != "Conv":
        return False
    weights = constant(operator.inputs[1])
    assert weights is not None
    automatic = operator.attrs.get("auto_pad", "NOTSET")
    padded = any(operator.attrs.get("pads", [])) or automatic not in ("NOTSET", "VALID")
    return padded or any(size > 1 for size in weights.shape[2:])


def map_unknown(operator: Node, tensor: Tensor) -> bool:
    """Return whether an operator needs a map of a tensor whose sizes are not fixed."""
    if not needs_map(operator):
        return False
    return any(not isinstance(size, int) for size in dims_of(tensor)[2:])
