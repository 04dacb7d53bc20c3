"""Behaviour of onnx2snn.graph.flow: what lies up- and downstream, and what varies in time."""

from __future__ import annotations

import pytest
from helpers.networks import Builder

from onnx2snn.graph.editing import to_graph
from onnx2snn.graph.flow import between_weights, nodes_before, nodes_behind, time_varying
from onnx2snn.graph.types import Node


@pytest.fixture(scope="module")
def nodes() -> list[Node]:
    """input -> first -> fire -> shape, second -> last; a constant joins behind."""
    b = Builder()
    x = b.input("input", ["batch", 4, 5, 5])
    first = b.node("Conv", x, b.const([[[[1.0]]] * 4] * 4), name="first")
    fire = b.node("Relu", first, name="fire")
    shape = b.node("Shape", fire, name="shape")
    flat = b.node("Reshape", fire, shape, name="reshape")
    second = b.node("Conv", flat, b.const([[[[1.0]]] * 4] * 4), name="second")
    last = b.node("Add", second, x, name="last")
    return list(to_graph(b.model({last: ["batch", 4, 5, 5]})).nodes)


def is_fire(node: Node) -> bool:
    return node.name == "fire"


def test_nodes_behind_and_before_leave_the_start_out(nodes: list[Node]) -> None:
    assert nodes_behind(nodes, is_fire) == {"shape", "reshape", "second", "last"}
    assert nodes_before(nodes, is_fire) == {"first"}


def test_between_weights_is_on_a_path_from_one_to_another(nodes: list[Node]) -> None:
    assert between_weights(nodes) == {"fire", "shape", "reshape"}


def test_shapes_of_spikes_do_not_vary_in_time(nodes: list[Node]) -> None:
    assert time_varying(nodes, {"fire"}) == {"fire_out", "reshape_out", "second_out", "last_out"}
