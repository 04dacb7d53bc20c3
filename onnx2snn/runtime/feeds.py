"""The inputs of a run: whether they fit the model, and the model's own word on what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import DataError
from onnx2snn.protos.specs import TensorSpec


def checked_feed(feed: Mapping[str, Array], specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return a feed as arrays, each of which fits its input.

    Raises:
        DataError: An input is missing, unknown, or of another type or shape.
    """
    values = {name: np.asarray(value) for name, value in feed.items()}
    if values.keys() != {spec.name for spec in specs}:
        raise _misnamed(values, specs)
    for spec in specs:
        value = values[spec.name]
        if not _fits(spec, value):
            found = spec_of(spec.name, value)
            raise DataError(f"input {found} does not fit; {_taken(specs)}")
    return values


def _misnamed(feed: Mapping[str, Array], specs: Sequence[TensorSpec]) -> DataError:
    names = [spec.name for spec in specs]
    for name in names:
        if name not in feed:
            return DataError(f"input '{name}' is missing; {_taken(specs)}")
    unknown = next(name for name in feed if name not in names)
    return DataError(f"there is no input '{unknown}'; {_taken(specs)}")


def _taken(specs: Sequence[TensorSpec]) -> str:
    return f"the model takes {', '.join(map(str, specs))}"


def check_goes_on(feed: Mapping[str, Array], before: Mapping[str, Array]) -> None:
    """Check that inputs fit the states of the last run, whose inputs were `before`.

    Raises:
        DataError: An input has another shape.
    """
    for name, value in before.items():
        found = spec_of(name, feed[name])
        last = spec_of(name, value)
        if found.shape != last.shape:
            raise DataError(
                f"input {found} cannot go on from the last run's {last}; reset the session first"
            )


def spec_of(name: str, value: Array) -> TensorSpec:
    """Describe an array as an input."""
    return TensorSpec(name, value.dtype, value.shape)


def _fits(spec: TensorSpec, value: Array) -> bool:
    if value.dtype != spec.dtype:
        return False
    if spec.shape is None:
        return True
    if value.ndim != len(spec.shape):
        return False
    pairs = zip(spec.shape, value.shape, strict=True)
    return all(size == dim for dim, size in pairs if isinstance(dim, int))
