"""The rows that an operator's weights are fitted to: output positions of some samples.

As many are taken as tell the weights apart, and no more than cost some passes of the operator over
the calibration data. They are read in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.correct.unrolled import Unrolled

ROWS = 2**15
"""A fit takes about this many rows ..."""

ROWS_PER_INPUT = 16
"""... or this many an input, where that is more."""

LEAST_MAPS = 16
"""Maps, of which a sample mostly has one, that a fit takes, where there are as many."""

LEAST_ROWS = 256
"""Rows that a fit takes, whatever they cost."""

FIT_PASSES = 4
"""Of the operator over the calibration data: what a fit may cost, counted in multiplications."""

UNROLLING = 32
"""Multiplications that take the time of unrolling one input."""

BLOCK_ELEMENTS = 2**21
"""Elements of inputs unrolled at once."""

Pairs = tuple[Array, Array]
"""Inputs x [n, ...] of an operator, and what its outputs lack [n, ...]."""


@dataclass(frozen=True)
class Evidence:
    """What weights are fitted to.

    `parts(k)` yields pairs of the first k samples, some samples at a time; `samples` is how many
    there are, and `calibration` how many the calibration data have in all.
    """

    parts: Callable[[int], Iterator[Pairs]]
    samples: int
    calibration: int


@dataclass(frozen=True)
class RowPlan:
    """The rows of a fit.

    Of each of `samples` samples, in `maps` maps all together, every `stride`-th position is a row;
    `rows` are all of them, and `block` the maps read at once.
    """

    samples: int
    maps: int
    stride: int
    rows: int
    block: int


def row_plan(operator: Unrolled, evidence: Evidence) -> RowPlan:
    """Return the rows that a fit takes: whole maps, then every n-th position of them."""
    ((x, lacking),) = evidence.parts(1)
    each = len(x)
    positions = operator.targets(lacking[:1], slice(None)).shape[2]
    useful = max(ROWS, ROWS_PER_INPUT * operator.inputs)
    enough = -(-useful // positions)
    maps = min(evidence.samples * each, max(LEAST_MAPS, enough))
    samples = -(-maps // each)
    passed = evidence.calibration * each * positions
    paid = affordable_rows(operator, passed)
    # about as many as are useful, and no more than are paid for
    stride = max(1, maps * positions // useful, -(-maps * positions // paid))
    kept = -(-positions // stride)
    block = max(1, BLOCK_ELEMENTS // (kept * operator.inputs * operator.groups))
    total = sum(len(range(index % stride, positions, stride)) for index in range(maps))
    return RowPlan(samples, maps, stride, total, block)


def affordable_rows(operator: Unrolled, passed: int) -> int:
    """Return the rows that cost no more than some passes of an operator.

    Args:
        operator: With K inputs and O outputs a group.
        passed: The rows R of the calibration data.
    """
    # R K O multiplications are a pass; all that follows is over K
    budget = FIT_PASSES * passed * operator.outputs
    # of each row: to unroll it, and for Σ x dᵀ
    single = UNROLLING + operator.outputs
    inputs = operator.inputs
    # n (K / 2 + single) for Σ x xᵀ, and K² / 6 to solve
    many = (budget - inputs**2 // 6) // (inputs // 2 + single)
    # or n² / 2 + n single for products of rows, where these are fewer
    few = int((single**2 + 2 * budget) ** 0.5) - single
    most = many if many > inputs else min(few, inputs)
    return max(LEAST_ROWS, most)


def row_blocks(operator: Unrolled, evidence: Evidence, plan: RowPlan, size: int) -> Iterator[Pairs]:
    """Yield inputs [group, K, M] and what is lacking [group, O, M], `size` maps at a time.

    From one first position in all maps one that was upsampled with a stride would show one phase
    only: it is 0 to n - 1 by turns. A pair is overwritten by the next one.
    """
    block: _Block | None = None
    done = 0
    for x, lacking in evidence.parts(plan.samples):
        if block is None:
            positions = operator.targets(lacking[:1], slice(None)).shape[2]
            room = min(size, plan.maps) * -(-positions // plan.stride)
            block = _Block(operator, room, x.dtype)
        first = 0
        last = min(len(x), plan.maps - done)
        while first < last:
            # maps of one phase go together, up to the end of a block
            count = 1 if plan.stride > 1 else min(last - first, size - done % size)
            some = slice(first, first + count)
            kept = slice(done % plan.stride, None, plan.stride)
            rows = operator.rows(x[some], lacking.shape, kept)
            block.write(rows, operator.targets(lacking[some], kept))
            first += count
            done += count
            if done % size == 0:
                yield block.taken()
    if block is not None and block.filled:
        yield block.taken()


class _Block:
    """Room for some rows of an operator."""

    def __init__(self, operator: Unrolled, room: int, dtype: np.dtype[Any]) -> None:
        self.inputs = np.empty((operator.groups, operator.inputs, room), dtype)
        self.lacking = np.empty((operator.groups, operator.outputs, room), dtype)
        self.filled = 0

    def write(self, inputs: Array, lacking: Array) -> None:
        """Add rows behind those that are there."""
        stop = self.filled + inputs.shape[2]
        self.inputs[:, :, self.filled : stop] = inputs
        self.lacking[:, :, self.filled : stop] = lacking
        self.filled = stop

    def taken(self) -> Pairs:
        """Return the rows that are there, and start anew."""
        rows = slice(self.filled)
        self.filled = 0
        return self.inputs[:, :, rows], self.lacking[:, :, rows]
