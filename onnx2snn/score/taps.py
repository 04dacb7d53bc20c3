"""Taps of the windows of convolutions and pools: which places they connect, axis by axis.

A window connects two places if it connects them along every axis, so the connections of the whole
are an outer product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.score.node_runs import NodeRun

FIRST = 2
"""The first spatial axis, behind batch and channels."""


def axis_taps(run: NodeRun, kernel: Sequence[int]) -> list[Array]:
    """Return, for each spatial axis, how many taps connect input and output places: [in, out].

    Places in a border's zeros are none, so that every count is exact there, too.
    """
    transposed = run.node.op_type == "ConvTranspose"
    strides = run.per_axis("strides", len(kernel))
    dilations = run.per_axis("dilations", len(kernel))
    many, few = run.in_shape, run.out_shape
    if transposed:
        # it is a convolution from its output to its input
        many, few = few, many
    found = []
    for axis, size in enumerate(kernel):
        places = many[axis + FIRST]
        windows = few[axis + FIRST]
        starts = np.arange(windows) * strides[axis]
        offsets = np.arange(size) * dilations[axis]
        # from the first tap of the first window to the last tap of the last one
        between_windows = (windows - 1) * strides[axis]
        reach = (size - 1) * dilations[axis] + 1
        covered = between_windows + reach
        begin = _pad_begin(run, axis, len(kernel), covered - places)
        taps = _taps(starts - begin, offsets, places)
        found.append(taps if transposed else taps.T)
    return found


def _taps(starts: Array, offsets: Array, places: int) -> Array:
    """Return how often each window reads each place: [windows, places].

    Args:
        starts: The place of each window's first tap; it may lie in the padding.
        offsets: How far each tap is from the first.
        places: How many places there are; the others are padding.
    """
    # tap k of window w reads place starts[w] + offsets[k]
    read = starts[:, None] + offsets
    inside = (read >= 0) & (read < places)
    count = len(starts)
    windows = np.arange(count)[:, None]
    # the pair of window w and place p is bin w * places + p
    bins = (windows * places + read)[inside]
    counts = np.bincount(bins, minlength=count * places)
    taps = counts.reshape(count, places)
    return taps.astype(np.float64)


def _pad_begin(run: NodeRun, axis: int, rank: int, needed: int) -> int:
    """Return the padding before the first place of an axis.

    Args:
        run: The convolution or pool.
        axis: The spatial axis, from 0.
        rank: How many there are.
        needed: Padding in all, where it is automatic.
    """
    automatic = run.attribute("auto_pad", b"NOTSET")
    if automatic == b"NOTSET" and not run.attribute("output_shape"):
        pads = run.attribute("pads") or [0] * 2 * rank
        return int(pads[axis])
    if automatic == b"VALID":
        return 0
    more = run.attribute("output_padding") or [0] * rank
    total = max(needed + more[axis], 0)
    # of an odd number, SAME_UPPER puts the larger half at the end, all others at the start
    smaller = total // 2
    return int(smaller if automatic == b"SAME_UPPER" else total - smaller)


def window_size(run: NodeRun) -> int:
    """Return the elements that a pool reads for each one it makes."""
    kernel = run.attribute("kernel_shape")
    if kernel:
        return math.prod(kernel)
    # a global pool
    read = math.prod(run.in_shape)
    made = math.prod(run.out_shape)
    return read // max(1, made)
