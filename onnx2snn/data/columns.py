"""Columns of tables: Parquet and Arrow files, read batch by batch with pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.data.blame import reading
from onnx2snn.errors import DataError


def table_batches(path: Path, size: int) -> Iterator[Any]:
    """Yield the record batches of a table, of at most `size` rows."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f"{path} is a table, which needs pyarrow: run `pip install onnx2snn[datasets]`"
        ) from error
    if path.suffix.lower() == ".parquet":
        with reading(path, "Parquet table"), pq.ParquetFile(path) as table:
            yield from table.iter_batches(batch_size=size)
        return
    with reading(path, "Arrow table"), pa.memory_map(str(path)) as file:
        for batch in _arrow_batches(pa, file):
            for start in range(0, batch.num_rows, size):
                yield batch.slice(start, size)


def _arrow_batches(pa: Any, file: Any) -> Iterator[Any]:
    """Yield the batches of an Arrow file, or of an Arrow stream."""
    try:
        table = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        yield from pa.ipc.open_stream(file)
        return
    for number in range(table.num_record_batches):
        yield table.get_batch(number)


def column_array(what: str, column: Any) -> Array | list[bytes]:
    """Return a column of numbers as an array [N, ...], one of images as their bytes.

    Raises:
        DataError: It has gaps, rows of different sizes, or neither numbers nor bytes.
    """
    import pyarrow as pa
    import pyarrow.compute

    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        # as the library `datasets` keeps images
        return column_array(what, column.field("bytes"))
    if column.null_count:
        raise DataError(f"{what} has gaps (null): fill or drop these rows")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [bytes(value.as_py()) for value in column]
    if isinstance(kind, pa.FixedShapeTensorType):
        return np.asarray(column.to_numpy_ndarray())
    shape = [len(column)]
    while _is_list(pa, column.type):
        inner = column.flatten()
        sizes = set(pa.compute.list_value_length(column).to_pylist())
        if len(sizes) > 1:
            raise DataError(f"{what} has rows of different sizes: make them alike")
        shape.append(int(sizes.pop()) if sizes else 0)
        column = inner
    if column.null_count or not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_boolean(column.type)
    ):
        raise DataError(f"{what} is {kind}: give numbers, lists of numbers, or images as bytes")
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)


def _is_list(pa: Any, kind: Any) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)
