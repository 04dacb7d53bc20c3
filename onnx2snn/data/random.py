"""Which integer inputs are indices into a table that the model holds, and how many rows it has."""

from __future__ import annotations

import onnx

from onnx2snn.protos.walk import tensors

_KEEPS_VALUES = (
    "Cast",
    "Identity",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Slice",
    "Expand",
    "Tile",
)


def index_bounds(proto: onnx.ModelProto) -> dict[str, int]:
    """By input, how many indices are valid: the rows of the smallest constant table that a Gather reads with it."""
    sizes = {t.name: t.dims for t in tensors(proto)} | {
        n.output[0]: a.t.dims for n in proto.graph.node if n.op_type == "Constant" for a in n.attribute
    }
    origin = {v.name: v.name for v in proto.graph.input if v.name not in sizes}
    bounds: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type in _KEEPS_VALUES and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in origin and node.input[0] in sizes:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            name, rows = origin[node.input[1]], int(sizes[node.input[0]][axis])
            bounds[name] = min(bounds.get(name, rows), rows)
    return bounds
