"""Kernels as NIR takes them: without groups, with the same padding at both ends, and square.

Taps of weight 0 mend what the ANN has otherwise; what is computed stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array


@dataclass(frozen=True)
class Kernel:
    """Weights [out, in, size, ...] and the padding of each spatial axis, the same at both ends."""

    weight: Array
    padding: tuple[int, ...]


def diagonal(factors: Array, axes: int) -> Array:
    """Return weights that multiply each channel by a factor: a kernel of one element."""
    weight = np.diag(factors).astype(np.float32)
    return weight.reshape(*weight.shape, *[1] * axes)


def dense(weight: Array, groups: int) -> Array:
    """Return the weights [out, in, ...] of a convolution in groups, zeros between groups."""
    if groups == 1:
        return weight
    out, inside, *sizes = weight.shape
    made = np.zeros((out, inside * groups, *sizes), weight.dtype)
    rows = out // groups
    for group in range(groups):
        of_group = slice(group * rows, (group + 1) * rows)
        channels = slice(group * inside, (group + 1) * inside)
        made[of_group, channels] = weight[of_group]
    return made


def even_kernel(
    weight: Array, begin: Sequence[int], end: Sequence[int], dilation: Sequence[int]
) -> Kernel | None:
    """Return a kernel that pads alike at both ends and is square, or None where there is none.

    Args:
        weight: [out, in, size, ...], without groups.
        begin: Padding before each spatial axis.
        end: Padding behind each.
        dilation: The distance of two taps on each.
    """
    padding = []
    for axis, (before, behind, step) in enumerate(zip(begin, end, dilation, strict=True), 2):
        taps, rest = divmod(abs(before - behind), step)
        if rest:
            return None
        # taps before the kernel start a window earlier, taps behind it end it later
        added = (taps, 0) if behind > before else (0, taps)
        weight = _with_taps(weight, axis, added)
        padding.append(max(before, behind))
    largest = max(weight.shape[2:])
    for axis, step in enumerate(dilation, 2):
        missing = largest - weight.shape[axis]
        if missing % 2:
            return None
        weight = _with_taps(weight, axis, (missing // 2, missing // 2))
        padding[axis - 2] += missing // 2 * step
    return Kernel(np.ascontiguousarray(weight, np.float32), tuple(padding))


def _with_taps(weight: Array, axis: int, taps: tuple[int, int]) -> Array:
    """Return weights with taps of 0 before and behind those along an axis."""
    if not any(taps):
        return weight
    widths = [(0, 0)] * weight.ndim
    widths[axis] = taps
    return np.pad(weight, widths)
