"""Behaviour of onnx2snn.graph.editing and graph.shape_inference: names, wiring, parts, shapes."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from helpers.networks import Builder

from onnx2snn.graph.dims import keeps_shape
from onnx2snn.graph.editing import (
    Editor,
    constant,
    drop,
    is_constant,
    is_output,
    maker,
    producer,
    redirect,
    submodel,
    tidy,
    to_graph,
    to_proto,
)
from onnx2snn.graph.shape_inference import infer_shapes
from onnx2snn.graph.types import Graph


def chain() -> Graph:
    """input [batch, 3] -> Relu "one" -> Relu "two"."""
    b = Builder()
    x = b.input("input", ["batch", 3])
    out = b.node("Relu", b.node("Relu", x, name="one"), name="two")
    return to_graph(b.model({out: ["batch", 3]}))


def test_an_editor_gives_each_name_once() -> None:
    editor = Editor(chain())
    assert [editor.name("one") for _ in range(3)] == ["one_2", "one_3", "one_4"]
    assert editor.name("one_out") == "one_out_2"
    assert editor.name("fresh") == "fresh"
    assert editor.constant("fresh", np.zeros(1)).name == "fresh_2"


def test_a_node_put_in_between_is_computed() -> None:
    graph = chain()
    editor = Editor(graph)
    one, two = graph.nodes
    middle = editor.variable("middle", like=one.outputs[0])
    factor = editor.constant("factor", np.array([2.0, 3.0, 4.0], np.float32))
    redirect(graph, one.outputs[0], middle, [two])
    editor.node("Mul", "scale", [one.outputs[0], factor], [middle])
    proto = to_proto(tidy(graph))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": np.array([[-1.0, 1.0, 1.0]], np.float32)})
    assert found.tolist() == [[0.0, 3.0, 4.0]]
    assert [node.name for node in graph.nodes] == ["one", "scale", "two"]


def test_redirecting_all_readers_takes_outputs_along() -> None:
    graph = chain()
    one, two = graph.nodes
    out = two.outputs[0]
    assert is_output(graph, out) and not is_output(graph, one.outputs[0])
    redirect(graph, out, one.outputs[0])
    drop(graph, two)
    assert is_output(graph, one.outputs[0])
    assert [node.name for node in graph.nodes] == ["one"]


def test_makers_and_constants() -> None:
    graph = chain()
    one, two = graph.nodes
    assert maker(two.inputs[0]) is one
    assert producer(graph.inputs[0]) is None
    value = Editor(graph).constant("value", np.ones(2))
    assert is_constant(value) and not is_constant(graph.inputs[0])
    assert constant(graph.inputs[0]) is None
    assert np.array_equal(np.asarray(constant(value)), np.ones(2))


def test_a_part_is_a_model_of_its_own() -> None:
    graph = chain()
    one, two = graph.nodes
    part = submodel(graph, [two], one.outputs, two.outputs)
    assert [value.name for value in part.graph.input] == ["one_out"]
    assert [value.name for value in part.graph.output] == ["two_out"]


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((), True), ((3,), True), ((1, 3), True), ((1, 1), True), ((2, 3), False), ((1, 1, 3), False)],
)
def test_a_factor_keeps_a_shape_where_it_broadcasts_nothing(
    shape: tuple[int, ...], kept: bool
) -> None:
    tensor = chain().inputs[0]
    assert keeps_shape(tensor, np.ones(shape)) is kept


def test_shapes_are_inferred_for_tensors_without() -> None:
    graph = chain()
    between = graph.nodes[0].outputs[0]
    assert between.shape is None
    infer_shapes(graph)
    assert list(between.shape or ()) == ["batch", 3]
    assert between.dtype == np.float32
