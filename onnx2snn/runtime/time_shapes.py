"""Shape arithmetic beside a leading axis into which time-steps are folded.

Such a vector may be used as a shape for a folded tensor if its leading entry is the folded length, and no other entry
depends on that length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import attribute

ShapeKind = Literal["whole", "leading", "rest", "single"]
"""`whole`: the leading entry and maybe others; `leading`: that entry alone; `rest`: entries that do not depend on it;
`single`: such entries behind a 1."""

Kinds = dict[str, ShapeKind]


def shape_kinds(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Array], moving: frozenset[str]
) -> dict[str, ShapeKind]:
    """Which tensors of sorted nodes are shapes of tensors that change in time, or made of such alone."""
    kinds: Kinds = {}
    for node in nodes:
        rule = SHAPE_RULES.get(node.op_type)
        if rule is None or not (node.op_type == "Shape" or any(t in kinds for t in node.input)):
            continue
        if any(
            t and t not in kinds and t not in constants and t in moving
            for t in node.input[node.op_type == "Shape" :]
        ):
            continue
        kind = rule(node, kinds, constants)
        if kind is not None and (node.op_type != "Shape" or node.input[0] in moving):
            kinds[node.output[0]] = kind
    return kinds


def _shape(node: onnx.NodeProto, kinds: Kinds, constants: Mapping[str, Array]) -> ShapeKind | None:
    start = attribute(node, "start", 0)
    return "whole" if start == 0 else ("rest" if start > 0 else None)


def _same(node: onnx.NodeProto, kinds: Kinds, constants: Mapping[str, Array]) -> ShapeKind | None:
    return kinds.get(node.input[0])


def _part(indices: Array | None, kind: ShapeKind | None) -> ShapeKind | None:
    """Some entries of a vector, by their indices in ascending order."""
    if kind != "whole" or indices is None or indices.size == 0 or int(indices.min()) < 0:
        return "rest" if kind == "rest" else None
    if int(indices.flat[0]) > 0:
        return "rest" if int(indices.min()) > 0 else None
    return (
        "leading" if indices.size == 1 else ("whole" if int(indices.flat[1:].min()) > 0 else None)
    )


def _gather(node: onnx.NodeProto, kinds: Kinds, constants: Mapping[str, Array]) -> ShapeKind | None:
    return _part(constants.get(node.input[1]), kinds.get(node.input[0]))


def _slice(node: onnx.NodeProto, kinds: Kinds, constants: Mapping[str, Array]) -> ShapeKind | None:
    given = [constants.get(t) for t in node.input[1:] if t]
    start, end = (np.ravel(g) if g is not None else None for g in given[:2])
    step = np.ravel(given[3]) if len(given) > 3 and given[3] is not None else np.ones(1)
    if start is None or end is None or int(step[0]) != 1 or len(given) not in (2, 3, 4):
        return None
    if kinds.get(node.input[0]) == "whole" and int(start[0]) == 0 and int(end[0]) != 1:
        return "whole"
    return _part(start, kinds.get(node.input[0]))


def _concat(node: onnx.NodeProto, kinds: Kinds, constants: Mapping[str, Array]) -> ShapeKind | None:
    first, *others = [kinds.get(t, "rest" if t in constants else None) for t in node.input]
    if any(kind != "rest" for kind in others):
        return None
    given = constants.get(node.input[0])
    if given is not None and given.size and int(given.flat[0]) == 1:
        return "single"
    return "whole" if first == "leading" else first


def _arithmetic(
    node: onnx.NodeProto, kinds: Kinds, constants: Mapping[str, Array]
) -> ShapeKind | None:
    return "rest" if all(kinds.get(t, "rest") == "rest" for t in node.input) else None


_Rule = Callable[[onnx.NodeProto, Kinds, Mapping[str, Array]], ShapeKind | None]
SHAPE_RULES: dict[str, _Rule] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    **dict.fromkeys(("Unsqueeze", "Squeeze", "Cast", "Identity"), _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Floor", "Ceil"), _arithmetic),
}
