"""Arrays with a batch axis: parts of them by sample, and the axis as two runs show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.protos.batch_axis import BatchAxes
from onnx2snn.protos.batch_types import BatchAxis, Place

NEAR = 1e-3
"""Of the largest value: how far the same sample's values of two runs may lie apart."""

Compute = Callable[[Mapping[str, Array]], Sequence[Array]]
"""Runs a model on inputs by name, and returns its outputs in order."""

OutputPlace = Place | Literal["shared"]
"""Where an output has its samples, if it depends on them."""


def measured_axis(one: Array, other: Array, samples: int) -> Place:
    """Return the batch axis of a tensor from two runs of `samples` samples, or None.

    The runs differ in the first sample alone. So all other samples' values are the same, and the
    first one's are not.

    Args:
        one: The tensor in one run.
        other: The tensor in the other.
        samples: How many samples ran, two at least.
    """
    if one.shape != other.shape or samples < 2 or not one.size:
        return None
    changed = _changed(one, other)
    found = []
    for axis, size in enumerate(one.shape):
        if size % samples:
            continue
        rows = size // samples
        first, rest = np.split(changed, [rows], axis)
        if first.any() and not rest.any():
            found.append(BatchAxis(axis, rows))
    return found[0] if len(found) == 1 else None


def measured_by_sizes(one: Array, two: Array) -> Place:
    """Return the batch axis of a tensor from runs of one sample, and of two that begin with it.

    None where no axis, or more than one, is twice as long and begins with the first run's values.
    """
    found = []
    if one.ndim != two.ndim:
        return None
    for axis, rows in enumerate(one.shape):
        expected = list(one.shape)
        expected[axis] = 2 * rows
        if list(two.shape) != expected or not rows:
            continue
        own = two.take(np.arange(rows), axis)
        if not _changed(one, own).any():
            found.append(BatchAxis(axis, rows))
    return found[0] if len(found) == 1 else None


def _changed(one: Array, other: Array) -> Array:
    """Return where two arrays differ by more than rounding."""
    if one.dtype.kind not in "fc":
        return np.asarray(one != other)
    numbers = np.isfinite(one)
    largest = float(np.abs(one, where=numbers, out=np.zeros_like(one)).max(initial=0.0))
    return ~np.isclose(one, other, rtol=0.0, atol=NEAR * largest, equal_nan=True)


def samples_of(array: Array, place: BatchAxis, start: int, stop: int) -> Array:
    """Return the part of an array that belongs to the samples from `start` up to `stop`."""
    rows = slice(start * place.rows, stop * place.rows)
    if place.blocks == 1:
        return array[(slice(None),) * place.axis + (rows,)]
    part = _in_blocks(array, place)[(slice(None),) * (place.axis + 1) + (rows,)]
    return _whole(part, place)


def first_samples(feed: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Return the inputs of the first samples; one without axes is the same for all."""
    return {name: values[:count] if values.ndim else values for name, values in feed.items()}


def samples_in(feed: Mapping[str, Array]) -> int:
    """Return how many samples inputs are of, the least where they differ."""
    return min(len(values) for values in feed.values() if values.ndim)


def joined_samples(parts: Sequence[Array], place: BatchAxis) -> Array:
    """Return what arrays of some samples each are of all of them."""
    if place.blocks == 1:
        return np.concatenate(parts, place.axis)
    blocks = [_in_blocks(part, place) for part in parts]
    return _whole(np.concatenate(blocks, place.axis + 1), place)


def by_sample(array: Array, place: BatchAxis) -> Array:
    """Return an array with samples along axis 0, and all else as it lies behind: [N, ...]."""
    shape = array.shape
    count = shape[place.axis] // place.each
    split = (*shape[: place.axis], place.blocks, count, place.rows, *shape[place.axis + 1 :])
    moved = np.moveaxis(array.reshape(split), place.axis + 1, 0)
    folded = (count, *shape[: place.axis], place.each, *shape[place.axis + 1 :])
    if place.each == 1:
        folded = (count, *shape[: place.axis], *shape[place.axis + 1 :])
    return moved.reshape(folded)


def _in_blocks(array: Array, place: BatchAxis) -> Array:
    """Return an array whose batch axis is two: blocks, and the rows of all samples."""
    shape = array.shape
    return array.reshape(*shape[: place.axis], place.blocks, -1, *shape[place.axis + 1 :])


def _whole(blocks: Array, place: BatchAxis) -> Array:
    """Return an array in blocks with one batch axis again."""
    shape = blocks.shape
    return blocks.reshape(*shape[: place.axis], -1, *shape[place.axis + 2 :])


def output_places(
    axes: BatchAxes,
    names: Sequence[str],
    feed: Mapping[str, Array],
    fixed: int | None,
    compute: Compute,
) -> list[OutputPlace]:
    """Return where outputs have their samples; what the graph does not say is measured.

    Args:
        axes: Of the model.
        names: The outputs.
        feed: Some samples: two at least, or a full batch.
        fixed: The batch size that the model insists on, or None.
        compute: Runs the model.
    """
    found = [_said_place(axes, name) for name in names]
    if None not in found:
        return found
    measured = _measured_outputs(feed, fixed, compute)
    if measured is None:
        return found
    return [measured[i] if place is None else place for i, place in enumerate(found)]


def _said_place(axes: BatchAxes, name: str) -> OutputPlace:
    return "shared" if axes.is_shared(name) else axes.of(name)


def _measured_outputs(
    feed: Mapping[str, Array], fixed: int | None, compute: Compute
) -> list[Place] | None:
    count = samples_in(feed)
    if count < 2:
        return None
    if fixed is None:
        one, two = (compute(first_samples(feed, size)) for size in (1, 2))
        return [measured_by_sizes(a, b) for a, b in zip(one, two, strict=True)]
    # the last sample in place of the first one
    other = {}
    for name, values in feed.items():
        other[name] = np.concatenate([values[-1:], values[1:]]) if values.ndim else values
    return [measured_axis(a, b, fixed) for a, b in zip(compute(feed), compute(other), strict=True)]
