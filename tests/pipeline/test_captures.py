"""Control flow whose subgraphs read tensors around them: converted, on estimates, as analog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from onnx import TensorProto, helper

import onnx2snn
from onnx2snn import SpikingSession, evaluate
from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.prepare.captures import captured, make_captures_explicit
from onnx2snn.protos.sessions import open_session
from onnx2snn.runtime.plan import Schedule
from onnx2snn.settings import Settings

WIDTH = 6
FLOAT, BOOL, INT64 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64


def info(name: str, kind: int = FLOAT, shape: Any = ("batch", WIDTH)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def branching(b: Builder, x: str, source: str) -> str:
    """If the sum of x is above 0: x + source, else x - source."""
    branches = {}
    for name, op in (("then", "Add"), ("else", "Sub")):
        made = f"{name}_value"
        node = helper.make_node(op, [x, source], [made])
        branches[f"{name}_branch"] = helper.make_graph([node], name, [], [info(made)])
    condition = b.node("Greater", b.node("ReduceSum", x, keepdims=0), b.const(0.0))
    return b.node("If", condition, name="choice", **branches)


def looping(b: Builder, x: str, source: str) -> str:
    """Three times x = tanh(x + source)."""
    nodes = [
        helper.make_node("Add", ["value_in", source], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["value_out"]),
        helper.make_node("Identity", ["goes"], ["goes_on"]),
    ]
    inputs = [info("iteration", INT64, []), info("goes", BOOL, []), info("value_in")]
    body = helper.make_graph(nodes, "body", inputs, [info("goes_on", BOOL, []), info("value_out")])
    return b.node("Loop", b.const(3, np.int64), "", x, name="choice", body=body)


def scanning(b: Builder, x: str, source: str) -> str:
    """Down the channels of x: the running sum, with the mean of the source at each."""
    nodes = [
        helper.make_node("ReduceMean", [source], ["level"], keepdims=0),
        helper.make_node("Add", ["sum_in", "channel"], ["added"]),
        helper.make_node("Add", ["added", "level"], ["sum_out"]),
        helper.make_node("Identity", ["sum_out"], ["told"]),
    ]
    inputs = [info("sum_in", FLOAT, ["batch"]), info("channel", FLOAT, ["batch"])]
    outputs = [info("sum_out", FLOAT, ["batch"]), info("told", FLOAT, ["batch"])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    start = b.node("Mul", b.node("ReduceSum", x, b.const([1], np.int64), keepdims=0), b.const(0.0))
    turned = b.node("Transpose", x, perm=[1, 0])
    node = helper.make_node(
        "Scan", [start, turned], ["last", "stack"], "choice", body=body, num_scan_inputs=1
    )
    b.nodes.append(node)
    return b.node("Transpose", "stack", perm=[1, 0])


KINDS: dict[str, Callable[[Builder, str, str], str]] = {
    "If": branching,
    "Loop": looping,
    "Scan": scanning,
}
SCHEDULES: tuple[Schedule, ...] = ("stepped", "auto")
SOURCES = ("constant", "encoder", "estimate")


def network(kind: str, source: str) -> onnx.ModelProto:
    """Dense layers, control flow that reads a constant, an encoder's tensor or an estimate."""
    b = Builder(5)
    x = b.input("input", ["batch", WIDTH])
    first = b.node("Tanh", b.gemm(x, WIDTH, WIDTH))
    second = b.gemm(first, WIDTH, WIDTH)
    read = {
        "constant": b.const(b.rng.standard_normal((1, WIDTH))),
        "encoder": first,
        "estimate": second,
    }[source]
    third = b.node("Tanh", b.gemm(second, WIDTH, WIDTH))
    out = KINDS[kind](b, third, read)
    b.name_output(b.gemm(out, WIDTH, 3), "output")
    return b.model({"output": ["batch", 3]})


def sample(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_subgraph_reads_from_outside_and_the_answer_is_the_same(kind: str, source: str) -> None:
    model = network(kind, source)
    wanted = open_session(model, 1).run(None, {"input": sample(4, 1)})
    closed = onnx.ModelProto()
    closed.CopyFrom(model)
    make_captures_explicit(closed)
    fixed = {tensor.name for tensor in closed.graph.initializer}
    assert not any(captured(node, fixed) for node in closed.graph.node)
    onnx.checker.check_model(closed)
    found = open_session(closed, 1).run(None, {"input": sample(4, 1)})
    np.testing.assert_array_equal(found[0], wanted[0])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_on_estimates_in_session_rollout_and_eval(
    kind: str, source: str, tmp_path: Path
) -> None:
    model = network(kind, source)
    options = Settings(preset="differential", method="max", octaves=14, timesteps=12, threads=1)
    conversion = run_conversion(model, sample(32, 0), options)
    # a batch of one: If and the mean over a batch make samples depend on each other
    x = sample(1, 1)
    (wanted,) = open_session(model, 1).run(None, {"input": x})
    answers = []
    for schedule in SCHEDULES:
        session = SpikingSession(conversion.model, threads=1, schedule=schedule)
        answers.append(session.run(None, {"input": x})[0])
    path = tmp_path / "rollout.onnx"
    onnx.save(onnx2snn.rollout(conversion.model, timesteps=12), path)
    answers.append(ort.InferenceSession(path).run(None, {"input": x})[0])
    for answer in answers:
        np.testing.assert_allclose(answer, wanted, atol=0.02 * float(np.abs(wanted).max()))
    ann, snn = tmp_path / "ann.onnx", tmp_path / "snn.onnx"
    onnx.save(model, ann)
    conversion.save(snn)
    labels = wanted.argmax(axis=1)
    result = evaluate(ann, snn, {"input": x, "labels": labels}, threads=1)
    assert result["snn"][-1]["top1"] == 1.0


def test_a_captured_sequence_is_refused_by_name() -> None:
    b = Builder(1)
    x = b.input("input", ["batch", WIDTH])
    row = b.node("SequenceConstruct", b.gemm(x, WIDTH, WIDTH))
    place = b.const(0, np.int64)
    branches = {}
    for name in ("then", "else"):
        node = helper.make_node("SequenceAt", [row, place], [f"{name}_value"])
        branches[f"{name}_branch"] = helper.make_graph([node], name, [], [info(f"{name}_value")])
    condition = b.node("Greater", b.node("ReduceSum", x, keepdims=0), b.const(0.0))
    b.name_output(b.node("If", condition, name="choice", **branches), "output")
    model = b.model({"output": ["batch", WIDTH]})
    with pytest.raises(UnsupportedGraphError, match="whose type is unknown"):
        make_captures_explicit(model)
