"""Connections of a Resize that interpolates, axis by axis, found by probes.

A few combs are resized along the axis: each has teeth so far apart that no output place reads two.
One comb has teeth of height 1, its twin teeth of their places' numbers, and since a resizing is
linear the quotient of the two outputs is the place that is read. Memory grows with the axis' size,
while one-hot probes would take its square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.score.node_runs import NodeRun, run_alone

CUBIC = 4
"""Places that a cubic interpolation reads; a linear one reads two."""

TOGETHER = 8
"""Combs that are resized in one run."""


AT_ONCE = 2**18
"""Elements that are carried at once."""


@dataclass(frozen=True)
class Links:
    """Pairs of connected places along one axis: input `sources[i]` and output `targets[i]`."""

    in_size: int
    out_size: int
    sources: Array
    targets: Array

    def pull(self, counts: Array) -> Array:
        """Return the sum over the output places that each input place reaches."""
        return _added(self.in_size, self.sources, counts, self.targets)

    def push(self, values: Array) -> Array:
        """Return the sum over the input places that each output place is reached from."""
        return _added(self.out_size, self.targets, values, self.sources)


def _added(size: int, to: Array, values: Array, taken: Array) -> Array:
    """Return zeros [size, ...] with values[taken] added at the places `to`."""
    found = np.zeros((size, *values.shape[1:]))
    # what is taken is copied: a bounded part of it at a time
    row = max(1, values[0].size)
    rows = max(1, AT_ONCE // row)
    for start in range(0, len(to), rows):
        some = slice(start, start + rows)
        np.add.at(found, to[some], values[taken[some]])
    return found


def links(run: NodeRun, axis: int) -> Links | None:
    """Return the connections of a resizing along one axis; None where it keeps the axis."""
    size = run.in_shape[axis]
    target = run.out_shape[axis]
    if size == target:
        return None
    apart = _reach(run, size, target)
    sources, targets = [], []
    for first in range(0, apart, TOGETHER):
        phases = range(first, min(first + TOGETHER, apart))
        combs = np.zeros((len(phases), size), np.float32)
        for row, phase in enumerate(phases):
            combs[row, phase::apart] = 1.0
        numbers = np.arange(1, size + 1, dtype=np.float32)
        heights = _resized(run, axis, combs)
        numbered = _resized(run, axis, combs * numbers)
        rows, places = np.nonzero(heights)
        read = numbered[rows, places] / heights[rows, places]
        sources.append(np.rint(read).astype(np.int64) - 1)
        targets.append(places)
    return Links(size, target, np.concatenate(sources), np.concatenate(targets))


def _reach(run: NodeRun, size: int, target: int) -> int:
    """Return a number of neighbouring places of which an output place reads no two as far apart."""
    stretch = 1.0
    if run.attribute("antialias", 0):
        # the window is as much wider as the axis becomes smaller
        stretch = max(1.0, size / target)
    apart = math.ceil(CUBIC * stretch) + 1
    return min(apart, size)


def _resized(run: NodeRun, axis: int, rows: Array) -> Array:
    """Return rows [rows, in] resized to [rows, out], as a node resizes one of its axes."""
    count, size = rows.shape
    target = run.out_shape[axis]
    # the rows lie along another axis, which is not resized
    other = 1 if axis != 1 else 0
    shape = [1] * len(run.in_shape)
    shape[axis] = size
    shape[other] = count
    laid = rows.reshape(shape) if other < axis else rows.T.reshape(shape)
    feeds: dict[int, Array] = {0: np.ascontiguousarray(laid)}
    resized_axes = [int(a) % len(shape) for a in run.attribute("axes", range(len(shape)))]
    place = resized_axes.index(axis)
    for index in range(1, len(run.node.input)):
        given = run.input(index)
        if given is None or len(given) != len(resized_axes):
            continue
        # scales or sizes, as given along the axis and neutral elsewhere
        if given.dtype == np.int64:
            sizes = np.array(shape, np.int64)[resized_axes]
            sizes[place] = target
            feeds[index] = sizes
        else:
            scales = np.ones(len(resized_axes), np.float32)
            scales[place] = given[place]
            feeds[index] = scales
    (found,) = run_alone(run, feeds)
    flat = found.reshape(count, target) if other < axis else found.reshape(target, count).T
    return np.asarray(flat)
