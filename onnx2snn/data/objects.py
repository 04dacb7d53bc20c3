"""Python objects as data: an array, a dict of arrays, batches of these, or a function.

Lists and tuples are in memory already and stay there; everything else that can be iterated over is
spooled batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.blame import users_code
from onnx2snn.data.intake import Intake
from onnx2snn.data.rows import Rows, in_memory
from onnx2snn.errors import DataError, quoted

_END = object()
"""Stands behind the last batch."""


def open_object(intake: Intake, where: str, source: object) -> None:
    """Give `intake` all that a Python object holds; `where` names it in errors."""
    if _is_group(source):
        intake.add(where, _group(intake, where, source))
    elif isinstance(source, list | tuple):
        for batch_where, group in _numbered_batches(intake, where, source):
            intake.add(batch_where, group)
    elif isinstance(source, Iterable):
        intake.spool(_numbered_batches(intake, where, source))
    elif callable(following := getattr(source, "get_next", None)):
        # a CalibrationDataReader of onnxruntime: feeds until None
        intake.spool(_numbered_batches(intake, where, iter(following, None)))
    elif callable(source):
        with users_code(where):
            made = source()
        open_object(intake, where, made)
    else:
        raise DataError(
            f"{where} is a {type(source).__name__}: "
            "give an array, a dict of arrays, or batches of such"
        )


def _is_group(source: object) -> bool:
    """Return whether an object is an array or a dict of arrays."""
    return isinstance(source, Mapping) or hasattr(source, "__array__")


def _numbered_batches(
    intake: Intake, where: str, source: Iterable[object]
) -> Iterator[tuple[str, dict[str, Rows]]]:
    """Yield the batches of a source, each with its name for errors."""
    with users_code(where):
        remaining = iter(source)
    for number in count():
        batch_where = f"batch {number} of {where}"
        with users_code(batch_where):
            batch = next(remaining, _END)
        if batch is _END:
            return
        yield batch_where, _group(intake, batch_where, batch)


def _group(intake: Intake, where: str, batch: object) -> dict[str, Rows]:
    """Return the arrays of one batch by name."""
    if isinstance(batch, list | tuple):
        batch = _paired(intake, where, batch)
    if not _is_group(batch):
        raise DataError(
            f"{where} is a {type(batch).__name__}: make it an array or a dict of arrays"
        )
    if not isinstance(batch, Mapping):
        batch = {intake.only(where): batch}
    # an object with `__array__` may compute here, and raise
    with users_code(where):
        return {str(name): in_memory(_array(value)) for name, value in batch.items()}


def _paired(intake: Intake, where: str, batch: Sequence[object]) -> dict[str, object]:
    """Return the parts of a batch by name: the inputs in their order, then perhaps labels."""
    names = [*intake.inputs, "labels"]
    arrays = all(hasattr(part, "__array__") for part in batch)
    if not arrays or len(batch) not in (len(names) - 1, len(names)):
        raise DataError(
            f"{where} is a {type(batch).__name__} of {len(batch)}: make it an array, a dict of "
            f"arrays, or arrays for {quoted(intake.inputs)}, with labels behind them or without"
        )
    return dict(zip(names, batch, strict=False))


def _array(value: object) -> Array:
    """Return an array; a torch tensor comes from where it is, without its gradient."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
    return np.asarray(value)
