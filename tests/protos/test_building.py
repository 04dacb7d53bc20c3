"""ProtoBuilder makes every tensor once, in the order asked for."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.protos.building import ProtoBuilder


def test_a_tensor_asked_for_twice_is_made_once() -> None:
    build = ProtoBuilder()
    assert [build.emit("Neg", ["x"], "y") for _ in range(2)] == ["y", "y"]
    assert [node.name for node in build.nodes] == ["y/neg"]


def test_a_constant_asked_for_twice_keeps_its_first_value() -> None:
    build = ProtoBuilder()
    for value in (1.0, 2.0):
        assert build.constant("c", np.array([value], np.float32)) == "c"
    (tensor,) = build.constants.values()
    assert numpy_helper.to_array(tensor) == 1.0


def test_it_knows_what_it_has_made() -> None:
    build = ProtoBuilder()
    build.constant("c", np.zeros(1, np.float32))
    build.node("Split", ["x"], ["a", "b"], "split")
    build.append(helper.make_node("Neg", ["a"], ["n"]))
    assert all(build.has(name) for name in ("c", "a", "b", "n"))
    assert not build.has("x")


def test_what_it_makes_is_a_valid_graph() -> None:
    build = ProtoBuilder()
    build.constant("two", np.array([2], np.float32))
    build.emit("Mul", ["x", "two"], "twice")
    build.emit("Concat", ["twice", "twice"], "y", axis=0)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy"]
    constants = list(build.constants.values())
    graph = helper.make_graph(build.nodes, "built", info[:1], info[1:], constants)
    onnx.checker.check_model(helper.make_model(graph), full_check=True)
