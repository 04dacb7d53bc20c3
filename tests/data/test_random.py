"""Behaviour of onnx2snn.data.random: random samples, and the bounds of indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Dim
from onnx2snn.data.random import index_bounds, random_samples
from onnx2snn.data.samples import Samples
from onnx2snn.errors import DataError
from onnx2snn.protos.specs import TensorSpec

Array = NDArray[Any]
F32 = np.float32


def spec(name: str = "x", shape: tuple[Dim, ...] | None = ("N", 3), dtype: Any = F32) -> TensorSpec:
    return TensorSpec(name, np.dtype(dtype), shape)


def everything(samples: Samples, name: str = "x") -> Array:
    return samples.batch(np.arange(len(samples)))[name]


def test_random_floats_are_standard_normal_and_integers_span_their_type() -> None:
    inputs = [
        spec("f", ("N", 40)),
        spec("h", (1, 2), np.float16),
        spec("i", ("N", 40), np.int8),
        spec("b", ("N", 40), np.bool_),
    ]
    samples, notes = random_samples(inputs, 100, seed=3)
    assert notes == []
    assert len(samples) == 100
    got = samples.batch(np.arange(100))
    assert {key: f"{value.dtype}{list(value.shape)}" for key, value in got.items()} == {
        "f": "float32[100, 40]",
        "h": "float16[100, 2]",
        "i": "int8[100, 40]",
        "b": "bool[100, 40]",
    }
    assert abs(got["f"].mean()) < 0.1
    assert abs(got["f"].std() - 1) < 0.1
    assert got["i"].min() == -128
    assert got["i"].max() == 127
    assert 0.4 < got["b"].mean() < 0.6


def test_random_samples_depend_on_seed_and_index_only() -> None:
    (one, _), (same, _), (other, _) = (
        random_samples([spec(), spec("y")], 5, seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(everything(one)[[3, 0]], same.batch([3, 0])["x"])
    assert not np.array_equal(everything(one), everything(other))
    assert not np.array_equal(everything(one), everything(one, "y"))
    assert len(np.unique(everything(one))) == 15


@pytest.mark.parametrize(
    ("inputs", "shapes", "notes"),
    [
        (
            [spec(shape=("N", 3, "height", None))],
            [(2, 3, 224, 224)],
            [
                "dimension 'height' of input 'x' taken as 224",
                "dimension axis 3 of input 'x' taken as 224",
            ],
        ),
        (
            [spec(shape=(1, "h", 8, 3))],
            [(2, 224, 8, 3)],
            ["dimension 'h' of input 'x' taken as 224"],
        ),
        (
            [spec(shape=("N", "T")), spec("y", (None, "T"))],
            [(2, 16)] * 2,
            ["dimension 'T' of input 'x' taken as 16"],
        ),
        ([spec(shape=None)], [(2, 16)], ["shape of input 'x' taken as [N,16]"]),
        ([spec(shape=(8, 4))], [(2, 4)], []),
        ([spec(shape=("N",))], [(2,)], []),
    ],
)
def test_guessed_dimensions_are_named(
    inputs: list[TensorSpec], shapes: list[tuple[int, ...]], notes: list[str]
) -> None:
    samples, found = random_samples(inputs, 2, seed=0)
    assert [value.shape for value in samples.batch([1, 0]).values()] == shapes
    assert found == notes


@pytest.mark.parametrize(
    ("wrong", "count"), [(spec(shape=()), 1), (spec(dtype=object), 1), (spec(), 0)]
)
def test_random_samples_that_cannot_be_made_are_refused(wrong: TensorSpec, count: int) -> None:
    with pytest.raises(DataError, match="cannot be made"):
        random_samples([wrong], count, seed=0)


def test_random_indices_stay_in_their_vocabulary_and_other_words_are_noted() -> None:
    inputs = [
        spec("tokens", ("N", 40), np.int64),
        spec("ids", ("N", 40), np.int32),
        spec("pixels", ("N", 4), np.uint8),
    ]
    samples, notes = random_samples(inputs, 100, 0, {"tokens": 7})
    assert notes == ["values of input 'ids' drawn from 0 and 1, whatever they stand for"]
    assert set(np.unique(everything(samples, "tokens"))) == set(range(7))
    assert set(np.unique(everything(samples, "ids"))) == {0, 1}


def test_an_index_is_bounded_by_the_smallest_table_that_is_read_with_it() -> None:
    tables = {name: np.zeros((count, 2), F32) for name, count in (("large", 9), ("small", 5))}
    nodes = [
        helper.make_node("Constant", [], ["small"], value=numpy_helper.from_array(tables["small"])),
        helper.make_node("Constant", [], ["listed"], value_ints=[1, 2, 3]),
        helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.INT64),
        *(helper.make_node("Gather", [t, "cast"], [f"y{t}"]) for t in ("large", "small", "listed")),
    ]
    graph = helper.make_graph(
        nodes,
        "tables",
        [helper.make_tensor_value_info(name, TensorProto.INT32, ["N"]) for name in ("x", "free")],
        [helper.make_tensor_value_info("ysmall", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(tables["large"], "large")],
    )
    assert index_bounds(helper.make_model(graph)) == {"x": 5}
