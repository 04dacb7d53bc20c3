"""Behaviour of inspect: what a model is, and what would become of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for, mlp

from onnx2snn import ModelFileError, UnsupportedGraphError, convert, inspect
from onnx2snn.display.drives import inspection_lines, report_lines
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings


def between_neurons(op: str, name: str, **attrs: Any) -> onnx.ModelProto:
    """A network with some operator between two spiking layers."""
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 8), name="h1")
    x = b.node(op, b.gemm(x, 8, 8), name=name, **attrs)
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 8, 8), name="h2"), 8, 3), "logits")
    return b.model({"logits": ["batch", 3]})


def analog() -> onnx.ModelProto:
    return between_neurons("Softmax", "attention", axis=1)


def refused() -> onnx.ModelProto:
    return between_neurons("RandomNormalLike", "noise")


def without_neurons() -> onnx.ModelProto:
    b = Builder()
    b.name_output(b.gemm(b.input("input", ["batch", 10]), 10, 3), "logits")
    return b.model({"logits": ["batch", 3]})


@pytest.mark.parametrize("name", NETWORKS)
def test_an_ann_is_described_as_it_will_be_converted(name: str) -> None:
    about = inspect(NETWORKS[name](), "rate")
    assert (about["kind"], about["convertible"], about["reason"]) == ("ann", True, None)
    assert about["inputs"][0].startswith("input float32[batch,")
    assert about["summary"] == dict(Counter(row["role"] for row in about["nodes"]))
    assert all(set(row) == {"node", "op", "role", "reason"} for row in about["nodes"])
    report = run_conversion(
        NETWORKS[name](), inputs_for(name, 20), Settings(preset="paper", method="max", timesteps=2)
    ).report
    neurons = [row["node"] for row in about["nodes"] if row["role"] == "neuron"]
    assert neurons == [site["name"] for site in report.sites]
    assert about["summary"] == report.parts["nodes"]


@pytest.mark.parametrize("name", [*NETWORKS, "analog"])
def test_what_would_feed_weighted_operators_is_told_before_a_conversion(name: str) -> None:
    proto = NETWORKS.get(name, analog)()
    data = inputs_for(name, 20) if name in NETWORKS else np.ones((20, 10), np.float32)
    settings = Settings(preset="paper", method="max", timesteps=2)
    report = run_conversion(proto, data, settings).report
    about = inspect(proto, "rate")
    assert about["weighted"] == report.weighted


def test_every_part_of_a_network_is_named() -> None:
    roles = {row["node"]: row["role"] for row in inspect(mlp())["nodes"]}
    assert roles == {
        "gemm0": "encoder",
        "h1": "neuron",
        "gemm2": "linear",
        "h2": "neuron",
        "gemm4": "readout",
    }


@pytest.mark.parametrize(
    ("build", "named"),
    [(refused, "'noise' (RandomNormalLike)"), (without_neurons, "nothing to convert")],
)
def test_a_refusal_gives_the_reason_that_convert_gives(build: Any, named: str) -> None:
    about = inspect(build())
    assert (about["kind"], about["convertible"]) == ("ann", False)
    assert named in str(about["reason"])
    with pytest.raises(UnsupportedGraphError) as caught:
        convert(build(), inputs_for("mlp", 20))
    assert about["reason"] == str(caught.value)
    assert about["nodes"]


def test_a_refused_node_has_its_own_reason() -> None:
    row = next(row for row in inspect(refused())["nodes"] if row["node"] == "noise")
    reason = "it draws random numbers at every step"
    assert row == {"node": "noise", "op": "RandomNormalLike", "role": "refused", "reason": reason}


def test_a_node_refused_before_there_is_a_table_is_its_only_row() -> None:
    b = Builder()
    scale = b.const(0.05), b.const(0, np.uint8)
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 8))
    x = b.node("DequantizeLinear", b.node("QuantizeLinear", x, *scale, name="quantise"), *scale)
    b.name_output(b.gemm(x, 8, 3), "logits")
    about = inspect(b.model({"logits": ["batch", 3]}))
    assert [(row["node"], row["op"], row["role"]) for row in about["nodes"]] == [
        ("quantise", "QuantizeLinear", "refused")
    ]
    assert about["summary"] == {"refused": 1}
    assert about["nodes"][0]["reason"] in str(about["reason"])


def test_neurons_that_are_part_of_a_node_name_it() -> None:
    rows = {row["node"]: row for row in inspect(between_neurons("LeakyRelu", "leaky"))["nodes"]}
    assert (rows["leaky"]["role"], rows["leaky"]["reason"]) == ("neuron", "fires")
    assert rows["leaky/negative"]["role"] == "neuron"
    assert rows["leaky/negative"]["reason"] == "fires, for a part of 'leaky'"


def test_a_telescoped_node_is_named_as_in_the_converted_model() -> None:
    about = inspect(analog(), "rate")
    assert about["convertible"]
    row = next(row for row in about["nodes"] if row["node"] == "attention")
    assert row == {
        "node": "attention",
        "op": "Softmax",
        "role": "analog",
        "reason": "telescoped: not linear",
    }
    conversion = run_conversion(
        analog(), inputs_for("mlp", 20), Settings(preset="paper", method="max", timesteps=2)
    )
    assert (
        inspect(conversion.model)["metadata"]["analog"] == conversion.report.analog == ["attention"]
    )


@pytest.mark.parametrize("name", ["mlp", "segmenter"])
def test_a_spiking_model_is_described_by_its_metadata(name: str) -> None:
    model = run_conversion(
        NETWORKS[name](), inputs_for(name, 20), Settings(method="max", timesteps=4)
    ).model
    about, ann = inspect(model), inspect(NETWORKS[name]())
    assert about["kind"] == "snn"
    assert (about["inputs"], about["outputs"]) == (ann["inputs"], ann["outputs"])  # no states
    (text,) = (p.value for p in model.metadata_props if p.key == "onnx2snn")
    assert about["metadata"] == json.loads(text)


def test_both_kinds_are_plain_data() -> None:
    snn = run_conversion(mlp(), inputs_for("mlp", 20), Settings(method="max", timesteps=4)).model
    for model in (mlp(), analog(), refused(), snn):
        about = inspect(model)
        assert json.loads(json.dumps(about)) == about


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelFileError, match="there is no model at"):
        inspect("missing.onnx")
    with pytest.raises(ModelFileError, match="not an ONNX model"):
        inspect(b"\xff\xff\xff")


def test_the_coding_and_what_drives_each_weighted_operator_are_told() -> None:
    made = run_conversion(
        analog(), inputs_for("mlp", 20), Settings(preset="differential", timesteps=2)
    )
    snn = inspect(made.model)
    wanted = [
        "coding: differential, at most ",
        "3 of 4 weighted operators are spiking, 1 encoder, 0 analog",
    ]
    for about in (inspect(analog(), "differential"), snn):
        lines = inspection_lines(about)
        assert lines[0].startswith("coding: differential")
        assert lines[1:] == wanted[1:]
    assert inspection_lines(snn)[0].startswith(wanted[0])
    assert report_lines(made.report) == wanted[1:]
    assert made.report.coding == "differential"


def test_analog_operators_are_named_with_their_reasons() -> None:
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 8))
    x = b.node("Reshape", b.gemm(x, 8, 8), b.const([2, -1, 4], np.int64))
    weights = (b.rng.standard_normal((1, 12, size)) for size in (4, 3))
    node = b.node("LSTM", x, *(b.const(w) for w in weights), hidden_size=3, name="memory")
    x = b.node("Flatten", b.node("Transpose", node, perm=[2, 0, 1, 3]), axis=1)
    b.name_output(b.gemm(x, 6, 3), "logits")
    lines = inspection_lines(inspect(b.model({"logits": [None, 3]}), "differential"))
    assert "1 encoder, 1 analog" in lines[1]
    assert lines[2].startswith("analog: memory (LSTM): ")


def test_rate_coding_tells_its_weighted_operators_too() -> None:
    model = run_conversion(mlp(), inputs_for("mlp", 20), Settings(preset="paper")).model
    assert inspection_lines(inspect(model)) == [
        "coding: rate",
        "2 of 3 weighted operators are spiking, 1 encoder, 0 analog",
    ]


def test_rate_coding_says_of_each_weighted_operator_what_drives_it_and_why() -> None:
    about = inspect(analog(), "rate")
    assert [entry["drive"] for entry in about["driven"]] == [
        "encoder",
        "spiking",
        "analog",
        "spiking",
    ]
    assert about["driven"][2]["reason"] == "it takes numbers that are no spikes"
    assert about["driven"][3]["reason"] == "its operand is a mean of spikes"
    assert inspection_lines(about)[1] == (
        "2 of 4 weighted operators are spiking, 1 encoder, 1 analog"
    )
    report = run_conversion(
        analog(), inputs_for("mlp", 20), Settings(preset="paper", method="max", timesteps=2)
    ).report
    assert list(report.driven) == about["driven"]
    assert report_lines(report) == inspection_lines(about)[1:]
