"""Shape arithmetic beside a leading axis into which time-steps are folded.

Such a vector may be used as a shape for a folded tensor if its leading entry is the folded length,
and no other entry depends on that length. The table `SHAPE_RULES` lists the operators that compute
with shapes; each rule returns the kind of a node's output, or None where nothing can be said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.protos.nodes import attribute

ShapeKind = Literal["whole", "leading", "rest", "single"]
"""`whole`: the leading entry and maybe others; `leading`: that entry alone; `rest`: entries that do
not depend on it; `single`: such entries behind a 1."""


@dataclass(frozen=True)
class ShapeNode:
    """A node, the kinds of shapes known before it, and initializers by name."""

    node: onnx.NodeProto
    kinds: Mapping[str, ShapeKind]
    constants: Mapping[str, Array]

    @property
    def first_kind(self) -> ShapeKind | None:
        """The kind of its first input."""
        return self.kinds.get(self.node.input[0])

    @property
    def input_kinds(self) -> list[ShapeKind | None]:
        """The kinds of its inputs; constants do not depend on the leading entry."""
        found: list[ShapeKind | None] = []
        for name in self.node.input:
            kind = self.kinds.get(name)
            if kind is None and name in self.constants:
                kind = "rest"
            found.append(kind)
        return found

    def constant(self, index: int) -> Array | None:
        """Return the value of an input, flat, or None where it is not constant."""
        name = self.node.input[index]
        value = self.constants.get(name)
        return None if value is None else np.ravel(value)


ShapeRule = Callable[[ShapeNode], ShapeKind | None]


def shape_kinds(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    time_varying: frozenset[str],
) -> dict[str, ShapeKind]:
    """Return which tensors are shapes of time-varying ones, or made of such alone, by kind.

    Args:
        nodes: Sorted.
        constants: Initializers by name.
        time_varying: Names of the tensors that vary in time.
    """
    kinds: dict[str, ShapeKind] = {}
    for node in nodes:
        rule = SHAPE_RULES.get(node.op_type)
        known = ShapeNode(node, kinds, constants)
        if rule is None or not _applies(known, time_varying):
            continue
        kind = rule(known)
        if kind is not None:
            kinds[node.output[0]] = kind
    return kinds


def _applies(known: ShapeNode, time_varying: frozenset[str]) -> bool:
    """Whether a node makes a shape of a time-varying tensor, or computes with such shapes alone."""
    node = known.node
    if node.op_type == "Shape":
        return node.input[0] in time_varying
    takes_shapes = any(name in known.kinds for name in node.input)
    if not takes_shapes:
        return False
    for name in node.input:
        is_known = name in known.kinds or name in known.constants
        if name in time_varying and not is_known:
            return False
    return True


def _shape(known: ShapeNode) -> ShapeKind | None:
    """Shape: from entry 0 on it holds the leading one; from a later one on it does not."""
    start = attribute(known.node, "start", 0)
    if start == 0:
        return "whole"
    return "rest" if start > 0 else None


def _same(known: ShapeNode) -> ShapeKind | None:
    """Operators that leave the entries as they are."""
    return known.first_kind


def _gather(known: ShapeNode) -> ShapeKind | None:
    """Gather: some entries by constant indices."""
    indices = known.constant(1)
    return _kind_of_entries(indices, known.first_kind)


def _slice(known: ShapeNode) -> ShapeKind | None:
    """Slice: neighbouring entries between constant bounds."""
    given = [index for index, name in enumerate(known.node.input) if name]
    if len(given) < 3:
        return None
    start, end = known.constant(given[1]), known.constant(given[2])
    if start is None or end is None:
        return None
    if len(given) > 4:
        step = known.constant(given[4])
        if step is not None and int(step[0]) != 1:
            return None
    kind = known.first_kind
    from_the_first = int(start[0]) == 0
    several = int(end[0]) != 1
    if kind == "whole" and from_the_first and several:
        return "whole"
    return _kind_of_entries(start, kind)


def _kind_of_entries(indices: Array | None, kind: ShapeKind | None) -> ShapeKind | None:
    """Return the kind of some entries of a vector, given by their indices in ascending order."""
    if kind == "rest":
        return "rest"
    if kind != "whole" or indices is None or indices.size == 0:
        return None
    first, others = int(indices[0]), indices[1:]
    if int(indices.min()) < 0:
        return None  # counted from the end: it may be the leading entry
    if first > 0:
        return "rest" if int(indices.min()) > 0 else None
    if others.size == 0:
        return "leading"
    return "whole" if int(others.min()) > 0 else None


def _concat(known: ShapeNode) -> ShapeKind | None:
    """Concat: a leading entry, or a 1, before entries that do not depend on it."""
    first, *others = known.input_kinds
    if any(kind != "rest" for kind in others):
        return None
    value = known.constant(0)
    if value is not None and value.size and int(value[0]) == 1:
        return "single"
    return "whole" if first == "leading" else first


def _arithmetic(known: ShapeNode) -> ShapeKind | None:
    """Arithmetic: with entries that do not depend on the leading one it makes such entries."""
    kinds = {kind or "rest" for kind in known.input_kinds}
    return "rest" if kinds == {"rest"} else None


SHAPE_RULES: dict[str, ShapeRule] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _same,
    "Squeeze": _same,
    "Cast": _same,
    "Identity": _same,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Floor": _arithmetic,
    "Ceil": _arithmetic,
}
"""Operators that may compute with shapes of folded tensors."""
