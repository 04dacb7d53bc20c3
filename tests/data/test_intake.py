"""Behaviour of onnx2snn.data.intake: types, shapes, names and values that fit a model's inputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.data import F32, Array, everything, rows, spec

from onnx2snn.aliases import Dim
from onnx2snn.data.samples import open_samples
from onnx2snn.errors import DataError


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (np.float64, F32),
        (np.float16, F32),
        (F32, np.float16),
        (np.int32, np.int64),
        (np.uint8, np.int32),
        (np.uint8, np.uint8),
        (np.bool_, np.bool_),
    ],
)
def test_harmless_casts_are_done_silently(found: Any, wanted: Any) -> None:
    samples = open_samples(rows(2, 3, dtype=found), [spec(dtype=wanted)])
    assert everything(samples).dtype == wanted
    assert everything(samples).tolist() == rows(2, 3, dtype=wanted).tolist()


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (np.uint8, F32),
        (np.int64, F32),
        (F32, np.int64),
        (np.int64, np.int32),
        (np.int8, np.uint8),
        (np.bool_, F32),
        (F32, np.bool_),
        (np.complex64, F32),
        (np.dtype("U1"), F32),
    ],
)
def test_other_casts_are_left_to_the_user(found: Any, wanted: Any) -> None:
    name = re.escape(str(np.dtype(found)))
    call = re.escape(f".astype(np.{np.dtype(wanted).type.__name__})")
    with pytest.raises(DataError, match=rf"'x'.* is {name}.*takes {np.dtype(wanted)}.*{call}"):
        open_samples(rows(2, 3, dtype=found), [spec(dtype=wanted)])


@pytest.mark.parametrize(
    ("data", "shape", "message"),
    [
        (rows(2, 4), ("N", 3), r"'x'.*\[2,4\].*\[N,3\]"),
        (rows(2, 4), (8, 3), r"'x'.*\[2,4\].*\[N,3\]"),
        (rows(2), ("N", 3), r"\[2\].*\[N,3\]"),
        (rows(2, 3, 1), ("N", 3), r"\[2,3,1\].*\[N,3\]"),
        (rows(2, 4, 5), (None, None, 3), r"\[2,4,5\].*\[N,\?,3\]"),
        (np.float32(1), None, "samples on axis 0"),
        (rows(0, 3), ("N", 3), r"\[0,3\], no samples"),
        (rows(2, 0), None, "no samples"),
        (np.array(1, F32), (), "no axis for samples: make it a constant"),
    ],
)
def test_shapes_must_fit(data: Array, shape: tuple[Dim, ...] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_samples(data, [spec(shape=shape)])


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (rows(7, 3), (2, 3)),
        (rows(7, 3), (None, None)),
        (rows(7, 3), ("N", "features")),
        (rows(7, 3), None),
        (rows(7), None),
        (rows(7), ("N",)),
    ],
)
def test_batch_and_free_dimensions_take_any_size(
    data: Array, shape: tuple[Dim, ...] | None
) -> None:
    assert everything(open_samples(data, [spec(shape=shape)])).shape == data.shape


def test_a_symbolic_dimension_is_one_size_in_all_inputs() -> None:
    inputs = [spec("a", ("N", "T")), spec("b", ("N", "T"))]
    open_samples({"a": rows(2, 5), "b": rows(2, 5)}, inputs)
    with pytest.raises(DataError, match=r"'T' is 6 for 'b'.* but 5 for 'a'"):
        open_samples({"a": rows(2, 5), "b": rows(2, 6)}, inputs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("where", [0, 4999])
def test_values_that_are_not_finite_are_found_in_any_chunk(
    value: float, where: int, tmp_path: Path
) -> None:
    data = np.zeros((5000, 300), np.float64)
    data[where:, 7] = value
    np.save(tmp_path / "x.npy", data)
    for source in (data, tmp_path / "x.npy", iter([data])):
        with pytest.raises(DataError, match=rf"'x'.*NaN or infinity.*sample {where}:"):
            open_samples(source, [spec(shape=("N", 300))])


def test_targets_may_hold_nan() -> None:
    samples = open_samples({"x": rows(1, 3), "masks": np.full((1, 2), np.nan)}, [spec()])
    assert np.isnan(samples.target("masks", [0])).all()


def batches(key: str, *values: Array) -> Callable[[], object]:
    """Generate batches of one sample each, with `values` under `key`."""
    return lambda: ({"x": rows(1, 3), key: value} for value in values)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([None, 1]), "'x' in the data is an array of Python objects"),
        (
            {"x": rows(2, 3), "y": rows(2)},
            "holds 'y', but the model's inputs are 'x'.*'labels'.*rename",
        ),
        ({"x": rows(2, 3)} | {f"y{i}": rows(2) for i in range(9)}, "'y0', .*'y7' and 1 more, but"),
        ({"labels": rows(2)}, "lacks the model's inputs 'x' and holds 'labels'"),
        (lambda: iter(()), "lacks the model's inputs 'x' and holds nothing"),
        ([], "lacks the model's inputs 'x' and holds nothing"),
        ({"x": rows(3, 3), "labels": rows(2)}, "3 of 'x', 2 of 'labels'"),
        ([{"x": rows(3, 3), "labels": rows(3)}, rows(1, 3)], "4 of 'x', 3 of 'labels'"),
        (batches("masks", rows(1, 4), rows(1, 5)), r"'masks' in batch 1 .*\[N,5\] after .*\[N,4\]"),
        (
            batches("labels", rows(1, dtype=F32), rows(1, dtype=np.int64)),
            r"int64\[N\] after float32\[N\]",
        ),
        (
            batches("labels", rows(1, dtype=np.int32), rows(1, dtype=np.int64)),
            "'labels' in batch 1 of the data is int64 after int32",
        ),
    ],
)
def test_groups_must_fit_the_inputs_and_each_other(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        open_samples(data, [spec()])
    assert "\n" not in str(refusal.value)
