"""Weighted operators as matrix products: the inputs that each of their outputs sees.

- Conv: the window of each output position, group by group.
- Gemm and MatMul with constant weights on the right: the last axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node

MOST_PHASES = 32
"""First positions whose windows are kept: maps begin at each of them by turns."""

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Unrolled:
    """The layout of an operator's weights: `groups`, and of each K `inputs` and O `outputs`.

    `rows(x, shape, kept)` are its inputs [group, K, M] at some output positions of each of the
    maps x [n, ...], where its outputs have a shape; `targets(d, kept)` are its outputs
    [group, O, M] alike. `weights(D)` brings a change [group, O, K] into the layout of its own
    weights.
    """

    rows: Callable[[Array, Sequence[int], slice], Array]
    targets: Callable[[Array, slice], Array]
    weights: Callable[[Array], Array]
    groups: int
    inputs: int
    outputs: int


Unroll = Callable[[Node], Unrolled | str]
"""From a node to its layout, or the reason why its weights are not fitted."""


def _unroll_conv(node: Node) -> Unrolled | str:
    values = constant(node.inputs[1])
    if values is None:
        return "its weights are no constant"
    shape = values.shape
    filters, per_group, *kernel = shape
    groups: int = node.attrs.get("group", 1)
    inputs = per_group * int(np.prod(kernel))

    @lru_cache(MOST_PHASES)
    def windows(taken: Sizes, made: Sizes, first: int | None, step: int | None) -> Array:
        return _seen(node, kernel, taken, made, slice(first, None, step))

    def rows(x: Array, made: Sequence[int], kept: slice) -> Array:
        seen = windows(x.shape[2:], tuple(made[2:]), kept.start, kept.step)
        kernels, positions = seen.shape
        n, channels = x.shape[:2]
        found = np.empty((channels, kernels, n, positions), np.float32)
        # what lies outside is the 0 in front
        flat = np.zeros((channels, 1 + int(np.prod(x.shape[2:]))), np.float32)
        for index, one in enumerate(x):
            flat[:, 1:] = one.reshape(channels, -1)
            found[:, :, index] = flat[:, seen]
        # channel by channel, and in each the positions of the kernel
        return found.reshape(groups, inputs, -1)

    def targets(d: Array, kept: slice) -> Array:
        n = len(d)
        by_group = d.reshape(n, groups, filters // groups, -1)[..., kept]
        turned = by_group.transpose(1, 2, 0, 3)
        return turned.reshape(groups, filters // groups, -1)

    def weights(change: Array) -> Array:
        return change.reshape(shape)

    return Unrolled(rows, targets, weights, groups, inputs, filters // groups)


def _seen(
    node: Node, kernel: Sequence[int], taken: Sequence[int], made: Sequence[int], kept: slice
) -> Array:
    """Return where the windows of a convolution look: [kernel positions, output positions].

    Args:
        node: The convolution.
        kernel: The sizes of its kernel.
        taken: The sizes of a map that goes in.
        made: The sizes of a map that comes out.
        kept: Which of the output positions.

    Returns:
        1 + the index into the flat map that goes in; 0 is outside.
    """
    axes = len(kernel)
    strides = node.attrs.get("strides", [1] * axes)
    dilations = node.attrs.get("dilations", [1] * axes)
    wanted = np.arange(int(np.prod(made)))[kept]
    places = np.unravel_index(wanted, made)
    found = np.zeros((1, len(wanted)), np.int64)
    inside = np.ones((1, len(wanted)), np.bool_)
    for axis, size in enumerate(taken):
        steps = dilations[axis] * np.arange(kernel[axis])
        reach = int(steps[-1]) + 1
        before = _padding(node, axis, axes, (made[axis] - 1) * strides[axis] + reach - size)
        # o · stride - padding + k · dilation
        at = places[axis] * strides[axis] - before + steps[:, None]
        # the last axis varies fastest
        found = found[:, None] * size + at
        inside = inside[:, None] & (at >= 0) & (at < size)
        found = found.reshape(-1, len(wanted))
        inside = inside.reshape(-1, len(wanted))
    return np.where(inside, found + 1, 0)


def _padding(node: Node, axis: int, axes: int, lacking: int) -> int:
    """Return the padding before an axis; `lacking` is what SAME pads on both sides."""
    automatic = node.attrs.get("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        pads = node.attrs.get("pads", [0] * (2 * axes))
        return int(pads[axis])
    if automatic == "VALID":
        return 0
    total = max(0, lacking)
    smaller = total // 2
    return smaller if automatic == "SAME_UPPER" else total - smaller


def _unroll_gemm(node: Node) -> Unrolled | str:
    alpha = node.attrs.get("alpha", 1.0)
    if alpha == 0:
        return "its alpha is 0"
    transposed = node.attrs.get("transB", 0) != 0
    return _unroll_matrix(node, transposed, alpha)


def _unroll_matmul(node: Node) -> Unrolled | str:
    return _unroll_matrix(node, False, 1.0)


def _unroll_matrix(node: Node, transposed: bool, alpha: float) -> Unrolled | str:
    matrix = constant(node.inputs[1])
    if matrix is None or matrix.ndim != 2:
        return "its weights are no constant matrix on the right"

    def flat(values: Array, kept: slice) -> Array:
        """[n, ..., k] -> [1, k, rows]."""
        n, k = len(values), values.shape[-1]
        rows = values.reshape(n, -1, k)[:, kept]
        turned = rows.reshape(-1, k).T
        return turned[np.newaxis]

    def rows(x: Array, _made: Sequence[int], kept: slice) -> Array:
        return flat(x, kept)

    def weights(change: Array) -> Array:
        # y = α x W, so that W takes 1/α of the change
        own: Array = change[0] / alpha
        return own if transposed else own.T

    inputs, outputs = matrix.shape
    if transposed:
        inputs, outputs = outputs, inputs
    return Unrolled(rows, flat, weights, 1, inputs, outputs)


UNROLL: dict[str, Unroll] = {
    "Conv": _unroll_conv,
    "Gemm": _unroll_gemm,
    "MatMul": _unroll_matmul,
}
"""The weighted operators whose weights are fitted."""
