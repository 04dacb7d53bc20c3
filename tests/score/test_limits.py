"""Activations that only bound what neurons tell, and those that do more."""

from __future__ import annotations

import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper

from onnx2snn.score.limits import neuron_limits


def neuron(y: str, kind: str = "DifferentialIF") -> NodeProto:
    return helper.make_node(kind, [y, "n"], ["s", "n_next"], domain="onnx2snn")


def node(op: str, inputs: str, output: str) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output])


def graph(*nodes: NodeProto, outputs: tuple[str, ...] = ("n_next",)) -> GraphProto:
    """x and n vary in time, c and d are constants."""
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    return helper.make_graph(list(nodes), "step", [], made)


def limits(*nodes: NodeProto, **named: tuple[str, ...]) -> set[str]:
    varying = {"x", "n", *(name for made in nodes for name in made.output)}
    return neuron_limits(graph(*nodes, **named), varying)


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([node("Relu", "x", "y")], {"y"}),
        ([node("Clip", "x c d", "y")], {"y"}),
        ([node("Relu", "x", "a"), node("Min", "a c", "y")], {"a", "y"}),
        ([node("Max", "x c", "a"), node("Add", "a d", "y")], {"a"}),
        ([node("LeakyRelu", "x", "y")], set()),
        ([node("Mul", "x c", "y")], set()),
        ([node("Relu", "x", "a"), node("Mul", "a c", "y")], set()),
        ([node("Relu", "x", "a"), node("Add", "a x", "y")], set()),
        ([node("Max", "x n", "y")], set()),
    ],
)
def test_what_compares_with_constants_before_a_neuron_is_its_limit(
    nodes: list[NodeProto], wanted: set[str]
) -> None:
    assert limits(*nodes, neuron("y")) == wanted


def test_an_activation_that_others_read_is_more_than_a_limit() -> None:
    assert limits(node("Relu", "x", "y"), neuron("y"), node("Sigmoid", "y", "z")) == set()
    assert limits(node("Relu", "x", "y"), neuron("y"), outputs=("n_next", "y")) == set()


def test_an_activation_that_a_graph_inside_reads_is_more_than_a_limit() -> None:
    inner = helper.make_graph([node("Sigmoid", "y", "z")], "inner", [], [])
    branch = helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
    assert limits(node("Relu", "x", "y"), neuron("y"), branch) == set()


def test_an_activation_before_a_membrane_potential_is_no_limit() -> None:
    assert limits(node("Relu", "x", "y"), neuron("y", "IF")) == set()


def test_what_a_neuron_has_sent_is_no_tensor_it_tells_of() -> None:
    before = node("Relu", "x", "n0")
    fires = helper.make_node("DifferentialIF", ["x", "n0"], ["s", "n_next"], domain="onnx2snn")
    assert limits(before, fires) == set()
