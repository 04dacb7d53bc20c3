"""Which entries of tensors that hold sizes depend on the size of the batch.

Exporters write shapes as arithmetic: Shape, then Gather or Slice, then Concat. An entry that is
another axis's size is the same for any batch; one that is not followed counts as the batch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from onnx2snn.protos.batch_types import Shapes
from onnx2snn.protos.nodes import attribute, standard

Counts = Mapping[str, Sequence[bool]]
Fixed = Mapping[str, onnx.TensorProto]
Flags = list[bool]

UNCHANGED = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Neg", "Abs", "Where", "Equal")
"""Operators each of whose entries may depend on any entry of their inputs."""


def counts_of(nodes: Sequence[onnx.NodeProto], shapes: Shapes, fixed: Fixed) -> dict[str, Flags]:
    """Return, by tensor that holds sizes, which of its entries depend on the size of the batch.

    Args:
        nodes: The nodes, sorted.
        shapes: Of all tensors, for two sizes of the batch.
        fixed: Constants by name.
    """
    counts: dict[str, Flags] = {}
    for node in nodes:
        if not standard(node):
            continue
        if node.op_type in ("Shape", "Size"):
            counts[node.output[0]] = _of_shape(node, shapes)
            continue
        rule = _RULES.get(node.op_type)
        given = [name for name in node.input if name]
        made_of_sizes = any(name in counts for name in given)
        if rule is None or not made_of_sizes:
            continue
        if all(name in counts or name in fixed for name in given):
            counts[node.output[0]] = rule(node, counts, fixed)
    return counts


def _of_shape(node: onnx.NodeProto, shapes: Shapes) -> Flags:
    one = shapes.one.get(node.input[0])
    other = shapes.other.get(node.input[0])
    if one is None or other is None:
        return [True]
    differ = [a is None or a != b for a, b in zip(one, other, strict=False)]
    if node.op_type == "Size":
        return [any(differ)]
    start = attribute(node, "start", 0)
    end = attribute(node, "end", len(differ))
    return differ[start:end]


def _unchanged(node: onnx.NodeProto, counts: Counts, fixed: Fixed) -> Flags:
    return list(counts.get(node.input[0], [True]))


def _arithmetic(node: onnx.NodeProto, counts: Counts, fixed: Fixed) -> Flags:
    every = [counts[name] for name in node.input if name in counts]
    depends = any(any(flags) for flags in every)
    return [depends] * max(len(flags) for flags in every)


def _concat(node: onnx.NodeProto, counts: Counts, fixed: Fixed) -> Flags:
    joined: Flags = []
    for name in node.input:
        if name in counts:
            joined += counts[name]
        else:
            joined += [False] * int(np.prod(fixed[name].dims, dtype=int))
    return joined


def _gather(node: onnx.NodeProto, counts: Counts, fixed: Fixed) -> Flags:
    flags = counts.get(node.input[0])
    if flags is None or node.input[1] not in fixed:
        return [True]
    indices = np.ravel(numpy_helper.to_array(fixed[node.input[1]]))
    if any(not -len(flags) <= index < len(flags) for index in indices):
        return [True]
    return [flags[index] for index in indices]


def _slice(node: onnx.NodeProto, counts: Counts, fixed: Fixed) -> Flags:
    flags = counts.get(node.input[0])
    bounds = node.input[1:]
    if flags is None or not bounds or any(name and name not in fixed for name in bounds):
        return [True]
    start, end = (int(np.ravel(numpy_helper.to_array(fixed[name]))[0]) for name in bounds[:2])
    step = 1
    if len(bounds) > 3:
        step = int(np.ravel(numpy_helper.to_array(fixed[bounds[3]]))[0])
    return list(flags[start:end:step])


_RULES: dict[str, Callable[[onnx.NodeProto, Counts, Fixed], Flags]] = {
    **dict.fromkeys(UNCHANGED, _unchanged),
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
}
