"""The sort of a graph: onnx-graphsurgeon's order, in linear time and without recursion."""

from __future__ import annotations

import random

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from helpers.networks import NETWORKS, assemble

from onnx2snn.errors import StageMismatchError
from onnx2snn.graph.sorting import by_level, needed


def relus(count: int) -> gs.Graph:
    """A chain of Relus, the last first."""
    tensors = [gs.Variable(f"t{index}", np.float32, [1, 2]) for index in range(count + 1)]
    nodes = [
        gs.Node("Relu", f"n{index}", inputs=[tensors[index]], outputs=[tensors[index + 1]])
        for index in range(count)
    ]
    return gs.Graph(nodes=nodes[::-1], inputs=[tensors[0]], outputs=[tensors[-1]])


@pytest.mark.parametrize("name", [*NETWORKS, "split", "attention", "inception"])
def test_the_order_is_that_of_graphsurgeon(name: str) -> None:
    model = NETWORKS[name]() if name in NETWORKS else assemble([name, "add shortcut"])
    graph, other = gs.import_onnx(model), gs.import_onnx(model)
    order = list(range(len(graph.nodes)))
    random.Random(0).shuffle(order)
    graph.nodes = [graph.nodes[index] for index in order]
    other.nodes = [other.nodes[index] for index in order]
    found = [node.outputs[0].name for node in by_level(graph)]
    assert found == [node.outputs[0].name for node in other.toposort().nodes]


def test_a_chain_longer_than_the_stack_of_python_is_sorted() -> None:
    found = by_level(relus(5000))
    assert [node.name for node in found] == [f"n{index}" for index in range(5000)]


def test_a_cycle_is_told() -> None:
    graph = relus(3)
    graph.nodes[-1].inputs[0] = graph.nodes[0].outputs[0]
    with pytest.raises(StageMismatchError, match="depends on itself"):
        by_level(graph)


@pytest.mark.parametrize("name", ["resnet", "attention", "split"])
def test_needed_nodes_are_those_that_graphsurgeon_keeps(name: str) -> None:
    model = NETWORKS[name]() if name in NETWORKS else assemble([name, "add shortcut"])
    graph, other = gs.import_onnx(model), gs.import_onnx(model)
    for each in (graph, other):
        # another output than the last: what lies behind it is not needed
        each.outputs = [each.nodes[len(each.nodes) // 2].outputs[0]]
    found = [node.outputs[0].name for node in needed(graph)]
    assert found == [node.outputs[0].name for node in other.cleanup().nodes]
    assert 0 < len(found) < len(graph.nodes)
