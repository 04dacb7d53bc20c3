"""Taps of the windows of convolutions and pools: which places they connect, axis by axis.

A window connects two places if it connects them along every axis, so the connections of the whole
are carried axis by axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.score.node_runs import NodeRun

FIRST = 2
"""The first spatial axis, behind batch and channels."""


@dataclass(frozen=True)
class Taps:
    """Connections along one axis of places and the windows that read them.

    Tap k of window w reads place w * stride + offsets[k] - begin; where there is none, it reads
    the border's zeros. No matrix [windows, places] is ever made: it would be quadratic.
    """

    windows: int
    places: int
    stride: int
    begin: int
    offsets: Sequence[int]

    def gathered(self, values: Array) -> Array:
        """Return the sum over the places that each window reads: [places, ...] -> [windows, ...].

        A place counts as often as the window reads it.
        """
        found = np.zeros((self.windows, *values.shape[1:]))
        for windows, places in self._read():
            found[windows] += values[places]
        return found

    def scattered(self, values: Array) -> Array:
        """Return the sum over the windows that read each place: [windows, ...] -> [places, ...]."""
        found = np.zeros((self.places, *values.shape[1:]))
        for windows, places in self._read():
            found[places] += values[windows]
        return found

    def _read(self) -> Iterator[tuple[slice, slice]]:
        """Yield for each tap the windows in which it reads a place, and those places."""
        for offset in self.offsets:
            before = self.begin - offset
            # 0 <= w * stride - before < places
            first = max(0, -(-before // self.stride))
            end = min(self.windows, -(-(self.places + before) // self.stride))
            if first >= end:
                continue
            start = first * self.stride - before
            stop = (end - 1) * self.stride - before + 1
            yield slice(first, end), slice(start, stop, self.stride)


@dataclass(frozen=True)
class AxisTaps:
    """The taps that connect input and output along one axis.

    `spread`: the windows are the input's, as in a transposed convolution.
    """

    taps: Taps
    spread: bool

    def pull(self, counts: Array) -> Array:
        """Return the sum over the output places that each input place reaches."""
        return self.taps.gathered(counts) if self.spread else self.taps.scattered(counts)

    def push(self, values: Array) -> Array:
        """Return the sum over the input places that each output place is reached from."""
        return self.taps.scattered(values) if self.spread else self.taps.gathered(values)

    def reached(self) -> Array:
        """Return how many taps connect each input place."""
        size = self.taps.places if self.spread else self.taps.windows
        return self.pull(np.ones(size))


def axis_taps(run: NodeRun, kernel: Sequence[int]) -> list[AxisTaps]:
    """Return the taps along each spatial axis.

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
        offsets = range(0, size * dilations[axis], dilations[axis])
        # from the first tap of the first window to the last tap of the last one
        between_windows = (windows - 1) * strides[axis]
        reach = (size - 1) * dilations[axis] + 1
        covered = between_windows + reach
        begin = _pad_begin(run, axis, len(kernel), covered - places)
        taps = Taps(windows, places, strides[axis], begin, offsets)
        found.append(AxisTaps(taps, transposed))
    return found


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
