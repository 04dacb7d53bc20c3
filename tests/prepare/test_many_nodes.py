"""Networks of many nodes: the work of loading and normalising grows with the nodes, no faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.counting import calls_of
from helpers.networks import Builder

from onnx2snn.graph.types import Graph
from onnx2snn.prepare.normalise import normalise
from onnx2snn.protos.load import load_model
from onnx2snn.protos.sessions import session_options


def chain(count: int) -> onnx.ModelProto:
    """Additions of a constant each and ReLUs, one behind the other."""
    build = Builder()
    x = build.input("input", ("N", 8))
    for number in range(count // 2):
        x = build.node("Add", x, build.const(np.full(8, 1e-3 * number)))
        x = build.node("Relu", x)
    return build.model({x: ("N", 8)})


def blocks(count: int) -> onnx.ModelProto:
    """Blocks of two layers side by side, whose sum goes on."""
    build = Builder()
    x = build.input("input", ("N", 8))
    for _ in range(count // 6):
        sides = [build.node("Relu", build.gemm(x, 8, 8)) for _ in range(2)]
        x = build.node("Neg", build.node("Add", *sides))
    return build.model({x: ("N", 8)})


def prepared(data: bytes) -> Graph:
    return normalise(load_model(data))


@pytest.mark.parametrize("made", [chain, blocks])
def test_the_calls_of_functions_grow_with_the_nodes(
    made: Callable[[int], onnx.ModelProto],
) -> None:
    few, many = (partial(prepared, made(count).SerializeToString()) for count in (60, 240))
    few()  # what is imported late is there
    assert 3 < calls_of(many) / calls_of(few) < 4.2


def counted(monkeypatch: pytest.MonkeyPatch, holder: Any, name: str) -> list[None]:
    """Count the calls of a library's function: the list gets an element each time."""
    calls: list[None] = []
    own = getattr(holder, name)

    def counting(*values: Any, **named: Any) -> Any:
        calls.append(None)
        return own(*values, **named)

    monkeypatch.setattr(holder, name, counting)
    return calls


def test_onnxruntime_and_onnx_see_a_network_no_more_often_than_they_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = chain(40).SerializeToString()
    inferences = counted(monkeypatch, onnx.shape_inference, "infer_shapes")
    sessions = counted(monkeypatch, onnxruntime, "InferenceSession")
    model = load_model(data)
    assert (len(inferences), len(sessions)) == (1, 0)
    normalise(model)
    # onnxruntime optimises, and ONNX infers what comes of it
    assert (len(inferences), len(sessions)) == (2, 1)


def test_sizes_that_values_tell_are_followed_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = Builder()
    x = build.input("input", ("N", 8))
    half = build.const(np.array([1, 2]), np.int64)
    sizes = build.node("Div", build.node("Shape", x), half)
    x = build.node("Reshape", x, sizes)
    inferences = counted(monkeypatch, onnx.shape_inference, "infer_shapes")
    load_model(build.model({x: ("N", 4)}).SerializeToString())
    assert len(inferences) == 2


def test_memory_is_not_planned_where_weights_are_not_packed() -> None:
    # onnxruntime's plan of n initializers takes n steps for each
    assert not session_options(None, once=True).enable_mem_pattern
    assert session_options(None).enable_mem_pattern
