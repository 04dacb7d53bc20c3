"""Checks of an array against an input, and of arrays that come together: each in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from onnx2snn.aliases import Dim, DType
from onnx2snn.data.rows import Rows, converted, first_not_finite
from onnx2snn.errors import DataError, UnbatchedError
from onnx2snn.protos.specs import TensorSpec

Group = Mapping[str, Rows]
"""Arrays by name that come together, from one file or one batch, with as many samples each."""


def misfit(what: str, shape: tuple[int, ...], dims: tuple[Dim, ...]) -> DataError:
    """Return the error for an array of a shape that an input does not take.

    It is an `UnbatchedError` where each row of the array would be a whole input.
    """
    expected = _dims(("N", *dims[1:]))
    if _is_one_sample(shape, dims):
        return DataError(
            f"{what} has shape {_dims(shape)}, a sample without a batch axis, but the model takes "
            f"{expected}: add the axis in front, e.g. `x[None]`"
        )
    if shape_fits((None, *dims), shape):
        return UnbatchedError(
            f"{what} has shape {_dims(shape)}, an axis more than the {_dims(dims)} of the model, "
            f"whose axis 0 counts samples: give {expected}"
        )
    return DataError(
        f"{what} has shape {_dims(shape)}, but the model takes {expected}: "
        "reshape or resize the data"
    )


def misfit_of_samples(what: str, shape: tuple[int, ...], dims: tuple[Dim, ...]) -> str:
    """Return the sentence for an array that is no sample of a network without a batch axis.

    `dims` are those of its input with the axis of one sample in front.
    """
    return (
        f"{what} has shape {_dims(shape)}, but the model takes {_dims(dims[1:])}, a sample without "
        f"a batch axis: give samples one by one, or in one array {_dims(('N', *dims[1:]))}"
    )


def _is_one_sample(shape: tuple[int, ...], dims: tuple[Dim, ...]) -> bool:
    """Return whether an array has the shape of one sample."""
    return shape_fits(dims, (1, *shape))


def shape_fits(dims: tuple[Dim, ...], shape: tuple[int, ...]) -> bool:
    """Return whether an array has the rank and the fixed sizes of an input, but for axis 0."""
    if len(dims) != len(shape):
        return False
    for dim, size in zip(dims[1:], shape[1:], strict=True):
        if isinstance(dim, int) and dim != size:
            return False
    return True


def check_objects(what: str, rows: Rows) -> None:
    """Refuse Python objects where numbers are asked for."""
    if rows.dtype.hasobject:
        raise DataError(
            f"{what} is an array of Python objects: convert to numbers, e.g. `.astype(np.float32)`"
        )


def check_samples(what: str, rows: Rows) -> None:
    """Refuse an array without samples."""
    if not rows.shape or 0 in rows.shape:
        raise DataError(
            f"{what} has shape {_dims(rows.shape)}, no samples: give an array with samples on "
            "axis 0"
        )


def check_alike(what: str, rows: Rows, first: Rows) -> None:
    """Refuse an array that differs from the first of its name in shape or kind of type."""
    same_shape = rows.row_shape == first.row_shape
    same_kind = rows.dtype.kind == first.dtype.kind
    if not (same_shape and same_kind):
        raise DataError(
            f"{what} is {_described(rows)} after {_described(first)}: "
            "make all parts alike but for axis 0"
        )


def check_finite(what: str, rows: Rows, spec: TensorSpec) -> None:
    """Refuse NaN and infinity in a float input."""
    if spec.dtype.kind not in "fV":  # V: bfloat16 and the like
        return
    bad = first_not_finite(rows)
    if bad is not None:
        raise DataError(
            f"{what} has NaN or infinity (as {rows.dtype}) in sample {bad}: "
            "mend or drop that sample"
        )


def check_counts(where: str, group: Group) -> None:
    """Refuse a group in which one array has more samples than another."""
    counts = {rows.count for rows in group.values()}
    if len(counts) > 1:
        each = [f"{rows.count} of '{name}'" for name, rows in group.items()]
        raise DataError(f"{where} holds {', '.join(each)}: give as many samples of each")


def cast_rows(what: str, rows: Rows, dtype: DType) -> Rows:
    """Let rows be read as `dtype` where that loses nothing but a float's last digits."""
    if rows.dtype == dtype:
        return rows
    both_float = rows.dtype.kind == dtype.kind == "f"
    safe_integer = dtype.kind in "iu" and np.can_cast(rows.dtype, dtype, "safe")
    if not (both_float or safe_integer):
        raise DataError(
            f"{what} is {rows.dtype}, but the model takes {dtype}: "
            f"convert it, e.g. `.astype(np.{dtype.type.__name__})`"
        )
    return converted(rows, dtype)


def _described(rows: Rows) -> str:
    """Return the type and shape of an array for a sentence, like float32[N,3]."""
    return f"{rows.dtype}{_dims(('N', *rows.row_shape))}"


def _dims(shape: Iterable[Dim]) -> str:
    """Return a shape for a sentence, like [N,?,3]."""
    sizes = ["?" if dim is None else str(dim) for dim in shape]
    return f"[{','.join(sizes)}]"
