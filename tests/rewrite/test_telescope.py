"""Behaviour of onnx2snn.rewrite.telescope: what is not linear acts on the mean so far, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from helpers.stages import Array, Staged, reference, relative, staged, step_graph
from onnx import TensorProto, helper

from onnx2snn import SpikingSession
from onnx2snn.graph.editing import to_proto
from onnx2snn.pipeline.convert import run_conversion as run
from onnx2snn.rewrite.spiking import rewrite
from onnx2snn.runtime.cut import extract
from onnx2snn.settings import Settings
from onnx2snn.snn.stateful import INCREASE, MEAN_SO_FAR

STEPS = 6


class Net(Builder):
    """Conv, Relu `first`; whatever comes next, of as many channels; Conv, Relu `last`, Conv."""

    def start(self) -> str:
        return self.node("Relu", self.conv(self.input("input", [2, 2, 4, 3]), 2, 4), name="first")

    def end(self, x: str) -> Staged:
        x = self.node("Relu", self.conv(x, 4, 4, name="watched"), name="last")
        self.name_output(self.conv(x, 4, 2), "output")
        return staged(self.model({"output": [2, 2, 4, 3]}, opset=20))


Block = Callable[[Net, str], str]


def plain(op: str, **attrs: Any) -> Block:
    return lambda b, x: b.node(op, b.conv(x, 4, 4), **attrs)


def silu(b: Net, x: str) -> str:
    y = b.conv(x, 4, 4)
    return b.node("Mul", y, b.node("Sigmoid", y))


def gate(b: Net, x: str) -> str:
    squeezed = b.node("GlobalAveragePool", b.conv(x, 4, 4))
    return b.node(
        "Mul", x, b.node("Sigmoid", b.conv(b.node("Relu", b.conv(squeezed, 4, 2, 1)), 2, 4, 1))
    )


def attention(b: Net, x: str) -> str:
    """Over the twelve positions, masked, with a skip."""
    flat = b.node("Reshape", x, b.const([0, 4, -1], np.int64))
    query, key, values = (
        b.node("MatMul", b.const(b.rng.standard_normal((4, 4)) / 2), flat) for _ in range(3)
    )
    scores = b.node("MatMul", b.node("Transpose", query, perm=[0, 2, 1]), key)
    mask = b.const(np.triu(np.ones((12, 12))), np.bool_)
    scores = b.node("Softmax", b.node("Where", mask, scores, b.const(-np.inf)), axis=-1)
    y = b.node("MatMul", values, b.node("Transpose", scores, perm=[0, 2, 1]))
    return b.node("Add", b.node("Reshape", y, b.const([0, 4, 4, 3], np.int64)), x)


def chosen(b: Net, x: str) -> str:
    """Whole numbers and booleans inside: where the first channel is largest, twice the tensor."""
    largest = b.node("ArgMax", x, axis=1)
    first = b.node("Equal", largest, b.const(0, np.int64))
    return b.node("Where", first, b.node("Add", x, x), b.conv(x, 4, 4))


def normalised(b: Net, x: str) -> str:
    """0/0 before the first spike, and the root of what may be negative."""
    x = b.conv(x, 4, 4, bias=False)
    x = b.node("Div", x, b.node("ReduceMax", x, keepdims=0))
    return b.node(
        "Add",
        b.node("Sqrt", b.node("Add", b.conv(x, 4, 4), b.const(5.0))),
        b.node("Log", b.node("Exp", x)),
    )


def pooled_twice(b: Net, x: str) -> str:
    x = b.conv(x, 4, 4)
    indices = b.node("MaxPool", x, outputs=2, kernel_shape=[2, 1], strides=[2, 1])
    return b.node("MaxUnpool", indices, f"{indices}1", kernel_shape=[2, 1], strides=[2, 1])


def in_double(b: Net, x: str) -> str:
    wide = b.node("Cast", b.conv(x, 4, 4), to=TensorProto.DOUBLE)
    return b.node("Cast", b.node("Exp", b.node("Neg", b.node("Abs", wide))), to=TensorProto.FLOAT)


def in_a_row(b: Net, x: str) -> str:
    y = b.conv(b.node("Tanh", b.conv(x, 4, 4)), 4, 4)
    return b.node("Sub", b.node("HardSwish", b.node("Dropout", y)), x)


BLOCKS: dict[str, Block] = {
    "sigmoid": plain("Sigmoid"),
    "softmax": plain("Softmax", axis=1),
    "lrn": plain("LRN", size=3),
    "gelu": plain("Gelu"),
    "pow": lambda b, x: b.node("Pow", b.conv(x, 4, 4), b.const(2.0)),
    "silu": silu,
    "gate": gate,
    "attention": attention,
    "chosen": chosen,
    "normalised": normalised,
    "pooled twice": pooled_twice,
    "in double": in_double,
    "in a row": in_a_row,
}


@pytest.mark.parametrize("block", BLOCKS)
def test_what_was_sent_so_far_is_the_function_of_the_mean_so_far(block: str) -> None:
    """At every step; the function is computed by the reference from the telescoped part alone."""
    b = Net(len(block))
    model = b.end(BLOCKS[block](b, b.start()))
    model.parts.require_convertible()
    graph = rewrite(model.arranged64, model.parts, model.thresholds())
    entries, exits = (
        [(node.inputs[0].name, node.outputs[0].name) for node in graph.nodes if node.op == op]
        for op in (MEAN_SO_FAR, INCREASE)
    )
    inside = [mean.removesuffix("/so_far") for _, mean in entries]
    function = extract(to_proto(model.arranged64), inside, [x for x, _ in exits])
    step = step_graph(graph, model)
    shown = dict.fromkeys([x for x, _ in entries] + [sent for _, sent in exits])
    for name in shown:
        step.proto.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.DOUBLE, None)
        )
    sums: dict[str, Array] = {}
    agreed = []
    feed = {"input": np.random.default_rng(2).standard_normal((2, 2, 4, 3))}
    for t, made in enumerate(step.run(feed, STEPS), 1):
        sums = {name: sums.get(name, 0.0) + made[name] for name in shown}
        means = {name: sums[x] / t for name, (x, _) in zip(inside, entries, strict=True)}
        for (_, sent), value in zip(exits, reference(function, means), strict=True):
            finite = np.isfinite(value)
            np.testing.assert_allclose(sums[sent][finite], t * value[finite], rtol=1e-6, atol=1e-9)
            assert np.all(np.isfinite(sums[sent]))
            agreed.append(finite.all())
    assert agreed[-1] and (block == "normalised" or all(agreed))


@pytest.mark.parametrize(
    ("block", "entries", "exits"),
    [
        ("sigmoid", 1, 1),
        ("silu", 1, 1),
        ("gate", 2, 1),
        ("attention", 3, 1),
        ("in a row", 1, 1),
        ("pooled twice", 1, 1),
    ],
)
def test_a_region_is_entered_and_left_once_by_each_tensor(
    block: str, entries: int, exits: int
) -> None:
    b = Net()
    model = b.end(BLOCKS[block](b, b.start()))
    ops = [node.op for node in rewrite(model.arranged, model.parts, model.thresholds()).nodes]
    assert (ops.count(MEAN_SO_FAR), ops.count(INCREASE)) == (entries, exits)


def test_every_telescoped_node_is_in_the_converted_model() -> None:
    """Products with constants, too, which would otherwise merge with the thresholds."""
    b = Net()
    y = b.node(
        "Mul", b.node("Sigmoid", b.conv(b.start(), 4, 4), name="one"), b.const(2.0), name="twice"
    )
    proto = b.end(b.node("Tanh", y, name="two")).source.proto
    x = np.random.default_rng(2).standard_normal((20, 2, 4, 3)).astype(np.float32)
    conversion = run(proto, x, Settings(method="max", timesteps=4, delay=0, threads=1))
    assert conversion.report.analog == ["one", "twice", "two"]
    assert {"one", "twice", "two"} <= {node.name for node in conversion.model.graph.node}
    session = SpikingSession(conversion.model)
    ann = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,), (wanted,) = (
        session.run(None, {"input": x[:2]}, 256, 0),
        ann.run(None, {"input": x[:2]}),
    )
    assert relative(found, wanted) <= 0.03


def run_as_any_host(model: onnx.ModelProto, x: Array, timesteps: int) -> list[Array]:
    """Zeros [1, ..., 1] for every further input, run, feed the states back; the first outputs."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image, *states = session.get_inputs()
    values = {state.name: np.zeros([1] * len(state.shape), np.float32) for state in states}
    found = []
    for _ in range(timesteps):
        output, *after = session.run(None, {image.name: x, **values})
        values = dict(zip(values, after, strict=True))
        found.append(output)
    return found


@pytest.mark.parametrize("block", BLOCKS)
def test_any_host_comes_to_the_answer_of_the_ann(block: str) -> None:
    b = Net(len(block))
    proto = b.end(BLOCKS[block](b, b.start())).source.proto
    x = np.random.default_rng(2).standard_normal((20, 2, 4, 3)).astype(np.float32)
    conversion = run(proto, x, Settings(method="max", timesteps=4, delay=0, threads=1))
    onnx.checker.check_model(conversion.model, full_check=True)
    steps = run_as_any_host(conversion.model, x[:2], 256)
    assert all(np.all(np.isfinite(step)) for step in steps)
    ann = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = ann.run(None, {"input": x[:2]})
    errors = [relative(steps[t - 1], wanted) for t in (16, 64, 256)]
    assert errors[2] <= 0.03 and errors[2] <= errors[0] / 4, errors
    session = SpikingSession(conversion.model)
    for delay in (0, 7):
        (found,) = session.run(None, {"input": x[:2]}, timesteps=64, delay=delay)
        assert relative(found, steps[63]) <= (1e-3 if delay == 0 else 0.3)


def test_a_session_that_is_not_reset_goes_on_where_it_was() -> None:
    """The telescoped operators count their own steps."""
    b = Net()
    proto = b.end(gate(b, b.start())).source.proto
    x = np.random.default_rng(2).standard_normal((20, 2, 4, 3)).astype(np.float32)
    session = SpikingSession(
        run(proto, x, Settings(method="max", timesteps=4, delay=0, threads=1)).model
    )
    whole = [step.outputs[0] * step.t for step in session.steps({"input": x[:2]}, 12, 0)]
    (first,) = session.run(None, {"input": x[:2]}, 5, 0)
    (second,) = session.run(None, {"input": x[:2]}, 7, 0, reset=False)
    np.testing.assert_allclose(first * 5, whole[4], rtol=1e-4, atol=1e-4)
    bias = last_bias(proto)
    np.testing.assert_allclose(
        (second - bias) * 7, whole[11] - whole[4] - bias * 7, rtol=1e-4, atol=1e-4
    )


def last_bias(proto: onnx.ModelProto) -> Array:
    name = proto.graph.node[-1].input[2]
    values = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    return values[name].reshape(1, -1, 1, 1)


def test_a_telescoped_tensor_that_is_an_output_too_is_averaged() -> None:
    b = Net()
    x = b.node("Sigmoid", b.conv(b.start(), 4, 4))
    b.name_output(x, "inside")
    x = b.node("Relu", b.conv("inside", 4, 4), name="last")
    b.name_output(b.conv(x, 4, 2), "output")
    proto = b.model({"inside": [2, 4, 4, 3], "output": [2, 2, 4, 3]})
    data = np.random.default_rng(2).standard_normal((20, 2, 4, 3)).astype(np.float32)
    model = run(proto, data, Settings(method="max", timesteps=4, threads=1)).model
    ann = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = ann.run(None, {"input": data[:2]})
    found = SpikingSession(model).run(None, {"input": data[:2]}, 128, 0)
    assert [relative(one, other) <= 0.05 for one, other in zip(found, wanted, strict=True)] == [
        True,
        True,
    ]
