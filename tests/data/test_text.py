"""Text as inputs and outputs passes through a conversion and `run`, or is refused in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx2snn import DataError, convert
from onnx2snn.cli.commands import main
from onnx2snn.data.samples import open_samples
from onnx2snn.protos.specs import TensorSpec

WORDS = np.array(["a", "b", "c", "unknown"] * 10)


def reader() -> onnx.ModelProto:
    """A network that looks words up, and names the class it finds."""
    rng = np.random.default_rng(0)
    ml = "ai.onnx.ml"
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["word"],
            ["index"],
            domain=ml,
            keys_strings=["a", "b", "c"],
            values_int64s=[1, 2, 3],
            default_int64=0,
        ),
        helper.make_node("Gather", ["table", "index"], ["x"]),
        helper.make_node("Gemm", ["x", "first"], ["h"]),
        helper.make_node("Relu", ["h"], ["p"]),
        helper.make_node("Gemm", ["p", "second"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder",
            ["best"],
            ["name"],
            domain=ml,
            keys_int64s=[0, 1, 2],
            values_strings=["cat", "dög", "fish"],
        ),
    ]
    shapes = {"table": (4, 8), "first": (8, 6), "second": (6, 3)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    word = helper.make_tensor_value_info("word", TensorProto.STRING, ["batch"])
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("name", TensorProto.STRING, ["batch"]),
    ]
    graph = helper.make_graph(nodes, "reader", [word], outputs, weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ml, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_words_go_in_and_names_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(reader(), "ann.onnx")
    np.save("words.npy", WORDS)
    data = ["--method", "max", "--quiet", "--calibration", "words.npy"]
    assert main(["ann.onnx", "-o", "snn.onnx", *data]) == 0
    assert main(["run", "snn.onnx", "--inputs", "words.npy", "-o", "y.npz", "--quiet"]) == 0
    with np.load("y.npz") as found:
        names = found["name"]
        best = found["logits"].argmax(axis=1)
    assert names.tolist() == np.array(["cat", "dög", "fish"])[best].tolist()
    assert main(["eval", "ann.onnx", "snn.onnx", "--data", "words.npy", "--quiet"]) == 0


def streamed() -> Iterator[NDArray[Any]]:
    """Batches in one piece of memory, longer words later on."""
    same = np.empty(20, object)
    for start in (0, 20):
        same[:] = WORDS[start : start + 20]
        yield same


@pytest.mark.parametrize(
    "words",
    [WORDS, WORDS.astype(object), [WORDS[:20], WORDS[20:]], streamed, streamed()],
)
def test_words_come_as_arrays_of_either_kind(words: object) -> None:
    assert convert(reader(), words, method="max", timesteps=4).report.sites


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (np.arange(40), "int64, but the model takes strings"),
        (np.array(["a", 1] * 20, object), "object, but the model takes strings"),
    ],
)
def test_what_is_no_text_is_refused(source: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        convert(reader(), source, method="max")


def test_text_in_place_of_numbers_is_refused() -> None:
    from helpers.networks import mlp

    with pytest.raises(DataError, match="but the model takes float32"):
        convert(mlp(), np.array([["1.0"] * 10] * 20))


def test_streamed_words_are_those_that_came() -> None:
    spec = TensorSpec("words", np.dtype(object), ("N",))
    with open_samples(streamed, [spec]) as samples:
        np.testing.assert_array_equal(samples.batch(range(40))["words"], WORDS)
        np.testing.assert_array_equal(samples.batch([25, 3])["words"], WORDS[[25, 3]])
