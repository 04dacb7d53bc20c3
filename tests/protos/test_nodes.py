"""Behaviour of onnx2snn.protos.nodes, walk and reach: facts about nodes, and walks over them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.protos.nodes import attribute, standard, standard_opset
from onnx2snn.protos.reach import downstream, spread, upstream
from onnx2snn.protos.walk import constants

CHAIN = [
    helper.make_node("Relu", ["x"], ["a"]),
    helper.make_node("Relu", ["z"], ["b"]),
    helper.make_node("Clip", ["a", "", "b"], ["c"]),
    helper.make_node("Relu", ["c"], ["d"]),
]
"""x -> a and z -> b, which meet in c -> d; the middle input of Clip is left out."""


def test_a_node_says_its_domain_and_its_attributes() -> None:
    node = helper.make_node("Concat", ["x"], ["y"], axis=1)
    assert standard(node)
    assert not standard(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"))
    assert attribute(node, "axis") == 1
    assert attribute(node, "other", 3) == 3


def test_a_model_that_imports_no_standard_operators_is_at_opset_1() -> None:
    graph = helper.make_graph([], "empty", [], [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx", 13)])
    assert standard_opset(model) == 13
    del model.opset_import[:]
    assert standard_opset(model) == 1


def test_constants_are_initializers_and_values_of_constant_nodes() -> None:
    value = numpy_helper.from_array(np.ones(3, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["made"], value=value),
        helper.make_node("Constant", [], ["listed"], value_floats=[1.0]),
    ]
    stored = numpy_helper.from_array(np.zeros(2, np.float32), "stored")
    output = helper.make_tensor_value_info("made", TensorProto.FLOAT, [3])
    found = constants(helper.make_graph(nodes, "constants", [], [output], [stored]))
    assert {name: list(tensor.dims) for name, tensor in found.items()} == {
        "stored": [2],
        "made": [3],
    }


def test_a_walk_reaches_all_that_depends_on_a_tensor() -> None:
    reached = downstream(CHAIN, ["z"])
    assert [node.output[0] for node in reached.nodes] == ["b", "c", "d"]
    assert reached.tensors == {"z", "b", "c", "d"}


def test_a_walk_back_stops_where_it_is_told_to_and_knows_no_input_left_out() -> None:
    reached = upstream(CHAIN, ["d"])
    assert [node.output[0] for node in reached.nodes] == ["d", "c", "b", "a"]
    assert reached.tensors == {"d", "c", "b", "a", "x", "z"}
    stopped = upstream(CHAIN, ["d"], stop=["b"])
    assert [node.output[0] for node in stopped.nodes] == ["d", "c", "a"]


def test_a_node_from_which_a_walk_starts_is_reached_only_behind_another() -> None:
    reached = spread(
        CHAIN,
        [],
        lambda node: list(node.input),
        lambda node: list(node.output),
        starts=lambda node: node.output[0] in ("b", "c"),
    )
    assert [node.output[0] for node in reached.nodes] == ["c", "d"]
