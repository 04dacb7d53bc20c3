"""Behaviour of onnx2snn.protos.apart and wire: weights in files, and models written in parts."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import inputs_for, mlp, resnet, vgg
from onnx import TensorProto, helper, numpy_helper

from onnx2snn import convert
from onnx2snn.graph.editing import make_constant, to_graph, to_proto
from onnx2snn.protos import apart, large, wire
from onnx2snn.protos.apart import weights_apart


@pytest.fixture
def all_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if constants were large from 64 bytes on."""
    monkeypatch.setattr(apart, "APART", 64)


def written_out(model: onnx.ModelProto) -> bytes:
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def references(model: onnx.ModelProto) -> dict[str, apart.Reference]:
    held = [tensor for tensor in model.graph.initializer if apart.is_apart(tensor)]
    return {tensor.name: apart.reference_of(tensor) for tensor in held}


def odd_model() -> onnx.ModelProto:
    """Return a model with most kinds of fields: texts, typed values, functions, properties."""
    model = mlp()
    graph = model.graph
    graph.doc_string, model.doc_string = "graph ü", "model"
    graph.initializer.append(TensorProto(name="typed", data_type=1, dims=[2], float_data=[1, 2]))
    large_one = numpy_helper.from_array(np.arange(40000, dtype=np.float32), "raw")
    large_one.doc_string = "behind its values"
    graph.initializer.append(large_one)
    helper.set_model_props(model, {"key": "value"})
    node = helper.make_node("Relu", ["x"], ["y"])
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [node], opsets))
    return model


@pytest.mark.parametrize("model", [mlp(), vgg(), odd_model()], ids=["mlp", "vgg", "odd"])
def test_parts_of_a_model_are_its_bytes(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    for whole in (wire.WHOLE, 0):
        monkeypatch.setattr(wire, "WHOLE", whole)
        assert b"".join(wire.parts(model)) == written_out(model)
        assert wire.size_of(model) == len(written_out(model))


@pytest.mark.usefixtures("all_apart")
def test_weights_that_stand_apart_are_written_into_the_file() -> None:
    model = vgg()
    with weights_apart():
        light = large.set_apart(model)
        folder = apart.folder_of(light)
        assert folder is not None
        assert light.ByteSize() < model.ByteSize() / 2
        assert b"".join(wire.parts(light)) == written_out(model)
        assert wire.size_of(light) == len(written_out(model))
        assert written_out(large.whole(light)) == written_out(model)
    assert not folder.exists()


@pytest.mark.usefixtures("all_apart")
def test_files_of_an_inner_block_go_at_its_end() -> None:
    with weights_apart():
        outer = apart.put_apart(np.ones(100))
        with weights_apart():
            inner = apart.put_apart(np.full(100, 2.0))
            place = apart.reference(inner)
            assert place is not None
        assert apart.reference(inner) is None
        assert apart.reference(outer) is not None
        np.testing.assert_array_equal(inner + outer, np.full(100, 3.0))
    assert apart.put_apart(outer) is outer


@pytest.mark.usefixtures("all_apart")
def test_a_graph_takes_and_gives_references_in_place_of_weights() -> None:
    with weights_apart():
        light = large.set_apart(vgg())
        graph = to_graph(light)
        again = to_proto(graph, light.ir_version)
        names, kept = references(light), references(again)
        assert kept == names
        assert len(names) > 3
        made = make_constant("new", np.ones((5, 5)))
        assert apart.reference(made.values) is not None  # type: ignore[attr-defined]
        assert apart.put_apart(np.array(["text" * 20])).dtype.kind == "U"


@pytest.mark.filterwarnings("ignore:agreement with the ANN")
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("vgg", {"preset": "low-latency", "timesteps": 4}),
        ("resnet", {"preset": "paper", "iterations": 2}),
        ("mlp", {"preset": "differential"}),
        ("vgg", {"preset": "paper", "method": "max", "correct": "bias", "rounds": 1}),
    ],
)
def test_a_conversion_with_weights_apart_gives_the_same_bytes(
    model: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"vgg": vgg, "resnet": resnet, "mlp": mlp}[model]()
    x = inputs_for(model, 20)
    found = []
    for size in (2**18, 64):
        monkeypatch.setattr(apart, "APART", size)
        found.append(convert(network, x, **options).to_bytes())  # type: ignore[arg-type]
    assert found[0] == found[1]


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "APART", 64)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    conversion = convert(mlp(), inputs_for("mlp", 20), method="max")
    conversion.save(tmp_path / "snn.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["snn.onnx"]
    assert (tmp_path / "snn.onnx").read_bytes() == conversion.to_bytes()


@pytest.mark.filterwarnings("ignore:agreement with the ANN", "ignore:the error of the outputs")
def test_python_holds_no_more_than_twice_the_weights(tmp_path: Path) -> None:
    width = 512
    weights = []
    nodes = []
    x = "input"
    rng = np.random.default_rng(0)
    for layer in range(8):
        values = rng.standard_normal((width, width), np.float32) / np.float32(16)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("Gemm", [x, f"w{layer}"], [f"z{layer}"], f"dense{layer}"))
        nodes.append(helper.make_node("Relu", [f"z{layer}"], [f"a{layer}"], f"relu{layer}"))
        x = f"a{layer}"
    inputs = [helper.make_tensor_value_info("input", 1, ["n", width])]
    outputs = [helper.make_tensor_value_info("z7", 1, ["n", width])]
    graph = helper.make_graph(nodes[:-1], "dense", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = tmp_path / "dense.onnx"
    onnx.save(model, path)
    size = path.stat().st_size
    given = rng.standard_normal((8, width), np.float32)
    # a network of chance, after one mini-batch: it need not come near
    options: dict[str, Any] = {"preset": "paper", "iterations": 1, "max_lasting": 100}
    convert(path, given, **options)  # what a first call imports stays
    tracemalloc.start()
    try:
        convert(path, given, **options).save(tmp_path / "snn.onnx")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * size + 2**20
