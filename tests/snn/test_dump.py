"""A spiking model as arrays says all that the step graph says, and in which order it is wired."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.architectures import attention, inputs_of, squeeze_and_excite
from helpers.networks import NETWORKS, inputs_for
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import onnx2snn
from onnx2snn import ModelFileError, UnsupportedGraphError, UsageError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings
from onnx2snn.snn.differential import ATTRIBUTES as DIFFERENTIAL_ATTRIBUTES
from onnx2snn.snn.dump import DESCRIPTION, Dump
from onnx2snn.snn.dumped_values import ArrayTable
from onnx2snn.snn.neurons import ATTRIBUTES, neuron_nodes
from onnx2snn.snn.rate_if import ATTRIBUTES as RATE_ATTRIBUTES

Array = NDArray[Any]

CODINGS: dict[str, dict[str, Any]] = {
    "rate": {"method": "max", "delay": 1},
    "signed and graded": {"method": "max", "neuron": "signed", "levels": 2, "delay": 0},
    "weighted rate": {"coding": "rate", "sites": "weighted"},
    "differential": {"preset": "differential"},
}
OTHERS = {"attention": attention, "squeeze_and_excite": squeeze_and_excite}
CASES = [
    *(("resnet", coding) for coding in CODINGS),
    ("attention", "differential"),
    ("squeeze_and_excite", "rate"),
]


@cache
def spiking(network: str, coding: str) -> onnx.ModelProto:
    settings = Settings(timesteps=3, **CODINGS[coding])
    if network in OTHERS:
        ann = OTHERS[network]()
        return run_conversion(ann, inputs_of(ann, 8), settings).model
    return run_conversion(NETWORKS[network](), inputs_for(network, 20), settings).model


@cache
def dumped(network: str, coding: str) -> Dump:
    return onnx2snn.dump(spiking(network, coding))


def rows(found: Dump, key: str) -> list[dict[str, Any]]:
    value = found.description[key]
    assert isinstance(value, list)
    return value


def rebuilt_nodes(found: Dump) -> list[onnx.NodeProto]:
    """The nodes of ONNX that a dump tells of."""
    nodes = []
    for row in rows(found, "nodes"):
        attributes = {}
        for name, value in row["attributes"].items():
            if isinstance(value, dict):
                value = numpy_helper.from_array(found.arrays[value["array"]])
            attributes[name] = value
        node = helper.make_node(
            row["op"], row["inputs"], row["outputs"], row["name"], domain=row["domain"]
        )
        node.attribute.extend(helper.make_attribute(*held) for held in attributes.items())
        nodes.append(node)
    return nodes


def plain(node: onnx.NodeProto) -> tuple[Any, ...]:
    """A node for comparisons; tensors are compared by their values."""
    attributes = {}
    for held in node.attribute:
        value = helper.get_attribute_value(held)
        if held.type == onnx.AttributeProto.TENSOR:
            array = numpy_helper.to_array(value)
            value = (array.dtype, array.shape, array.tolist())
        attributes[held.name] = value
    return node.op_type, node.domain, list(node.input), list(node.output), attributes


@pytest.mark.parametrize(("network", "coding"), CASES)
def test_nodes_keep_their_operators_tensors_and_attributes(network: str, coding: str) -> None:
    given = {node.name: plain(node) for node in spiking(network, coding).graph.node}
    told = {node.name: plain(node) for node in rebuilt_nodes(dumped(network, coding))}
    assert told == {name: given[name] for name in told}
    assert {node.name for node in neuron_nodes(spiking(network, coding).graph.node)} <= set(told)


@pytest.mark.parametrize(("network", "coding"), CASES)
def test_a_model_made_of_the_arrays_computes_the_same(network: str, coding: str) -> None:
    model = spiking(network, coding)
    found = dumped(network, coding)
    again = onnx.ModelProto()
    again.CopyFrom(model)
    del again.graph.node[:], again.graph.initializer[:]
    again.graph.node.extend(rebuilt_nodes(found))
    for name, values in found.arrays.items():
        again.graph.initializer.append(numpy_helper.from_array(values, name))

    rng = np.random.default_rng(0)
    feed: dict[str, Array] = {}
    for row in rows(found, "inputs"):
        sizes = [size if isinstance(size, int) else 2 for size in row["shape"]]
        feed[row["name"]] = rng.standard_normal(sizes).astype(row["dtype"])
    for state in rows(found, "states"):
        feed[state["input"]] = np.zeros([1] * state["rank"], np.float32)
    sessions = [ort.InferenceSession(one.SerializeToString()) for one in (model, again)]
    for wanted, value in zip(*(session.run(None, feed) for session in sessions), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5)


def test_what_no_input_has_a_part_in_is_an_array() -> None:
    model = spiking("resnet", "differential")
    assert "Expand" in {node.op_type for node in model.graph.node}
    found = dumped("resnet", "differential")
    known = set(found.arrays)
    for node in rows(found, "nodes"):
        assert not known.issuperset(node["inputs"]), node["name"]
    read = {name for node in rows(found, "nodes") for name in node["inputs"]}
    referred = {
        value["array"]
        for node in rows(found, "nodes")
        for value in node["attributes"].values()
        if isinstance(value, dict)
    }
    assert known == (known & read) | referred  # and no array is there for nothing


@pytest.mark.parametrize(
    ("coding", "names"),
    [
        ("rate", ATTRIBUTES),
        ("signed and graded", ATTRIBUTES),
        ("weighted rate", RATE_ATTRIBUTES),
        ("differential", DIFFERENTIAL_ATTRIBUTES),
    ],
)
def test_neurons_have_the_parameters_of_the_format(coding: str, names: tuple[str, ...]) -> None:
    found = dumped("resnet", coding)
    nodes = {node.name: node for node in neuron_nodes(spiking("resnet", coding).graph.node)}
    assert [row["name"] for row in rows(found, "neurons")] == list(nodes)
    for row in rows(found, "neurons"):
        own = plain(nodes[row["name"]])[-1]
        assert set(own) == set(names) <= set(row)
        assert row["input"] == nodes[row["name"]].input[0]
        _, _, scale = own["scale"]
        assert found.arrays[row["scale"]["array"]].tolist() == scale
        assert row["threshold"] == own["threshold"] == 1


def test_layers_say_whom_they_hear_and_through_which_nodes() -> None:
    found = dumped("resnet", "rate")
    layers = {row["name"]: row for row in rows(found, "neurons")}
    heard = {name: row["sources"] for name, row in layers.items()}
    assert heard == {
        "stem": [],
        "a1": ["stem"],
        "a2": ["stem", "a1"],
        "b1": ["a2"],
        "b2": ["a2", "b1"],
    }
    ops = {row["name"]: row["op"] for row in rows(found, "nodes")}
    assert [ops[name] for name in layers["a1"]["through"]] == ["Conv"]
    assert sorted(ops[name] for name in layers["b2"]["through"]) == ["Add", "Conv", "Conv"]
    (answer,) = rows(found, "outputs")
    assert answer["name"] == "logits"
    assert answer["sources"] == ["b2"]
    parts = {row["name"]: row["part"] for row in rows(found, "nodes")}
    assert {parts[name] for row in layers.values() for name in row["through"]} == {"core"}
    assert [name for name in answer["through"] if parts[name] == "readout"] == [
        row["name"] for row in rows(found, "nodes") if row["part"] == "readout"
    ]


def test_a_product_of_two_spike_trains_hears_both() -> None:
    found = dumped("attention", "differential")
    model = spiking("attention", "differential")
    arriving = {row["spikes"]: row["name"] for row in rows(found, "neurons")}
    products = [
        node
        for node in model.graph.node
        if node.op_type == "MatMul" and not set(node.input) & set(found.arrays)
    ]
    assert products
    through: dict[str, set[str]] = {}
    for row in [*rows(found, "neurons"), *rows(found, "outputs")]:
        for name in row["through"]:
            through.setdefault(name, set()).update(row["sources"])
    for node in products:
        assert {arriving[name] for name in node.input if name in arriving} <= through[node.name]


def test_both_files_hold_the_same(tmp_path: Path) -> None:
    found = dumped("mlp", "differential")
    found.save(tmp_path / "net.npz")
    found.save(tmp_path / "net.safetensors")
    with np.load(tmp_path / "net.npz") as file:
        arrays = dict(file)
    assert json.loads(bytes(arrays.pop(DESCRIPTION))) == json.loads(json.dumps(found.description))

    data = (tmp_path / "net.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert json.loads(header.pop("__metadata__")[DESCRIPTION]) == json.loads(
        json.dumps(found.description)
    )
    body = data[8 + size :]
    assert list(header) == list(arrays) == list(found.arrays)
    kinds = {"F32": np.float32, "I64": np.int64, "BOOL": np.bool_}
    for name, row in header.items():
        start, end = row["data_offsets"]
        values = np.frombuffer(body[start:end], kinds[row["dtype"]]).reshape(row["shape"])
        np.testing.assert_array_equal(values, arrays[name])
        np.testing.assert_array_equal(arrays[name], found.arrays[name])
    assert end == len(body)


def test_sizes_are_numbers_where_they_are_asked_for() -> None:
    found = onnx2snn.dump(spiking("resnet", "rate"), batch=2)
    for key in ("inputs", "outputs", "states", "neurons"):
        for row in rows(found, key):
            assert all(isinstance(size, int) for size in row["shape"]), row["name"]
    shapes = {row["name"]: row["shape"] for row in rows(found, "neurons")}
    assert shapes["stem"] == [2, 6, 4, 4]
    free = {row["name"]: row["shape"] for row in rows(dumped("resnet", "rate"), "neurons")}
    assert free["stem"] == ["batch", 6, 4, 4]


def with_node(node: onnx.NodeProto) -> onnx.ModelProto:
    """A spiking model with one more node, whose output nobody reads."""
    model = onnx.ModelProto()
    model.CopyFrom(spiking("mlp", "rate"))
    model.graph.node.append(node)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    return model


def test_a_node_that_holds_a_graph_is_refused_by_name() -> None:
    kind = onnx.TensorProto.FLOAT
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["one"], value_float=1.0)],
        "branch",
        [],
        [helper.make_tensor_value_info("one", kind, [])],
    )
    node = helper.make_node(
        "If", ["yes"], ["unread"], "chooser", then_branch=branch, else_branch=branch
    )
    with pytest.raises(UnsupportedGraphError, match=r"'chooser' \(If\).*use --to step"):
        onnx2snn.dump(with_node(node))


def test_an_attribute_that_json_does_not_know_is_an_array() -> None:
    node = helper.make_node("LeakyRelu", ["input"], ["unread"], "odd", alpha=float("inf"))
    found = onnx2snn.dump(with_node(node))
    (row,) = [row for row in rows(found, "nodes") if row["name"] == "odd"]
    assert row["attributes"] == {"alpha": {"array": "odd/alpha"}}
    assert found.arrays["odd/alpha"] == np.inf
    json.dumps(found.description, allow_nan=False)


@pytest.mark.parametrize("values", [np.array(["a"], object), np.ones(1, np.complex64)])
def test_a_constant_that_is_no_number_is_refused_by_name(values: Array) -> None:
    with pytest.raises(UnsupportedGraphError, match="constant 'label' is of type"):
        ArrayTable(set()).put("label", values)


def test_an_attribute_that_is_no_text_is_refused_by_name() -> None:
    node = helper.make_node("Cast", ["input"], ["unread"], "odd", to=1)
    node.attribute.append(helper.make_attribute("note", b"\xff"))
    with pytest.raises(UnsupportedGraphError, match=r"'odd' \(Cast\).*'note' \(STRING\)"):
        ArrayTable(set()).said(node, node.attribute[1])


def test_a_file_with_neurons_written_out_is_refused() -> None:
    with pytest.raises(ModelFileError, match="without --inline"):
        onnx2snn.dump(onnx2snn.portable(spiking("mlp", "rate")))


def test_a_rollout_is_refused() -> None:
    with pytest.raises(ModelFileError, match="is a rollout"):
        onnx2snn.dump(onnx2snn.rollout(spiking("mlp", "rate")))


def test_a_file_that_is_named_like_a_model_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(UsageError, match=r"net.onnx.*\.npz or \.safetensors"):
        dumped("mlp", "rate").save(path)
    assert not path.exists()
