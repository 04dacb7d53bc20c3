"""Frames of a stream: arrays or dicts become the feeds that a session runs one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError, UsageError, quoted
from onnx2snn.protos.specs import TensorSpec

Frame: TypeAlias = Array | Mapping[str, Array]
"""The inputs of one frame, or the only input."""
Frames: TypeAlias = Array | Mapping[str, Array] | Iterable[Frame]
"""Frames along axis 0, or anything that yields them."""


def feeds_of(frames: Frames, specs: Sequence[TensorSpec]) -> Iterator[Mapping[str, Array]]:
    """Return an iterator over the feeds of frames.

    Args:
        frames: An array [N, ...], or arrays by input name, of which each frame becomes a batch of
            one; or an iterable of frames as the model takes them.
        specs: The inputs of the model.

    Raises:
        UsageError: A model with several inputs is given an array.
        DataError: Arrays hold different numbers of frames.
    """
    if not isinstance(frames, Mapping | np.ndarray):
        return (_by_name(frame, specs) for frame in frames)
    by_name = {name: np.asarray(values) for name, values in _by_name(frames, specs).items()}
    counts = {len(values) if values.ndim else 0 for values in by_name.values()}
    if len(counts) != 1:
        found = " and ".join(str(count) for count in sorted(counts))
        raise DataError(f"the inputs hold {found} frames: give as many of each")
    (count,) = counts
    return _one_by_one(by_name, count)


def _one_by_one(by_name: Mapping[str, Array], count: int) -> Iterator[Mapping[str, Array]]:
    """Yield each frame as a batch of one."""
    for index in range(count):
        yield {name: values[index : index + 1] for name, values in by_name.items()}


def _by_name(frame: Frame, specs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    """Return a frame by input name."""
    if isinstance(frame, Mapping):
        return frame
    if len(specs) != 1:
        raise UsageError(
            f"the model has {len(specs)} inputs: give the frames by name, as a dict with "
            f"{quoted(spec.name for spec in specs)}"
        )
    return {specs[0].name: frame}
