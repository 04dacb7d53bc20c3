"""Shape arithmetic beside a leading axis into which time-steps are folded.

Such a vector may be used as a shape for a folded tensor if its leading entry is the folded length, and no other entry
depends on that length. The table `SHAPE_RULES` lists the operators that compute with shapes; each rule returns the kind
of a node's output, or None where nothing can be said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import attribute

ShapeKind = Literal["whole", "leading", "rest", "single"]
"""`whole`: the leading entry and maybe others; `leading`: that entry alone; `rest`: entries that do not depend on it;
`single`: such entries behind a 1."""


@dataclass
class KnownShapes:
    """Kinds of the shapes found so far, by tensor, and initializers by name."""

    constants: Mapping[str, Array]
    kinds: dict[str, ShapeKind] = field(default_factory=dict)

    def first_kind(self, node: onnx.NodeProto) -> ShapeKind | None:
        """Return the kind of a node's first input."""
        return self.kinds.get(node.input[0])


ShapeRule = Callable[[onnx.NodeProto, KnownShapes], ShapeKind | None]


def shape_kinds(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Array], time_varying: frozenset[str]
) -> dict[str, ShapeKind]:
    """Return which tensors are shapes of time-varying ones, or made of such alone, and of which kind.

    Args:
        nodes: Sorted.
        constants: Initializers by name.
        time_varying: Names of the tensors that vary in time.
    """
    known = KnownShapes(constants)
    for node in nodes:
        rule = SHAPE_RULES.get(node.op_type)
        if rule is None or not _applies(node, known, time_varying):
            continue
        kind = rule(node, known)
        if kind is not None:
            known.kinds[node.output[0]] = kind
    return known.kinds


def _applies(node: onnx.NodeProto, known: KnownShapes, time_varying: frozenset[str]) -> bool:
    """Whether a node makes a shape of a time-varying tensor, or computes with such shapes alone."""
    if node.op_type == "Shape":
        return node.input[0] in time_varying
    if not any(name in known.kinds for name in node.input):
        return False
    for name in node.input:
        is_known = name in known.kinds or name in known.constants
        if name in time_varying and not is_known:
            return False
    return True


def _shape(node: onnx.NodeProto, known: KnownShapes) -> ShapeKind | None:
    """Shape: from entry 0 on it holds the leading one; from a later one on it does not."""
    start = attribute(node, "start", 0)
    if start == 0:
        return "whole"
    return "rest" if start > 0 else None


def _same(node: onnx.NodeProto, known: KnownShapes) -> ShapeKind | None:
    """Operators that leave the entries as they are."""
    return known.first_kind(node)


def _gather(node: onnx.NodeProto, known: KnownShapes) -> ShapeKind | None:
    """Gather: some entries by constant indices."""
    return _taken(known.constants.get(node.input[1]), known.first_kind(node))


def _slice(node: onnx.NodeProto, known: KnownShapes) -> ShapeKind | None:
    """Slice: neighbouring entries between constant bounds."""
    given = [known.constants.get(name) for name in node.input[1:] if name]
    if len(given) not in (2, 3, 4):
        return None
    start, end = given[0], given[1]
    step = given[3] if len(given) == 4 else None
    if start is None or end is None:
        return None
    if step is not None and int(np.ravel(step)[0]) != 1:
        return None
    kind = known.first_kind(node)
    if kind == "whole" and int(np.ravel(start)[0]) == 0 and int(np.ravel(end)[0]) != 1:
        return "whole"
    return _taken(start, kind)


def _taken(indices: Array | None, kind: ShapeKind | None) -> ShapeKind | None:
    """Return the kind of some entries of a vector, given by their indices in ascending order."""
    if kind == "rest":
        return "rest"
    if kind != "whole" or indices is None or indices.size == 0:
        return None
    first, others = int(indices.flat[0]), indices.flat[1:]
    if int(indices.min()) < 0:
        return None  # counted from the end: it may be the leading entry
    if first > 0:
        return "rest" if int(indices.min()) > 0 else None
    if others.size == 0:
        return "leading"
    return "whole" if int(others.min()) > 0 else None


def _concat(node: onnx.NodeProto, known: KnownShapes) -> ShapeKind | None:
    """Concat: a leading entry, or a 1, before entries that do not depend on it."""
    kinds: list[ShapeKind | None] = []
    for name in node.input:
        is_constant = name in known.constants
        kinds.append(known.kinds.get(name, "rest" if is_constant else None))
    if any(kind != "rest" for kind in kinds[1:]):
        return None
    first = known.constants.get(node.input[0])
    if first is not None and first.size and int(first.flat[0]) == 1:
        return "single"
    return "whole" if kinds[0] == "leading" else kinds[0]


def _arithmetic(node: onnx.NodeProto, known: KnownShapes) -> ShapeKind | None:
    """Arithmetic: with entries that do not depend on the leading one it makes such entries."""
    kinds = [known.kinds.get(name, "rest") for name in node.input]
    return "rest" if all(kind == "rest" for kind in kinds) else None


SHAPE_RULES: dict[str, ShapeRule] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    **dict.fromkeys(("Unsqueeze", "Squeeze", "Cast", "Identity"), _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Floor", "Ceil"), _arithmetic),
}
"""Operators that may compute with shapes of folded tensors."""
