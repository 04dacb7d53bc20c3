"""Rules of folding for Pad: zeros stay zeros under any scale."""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.rewrite.fold_rules.moves import (
    FoldOutcome,
    Scales,
    compress,
    integers,
    operand,
    to_first,
)

_OTHER_PADDING = "it pads with other values than zero along the scaled axis"


def pad_back(node: Node, scale: Array) -> FoldOutcome:
    """s pad(x) = pad(s' x), s' being s without the borders. Refuses other values than zeros."""
    pads = _pads(node, scale.ndim)
    if pads is None:
        return _OTHER_PADDING
    # s times zero is zero: the borders of s are dropped
    inner = [slice(None)] * scale.ndim
    for axis, (before, after) in enumerate(pads):
        size = scale.shape[axis]
        if size > 1:
            inner[axis] = slice(before, size - after)
    return to_first(compress(scale[tuple(inner)]))


def pad_forward(node: Node, scales: Scales) -> FoldOutcome:
    """pad(s x) = pad(s) pad(x), s padded with ones, refused as in `pad_back`."""
    scale = scales.get(0)
    if scale is None:
        return _OTHER_PADDING
    pads = _pads(node, scale.ndim)
    if pads is None:
        return _OTHER_PADDING
    # along an axis it does not vary over, a scale stays of size 1
    for axis, size in enumerate(scale.shape):
        if size == 1:
            pads[axis] = (0, 0)
    return to_first(np.pad(scale, pads, constant_values=1.0))


def _pads(node: Node, ndim: int) -> list[tuple[int, int]] | None:
    """Return per axis how many zeros a Pad adds before and behind; None for any other padding."""
    if not _pads_with_zeros(node):
        return None
    pads = integers(operand(node, 1))
    axes: list[int] | None = list(range(ndim))
    given = operand(node, 3)
    if given is not None:
        axes = integers(given)
    if pads is None or axes is None or min(pads, default=0) < 0:
        return None
    # all that is added before, then all behind
    before = pads[: len(axes)]
    behind = pads[len(axes) :]
    found = [(0, 0)] * ndim
    for axis, first, last in zip(axes, before, behind, strict=True):
        found[axis % ndim] = (first, last)
    return found


def _pads_with_zeros(node: Node) -> bool:
    if node.attrs.get("mode", "constant") != "constant":
        return False
    given = operand(node, 2)
    if given is None:
        return True
    value = constant(given)
    return value is not None and not np.any(value != 0)
