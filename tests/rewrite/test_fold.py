"""Behaviour of onnx2snn.rewrite: thresholds into weights without changing a spike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import BLOCKS, NETWORKS, Builder, assemble
from helpers.stages import (
    Array,
    Staged,
    feed_for,
    network,
    random_networks,
    reference,
    relative,
    samples,
    stable,
    staged,
    step_graph,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.graph.editing import constant, make_constant, to_graph
from onnx2snn.graph.types import Graph, Node
from onnx2snn.rewrite.fold import Folding, fold
from onnx2snn.rewrite.fold_rules.moves import Move, compress
from onnx2snn.rewrite.fold_rules.tables import BACKWARD, FORWARD
from onnx2snn.rewrite.spiking import rewrite
from onnx2snn.snn.neurons import IF
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, INCREASE, MEAN_SO_FAR, RUNNING_MEAN

STEPS = 8
TIE = 1e-9

RNG = np.random.default_rng(3)


# Spikes: {0, 1}, and as many as before folding.


@dataclass(frozen=True)
class Pair:
    """The spikes [time, ...] by site of the unfolded and of the folded step graph, in float64."""

    loose: Mapping[str, Array]
    folded: Mapping[str, Array]
    margin: float

    def assert_same(self) -> None:
        assert self.loose.keys() == self.folded.keys()
        for name, spikes in self.folded.items():
            assert set(np.unique(spikes)) <= {0.0, 1.0}, name
            assert np.array_equal(spikes, self.loose[name]), name


def run_both(model: Staged, feed: Mapping[str, Array], maxpool: str = "accumulate") -> Pair:
    model.parts.require_convertible()
    found, margins = [], []
    for folded in (False, True):
        spiking = rewrite(model.arranged64, model.parts, model.thresholds(), maxpool)
        graph = step_graph(fold(spiking)[0] if folded else spiking, model)
        steps = graph.run(feed, STEPS)
        found.append(graph.spikes(steps))
        margins.append(graph.margin(steps))
    return Pair(found[0], found[1], min(margins))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("maxpool", ["accumulate", "current"])
def test_folding_changes_no_spike(name: str, maxpool: str) -> None:
    pair = run_both(network(name), samples(name, 2, np.float64), maxpool)
    pair.assert_same()
    assert all(spikes.any() for spikes in pair.folded.values())


@pytest.mark.parametrize("block", BLOCKS)
def test_folding_past_any_operator_changes_no_spike(block: str) -> None:
    model = staged(assemble([block, "relu", block], seed=len(block)))
    run_both(model, feed_for(model.source.proto, np.float64)).assert_same()


@given(random_networks(), st.sampled_from(["accumulate", "current"]))
@stable(40)
def test_folding_any_network_changes_no_spike(proto: onnx.ModelProto, maxpool: str) -> None:
    pair = run_both(staged(proto), feed_for(proto, np.float64), maxpool)
    assume(pair.margin > TIE)  # such a membrane may be rounded to either side of its threshold
    pair.assert_same()


# What folding leaves.


def folded(model: onnx.ModelProto | Staged, granularity: str = "channel") -> tuple[Graph, Folding]:
    model = staged(model) if isinstance(model, onnx.ModelProto) else model
    return fold(rewrite(model.arranged, model.parts, model.thresholds(0, granularity)))


def kept_reasons(folding: Folding) -> dict[str, str]:
    return {kept.before: kept.reason for kept in folding.kept}


@pytest.mark.parametrize("name", ["vgg", "mobilenet", "segmenter", "mlp"])
@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_without_identity_shortcuts_every_factor_goes_into_weights(
    name: str, granularity: str
) -> None:
    spiking, folding = folded(network(name), granularity)
    assert folding.kept == ()
    assert not [node.name for node in spiking.nodes if node.op == "Mul"]
    weighted = {
        n.name for n in network(name).arranged.nodes if n.op in ("Conv", "ConvTranspose", "Gemm")
    }
    assert set(folding.folded) == weighted


def test_an_identity_shortcut_keeps_one_factor_a_channel() -> None:
    spiking, folding = folded(network("resnet"))
    assert [(kept.before, kept.channels) for kept in folding.kept] == [("add8", 6)]
    assert "different scales" in folding.kept[0].reason
    assert [n.name for n in spiking.nodes if n.op == "Mul"] == [folding.kept[0].name]


def test_weights_shared_by_two_nodes_are_folded_apart() -> None:
    b = Builder(4)
    weights = b.const(b.rng.standard_normal((4, 4, 3, 3)) * 0.3)
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 5]), 2, 4))
    for _ in range(2):
        x = b.node("Relu", b.node("Conv", x, weights, pads=[1] * 4))
    b.name_output(b.conv(x, 4, 3, 1), "output")
    model = staged(b.model({"output": ["batch", 3, 6, 5]}))
    run_both(model, feed_for(model.source.proto, np.float64)).assert_same()


def test_constant_factors_of_the_network_merge_with_the_thresholds() -> None:
    b = Builder(4)
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 6]), 6, 8))
    x = b.node("Mul", b.node("Mul", x, b.const(RNG.standard_normal(8))), b.const(-2.0))
    b.name_output(b.gemm(x, 8, 3), "output")
    spiking, folding = folded(b.model({"output": ["batch", 3]}))
    assert folding.kept == ()
    assert [n.op for n in spiking.nodes] == ["Gemm", IF, RUNNING_MEAN, "Gemm"]


def test_a_factor_before_a_neuron_says_what_keeps_it_from_the_weights() -> None:
    b = Builder(4)
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 5]), 2, 4))
    y = b.conv(x, 4, 4)
    x = b.node("Add", b.node("Relu", y, name="one"), b.conv(y, 4, 4))
    b.name_output(b.conv(b.node("Relu", x), 4, 3), "output")
    _, folding = folded(b.model({"output": ["batch", 3, 6, 5]}))
    assert kept_reasons(folding)["one"] == "'conv2' (Conv) feeds others too"


@pytest.mark.parametrize("shape_used", [False, True])
def test_a_factor_behind_a_factor_reaches_every_consumer(shape_used: bool) -> None:
    b = Builder(4)
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 5]), 2, 4))
    x = b.node("Mul", x, b.const(RNG.standard_normal((1, 4, 1, 1))))
    y = b.conv(x, 4, 4)
    if shape_used:
        y = b.node("Reshape", y, b.node("Shape", x))
    x = b.node("Relu", b.node("Add", y, b.conv(x, 4, 4)))
    b.name_output(b.conv(x, 4, 3), "output")
    model = staged(b.model({"output": ["batch", 3, 6, 5]}))
    spiking, folding = folded(model)
    assert folding.kept == ()
    assert not [node.name for node in spiking.nodes if node.op == "Mul"]
    run_both(model, feed_for(model.source.proto, np.float64)).assert_same()


def broadcasting(channels_behind: int) -> onnx.ModelProto:
    """One channel times a constant of three makes three channels: a Mul that is no scale."""
    b = Builder(4)
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 5]), 2, 1))
    x = b.node("Mul", x, b.const(RNG.uniform(0.5, 2, (1, 3, 1, 1))), name="spread")
    if channels_behind:
        x = b.node("Relu", b.conv(x, 3, 4))
        b.name_output(b.conv(x, 4, 3), "output")
    else:
        b.name_output(b.conv(b.node("Relu", x), 3, 3), "output")
    return b.model({"output": ["batch", 3, 6, 5]})


@pytest.mark.parametrize("channels_behind", [4, 0])
def test_a_product_that_broadcasts_is_no_factor(channels_behind: int) -> None:
    model = staged(broadcasting(channels_behind))
    spiking, _ = folded(model)
    assert "spread" in {n.name for n in spiking.nodes}
    factors = [constant(n.inputs[1]) for n in spiking.nodes if n.op == "Mul"]
    assert {f.dtype for f in factors if f is not None} == {np.dtype(np.float32)}
    run_both(model, feed_for(model.source.proto, np.float64)).assert_same()


def test_weights_computed_from_an_input_stay_and_so_does_the_factor() -> None:
    b = Builder(4)
    x, w = b.input("input", ["batch", 2, 6, 5]), b.input("weights", [4, 4, 3, 3])
    x = b.node("Relu", b.conv(x, 2, 4))
    x = b.node(
        "Conv",
        x,
        b.node("Mul", w, b.const(RNG.uniform(0.5, 2, (4, 1, 1, 1)))),
        pads=[1] * 4,
        name="dynamic",
    )
    b.name_output(b.conv(b.node("Relu", x), 4, 3), "output")
    model = staged(b.model({"output": ["batch", 3, 6, 5]}))
    _, folding = folded(model)
    assert "dynamic" not in folding.folded
    assert kept_reasons(folding)["dynamic"].endswith("its parameters are not constants")
    feed = {
        "input": RNG.standard_normal((2, 2, 6, 5)),
        "weights": RNG.standard_normal((4, 4, 3, 3)) * 0.3,
    }
    run_both(model, feed).assert_same()


def test_tensors_that_are_outputs_of_the_model_keep_their_values() -> None:
    b = Builder(4)
    b.name_output(b.gemm(b.input("input", ["batch", 6]), 6, 8), "static")
    b.name_output(b.node("Relu", "static"), "hidden")
    b.name_output(b.gemm("hidden", 8, 5), "current")
    b.name_output(b.gemm(b.node("Relu", "current"), 5, 3), "output")
    sizes = {"static": 8, "hidden": 8, "current": 5, "output": 3}
    model = staged(b.model({name: ["batch", size] for name, size in sizes.items()}))
    feed = {"input": np.random.default_rng(3).standard_normal((3, 6))}
    run_both(model, feed).assert_same()
    thetas = [np.full((1, 8), 6.0), np.full((1, 5), 10.0)]
    graph = step_graph(fold(rewrite(model.arranged64, model.parts, thetas))[0], model)
    last = graph.run(feed, 512)[-1]
    wanted = reference(model.source.proto, {"input": feed["input"].astype(np.float32)})
    for name, value in zip(sizes, wanted, strict=True):
        assert relative(last[name], value) < (1e-6 if name == "static" else 0.05), name


def test_equal_factors_of_one_tensor_are_applied_once() -> None:
    """Three readouts that take no factor share one."""
    b = Builder(4)
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 6]), 6, 8))
    # without a weighted operator behind it, it would not fire
    b.name_output(b.gemm(x, 8, 2), "other")
    x = b.node("Add", b.node("Add", b.node("Sigmoid", x), b.node("Tanh", x)), b.node("Exp", x))
    b.name_output(b.gemm(x, 8, 3), "output")
    spiking, folding = folded(b.model({"other": ["batch", 2], "output": ["batch", 3]}))
    (kept,) = folding.kept
    assert [node.name for node in spiking.nodes if node.op == "Mul"] == [kept.name]
    assert len(kept.before.split(", ")) == 3


# Rewriting.


def test_each_activation_becomes_factor_neuron_factor() -> None:
    model = network("mlp")
    thetas = model.thresholds()
    spiking = rewrite(model.arranged, model.parts, thetas)
    ops = [node.op for node in spiking.nodes]
    assert ops == ["Gemm", "Mul", IF, "Mul", "Gemm", "Mul", IF, RUNNING_MEAN, "Mul", "Gemm"]
    factors = [constant(node.inputs[1]) for node in spiking.nodes if node.op == "Mul"]
    for factor, wanted in zip(
        factors, [1 / thetas[0], thetas[0], 1 / thetas[1], thetas[1]], strict=True
    ):
        assert factor is not None
        np.testing.assert_array_equal(factor, wanted)
    neurons = [node for node in spiking.nodes if node.op == IF]
    assert [node.name for node in neurons] == ["h1", "h2"]
    for node, theta in zip(neurons, thetas, strict=True):
        np.testing.assert_array_equal(node.attrs["scale"], theta)


def test_rewriting_leaves_the_graph_given_alone() -> None:
    model = network("vgg")
    before = [(node.op, node.name, [t.name for t in node.inputs]) for node in model.arranged.nodes]
    folded(model)
    assert [
        (node.op, node.name, [t.name for t in node.inputs]) for node in model.arranged.nodes
    ] == before


@pytest.mark.parametrize(
    ("maxpool", "op"), [("accumulate", ACCUMULATED_MAX_POOL), ("current", "MaxPool")]
)
def test_only_pools_of_spiking_currents_accumulate(maxpool: str, op: str) -> None:
    """The first pool of the network is fed by the encoder: its input is constant in time."""
    model = network("vgg")
    ops = [
        n.op
        for n in rewrite(model.arranged, model.parts, model.thresholds(), maxpool).nodes
        if "Pool" in n.op
    ]
    assert ops == ["MaxPool", op]


# The rules, each alone: scale * f(x) == f'(scales * x), and f(scales * x) == scale * f'(x).


@dataclass(frozen=True)
class Case:
    """One node: a tuple is the shape of a variable operand, an array a constant, "" none."""

    op: str
    operands: Sequence[Any]
    back: tuple[int, ...] | None = None
    ahead: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""

    def __str__(self) -> str:
        shapes = [str(o if isinstance(o, (tuple, str)) else np.shape(o)) for o in self.operands]
        extra = "".join(f" {k}={v}" for k, v in self.attrs.items())
        ahead = dict(self.ahead)
        text = f"{self.op}({', '.join(shapes)}){extra} back {self.back} ahead {ahead}"
        return text.replace("  ", " ")

    def build(self) -> tuple[Graph, Node]:
        """A float64 graph of this node with its outputs `y`, `y1` ..., shapes inferred."""
        plain = {ACCUMULATED_MAX_POOL: "MaxPool"} | dict.fromkeys(
            (RUNNING_MEAN, MEAN_SO_FAR, INCREASE), "Identity"
        )
        names = ["" if isinstance(o, str) else f"x{i}" for i, o in enumerate(self.operands)]
        given = dict(zip(names, self.operands, strict=True))
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.DOUBLE, o)
            for name, o in given.items()
            if type(o) is tuple
        ]
        fixed = [
            numpy_helper.from_array(np.asarray(o), n)
            for n, o in given.items()
            if not isinstance(o, (tuple, str))
        ]
        attrs = dict(self.attrs)
        made = [f"y{i or ''}" for i in range(attrs.pop("outputs", 1))]
        node = helper.make_node(plain.get(self.op, self.op), names, made, "node", **attrs)
        outputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in made]
        graph = helper.make_graph([node], "single", inputs, outputs, fixed)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        single = to_graph(onnx.shape_inference.infer_shapes(model))
        return single, single.nodes[0]

    def feed(self) -> dict[str, Array]:
        return {
            f"x{i}": RNG.standard_normal(o) for i, o in enumerate(self.operands) if type(o) is tuple
        }


def value(*shape: int) -> Array:
    return RNG.standard_normal(shape)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


IMAGE, CHANNELS, LAYER = (2, 4, 5, 6), (1, 4, 1, 1), (1, 1, 1, 1)
ONE = {0: CHANNELS}
POOL = {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [0, 1, 1, 0]}

RULES = [
    Case(
        "Conv",
        [IMAGE, value(6, 4, 3, 3), value(6)],
        (1, 6, 1, 1),
        ONE,
        {"pads": [0, 1, 2, 1], "strides": [2, 1]},
    ),
    Case("Conv", [IMAGE, value(6, 2, 3, 2)], (1, 6, 1, 1), ONE, {"group": 2, "dilations": [2, 1]}),
    Case("Conv", [IMAGE, value(8, 1, 1, 1), value(8)], (1, 8, 1, 1), ONE, {"group": 4}),
    Case("Conv", [IMAGE, value(6, 2, 3, 2), value(6)], LAYER, {0: LAYER}, {"group": 2}),
    Case("Conv", [(2, 4, 7), value(3, 4, 2), value(3)], (1, 3, 1), {0: (1, 4, 1)}),
    Case(
        "ConvTranspose",
        [IMAGE, value(4, 3, 3, 3), value(3)],
        (1, 3, 1, 1),
        ONE,
        {"strides": [2, 2]},
    ),
    Case(
        "ConvTranspose",
        [IMAGE, value(4, 3, 3, 3), value(6)],
        (1, 6, 1, 1),
        ONE,
        {"group": 2, "pads": [1, 0, 1, 1]},
    ),
    Case("ConvTranspose", [IMAGE, value(4, 3, 2, 2)], LAYER, {0: LAYER}, {"group": 2}),
    Case("Gemm", [(2, 4), value(4, 5), value(5)], (1, 5), {0: (1, 4)}),
    Case("Gemm", [(2, 4), value(5, 4), value(5)], (1, 5), {0: (1, 4)}, {"transB": 1}),
    Case("Gemm", [(2, 4), value(5, 4), value(5)], (1, 1), {0: (1, 1)}, {"transB": 1}),
    Case(
        "Gemm", [(2, 4), value(4, 5), value(2, 5)], (1, 5), {0: (1, 4)}, {"alpha": 0.5, "beta": 2.0}
    ),
    Case("Gemm", [(2, 4), value(4, 5)], (1, 5), {0: (1, 4)}),
    *[
        Case("Gemm", [(2, 4), value(4, 5), value(*s)], (1, 5), {})
        for s in ((), (1,), (1, 1), (2, 1), (1, 5))
    ],
    Case("MatMul", [(2, 4), value(4, 5)], (1, 5), {0: (1, 4)}),
    Case("MatMul", [(2, 3, 4), value(4, 5)], (1, 1, 5), {0: (1, 1, 4)}),
    Case("MatMul", [(2, 3, 4), value(2, 4, 5)], (1, 1, 5), {0: (1, 1, 4)}),
    Case("MatMul", [value(5, 3), (2, 3, 4)], (1, 5, 1), {1: (1, 3, 1)}),
    Case("MatMul", [value(5, 3), (2, 3, 4)], (1, 1, 1), {1: (1, 1, 1)}),
    Case("Mul", [IMAGE, value(4, 1, 1)], CHANNELS, ONE),
    Case("Mul", [IMAGE, value()], CHANNELS, ONE),
    Case("Mul", [IMAGE, value(1, 4, 1, 1)], LAYER, {0: LAYER}),
    Case("Add", [IMAGE, value(4, 1, 1)], CHANNELS, ONE),
    Case("Add", [value(), IMAGE], CHANNELS, {1: CHANNELS}),
    Case("Add", [IMAGE, IMAGE], CHANNELS, {0: CHANNELS, 1: CHANNELS}),
    Case("Add", [IMAGE, (2, 4, 1, 1)], CHANNELS, {0: CHANNELS, 1: CHANNELS}),
    Case("Sub", [IMAGE, IMAGE], CHANNELS, {0: CHANNELS, 1: CHANNELS}),
    Case("Sub", [value(1, 4, 1, 1), IMAGE], CHANNELS, {1: CHANNELS}),
    Case("AveragePool", [IMAGE], (1, 4, 1, 1), ONE, POOL),
    Case("AveragePool", [IMAGE], (1, 4, 1, 1), ONE, POOL | {"count_include_pad": 1}),
    Case("GlobalAveragePool", [IMAGE], CHANNELS, ONE),
    Case("MaxPool", [IMAGE], CHANNELS, ONE, POOL),
    Case("GlobalMaxPool", [IMAGE], CHANNELS, ONE),
    Case(ACCUMULATED_MAX_POOL, [IMAGE], CHANNELS, ONE, POOL),
    Case(RUNNING_MEAN, [IMAGE], (1, 4, 5, 1), {0: (1, 4, 5, 1)}),
    Case("Reshape", [IMAGE, ints(2, -1)], (1, 120), ONE),
    Case("Reshape", [IMAGE, ints(0, 2, 2, 30)], (1, 2, 2, 1), ONE),
    Case("Reshape", [IMAGE, ints(4, -1)], (1, 1), {0: LAYER}),
    Case("Flatten", [IMAGE], (1, 120), ONE),
    Case("Flatten", [IMAGE], (1, 120), {0: (1, 1, 5, 6)}, {"axis": 1}),
    Case("Squeeze", [(2, 4, 1, 1), ints(2, 3)], (1, 4), ONE),
    Case("Unsqueeze", [(2, 4), ints(1, 3)], (1, 1, 4, 1), {0: (1, 4)}),
    Case("Transpose", [IMAGE], (1, 1, 1, 4), ONE, {"perm": [0, 2, 3, 1]}),
    Case("Transpose", [IMAGE], (1, 1, 4, 1), ONE),
    Case(
        "Concat", [IMAGE, (2, 3, 5, 6)], (1, 7, 1, 1), {0: CHANNELS, 1: (1, 3, 1, 1)}, {"axis": 1}
    ),
    Case("Concat", [IMAGE, (2, 3, 5, 6)], (1, 7, 1, 1), {1: (1, 3, 1, 1)}, {"axis": -3}),
    Case("Concat", [IMAGE, (2, 4, 1, 6)], CHANNELS, {0: CHANNELS, 1: CHANNELS}, {"axis": 2}),
    Case("Concat", [IMAGE, (2, 4, 1, 6)], LAYER, {0: CHANNELS, 1: LAYER}, {"axis": 2}),
    Case("Concat", [IMAGE, value(2, 1, 5, 6)], (1, 5, 1, 1), ONE, {"axis": 1}),
    Case("Pad", [IMAGE, ints(0, 0, 1, 2, 0, 0, 0, 1)], CHANNELS, ONE),
    Case("Pad", [IMAGE, ints(0, 2, 0, 0, 0, 1, 0, 0), np.zeros(())], (1, 7, 1, 1), ONE),
    Case("Pad", [IMAGE, ints(2, 1), "", ints(-3)], (1, 7, 1, 1), ONE),
    Case("Slice", [IMAGE, ints(1), ints(2**62), ints(2), ints(2)], CHANNELS, ONE),
    Case("Slice", [IMAGE, ints(-3), ints(-1), ints(1)], None, ONE),
    Case("Slice", [IMAGE, ints(0, 1), ints(2, 3)], None, ONE),
    Case("Gather", [IMAGE, ints(2, 0, -1)], CHANNELS, ONE, {"axis": 2}),
    Case("Gather", [IMAGE, ints(2, 0, -1)], None, ONE, {"axis": 1}),
    Case("Gather", [IMAGE, np.array(-2)], None, ONE, {"axis": 1}),
    Case("Gather", [IMAGE, np.array([[0, 1], [2, 2]])], None, ONE, {"axis": 3}),
    Case("Sum", [IMAGE, value(4, 1, 1), IMAGE], CHANNELS, {0: CHANNELS, 2: CHANNELS}),
    Case("Mean", [IMAGE, value(4, 1, 1), IMAGE], CHANNELS, {0: CHANNELS, 2: CHANNELS}),
    Case("Where", [value(5, 6) > 0, IMAGE, IMAGE], CHANNELS, {1: CHANNELS, 2: CHANNELS}),
    Case("Where", [value(5, 6) > 0, IMAGE, value(1, 1)], CHANNELS, {1: CHANNELS}),
    Case("ReduceMean", [IMAGE, ints(2, -1)], CHANNELS, ONE),
    Case("ReduceSum", [IMAGE, ints(2, 3)], (1, 4), ONE, {"keepdims": 0}),
    Case("ReduceSum", [IMAGE], LAYER, {0: LAYER}),
    Case("CumSum", [IMAGE, np.array(-1)], CHANNELS, ONE, {"reverse": 1}),
    Case(
        "Resize",
        [IMAGE, "", np.array([1, 1, 2, 1.5], np.float32)],
        CHANNELS,
        ONE,
        {"mode": "linear"},
    ),
    Case("Expand", [(2, 4, 1, 1), ints(3, 1, 1, 5, 6)], None, ONE),
    Case("Expand", [(4, 1, 1), ints(2, 4, 5, 6)], CHANNELS, {0: (4, 1, 1)}),
    Case("Tile", [IMAGE, ints(1, 1, 2, 3)], CHANNELS, ONE),
    Case("Tile", [IMAGE, ints(1, 2, 1, 1)], None, ONE),
    Case("DepthToSpace", [(2, 8, 3, 2)], (1, 2, 1, 1), {0: LAYER}, {"blocksize": 2}),
    Case("DepthToSpace", [(2, 8, 3, 2)], (1, 2, 1, 1), {0: LAYER}, {"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", [(2, 4, 6, 4)], LAYER, ONE, {"blocksize": 2}),
    Case("Cast", [IMAGE], CHANNELS, ONE, {"to": TensorProto.DOUBLE}),
    Case(MEAN_SO_FAR, [IMAGE], (1, 4, 5, 1), {0: (1, 4, 5, 1)}),
    Case(INCREASE, [IMAGE], (1, 4, 5, 1), {0: (1, 4, 5, 1)}),
    Case("Split", [IMAGE, ints(1, 3)], None, ONE, {"axis": 1, "outputs": 2}),
    Case("Split", [IMAGE, ints(4, 2)], None, ONE, {"axis": -1, "outputs": 2}),
]


def with_move(graph: Graph, node: Node, move: Move) -> Graph:
    for index, values in move.constants.items():
        node.inputs[index] = make_constant(f"new{index}", values)
    return graph


@pytest.mark.parametrize("case", [c for c in RULES if c.back], ids=str)
def test_a_factor_moves_backward(case: Case) -> None:
    assert case.back is not None
    scale = RNG.uniform(0.5, 2.0, case.back)
    graph, node = case.build()
    feed = case.feed()
    wanted = scale * reference(graph, feed)[0]
    move = BACKWARD[case.op](node, scale)
    assert isinstance(move, Move), move
    scaled = {name: x * move.scales.get(int(name[1:]), 1.0) for name, x in feed.items()}
    assert all(scaled[name].shape == x.shape for name, x in feed.items())
    np.testing.assert_allclose(
        reference(with_move(graph, node, move), scaled)[0], wanted, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("case", [c for c in RULES if c.ahead], ids=str)
def test_factors_move_forward(case: Case) -> None:
    shapes = set(case.ahead.values())
    common = {
        shape: RNG.uniform(0.5, 2.0, shape) for shape in shapes
    }  # a sum takes only equal factors
    scales = {index: common[shape] for index, shape in case.ahead.items()}
    graph, node = case.build()
    feed = case.feed()
    wanted = reference(
        graph, {name: x * scales.get(int(name[1:]), 1.0) for name, x in feed.items()}
    )
    move = FORWARD[case.op](node, scales)
    assert isinstance(move, Move), move
    found = reference(with_move(graph, node, move), feed)
    for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one.shape == other.shape
        np.testing.assert_allclose(move.scales.get(index, 1.0) * one, other, rtol=1e-12, atol=1e-13)


def test_every_rule_is_in_the_table() -> None:
    assert {c.op for c in RULES if c.back} == set(BACKWARD) - {"Upsample", "Accumulate"}
    assert {c.op for c in RULES if c.ahead} == set(FORWARD) - {
        "Shape",
        "Size",
        "EyeLike",
        "Upsample",
    }


@pytest.mark.parametrize("op", ["Shape", "Size"])
def test_a_shape_does_not_depend_on_the_factor(op: str) -> None:
    _, node = Case(op, [IMAGE]).build()
    assert FORWARD[op](node, {0: np.full(CHANNELS, 2.0)}) == Move()


NEGATIVE = np.full(CHANNELS, -1.0)
SPREAD = (2, "channels", 5, 6)
REFUSALS = [
    Case(
        "Conv",
        [IMAGE, value(6, 4, 1, 1)],
        (1, 1, 5, 1),
        {0: (1, 4, 5, 1)},
        says="varies within a channel",
    ),
    Case("Conv", [IMAGE, (6, 4, 1, 1)], (1, 6, 1, 1), ONE, says="its weights are not a constant"),
    Case("Conv", [IMAGE, value(6, 4, 1, 1), (6,)], (1, 6, 1, 1), says="its bias is not a constant"),
    Case(
        "Conv",
        [IMAGE, (6, 4, 1, 1)],
        None,
        {1: (6, 1, 1, 1)},
        says="its parameters are not constants",
    ),
    Case(
        "ConvTranspose",
        [IMAGE, value(4, 6, 1, 1)],
        (1, 1, 5, 1),
        {0: (1, 4, 5, 1)},
        says="varies within a channel",
    ),
    Case(
        "ConvTranspose",
        [IMAGE, (4, 6, 1, 1)],
        (1, 6, 1, 1),
        ONE,
        says="its weights are not a constant",
    ),
    Case(
        "ConvTranspose",
        [IMAGE, (4, 6, 1, 1)],
        None,
        {1: (4, 1, 1, 1)},
        says="its parameters are not constants",
    ),
    Case(
        "Gemm", [(2, 4), value(4, 5), value(5)], (2, 1), {0: (2, 1)}, says="varies within a channel"
    ),
    Case(
        "Gemm", [(4, 2), value(4, 5)], None, {0: (1, 2)}, {"transA": 1}, "varies within a channel"
    ),
    Case("Gemm", [(2, 4), (4, 5)], (1, 5), {0: (1, 4)}, says="its weights are not a constant"),
    Case(
        "Gemm",
        [(2, 4), value(4, 5), (2, 5)],
        None,
        {0: (1, 4), 2: (1, 5)},
        says="its parameters are not constants",
    ),
    Case(
        "MatMul", [(2, 4), (4, 5)], (1, 5), {0: (1, 4)}, says="neither factor is a constant matrix"
    ),
    Case(
        "MatMul", [(2, 4), value(4)], (1,), {0: (1, 4)}, says="neither factor is a constant matrix"
    ),
    Case(
        "MatMul",
        [(2, 3, 4), value(4, 5)],
        (1, 3, 1),
        {0: (1, 3, 1)},
        says="varies within a channel",
    ),
    Case("Mul", [IMAGE, IMAGE], CHANNELS, ONE, says="the factor is not a constant"),
    Case("Add", [IMAGE, (2, 1, 5, 6)], CHANNELS, says="broadcast along the scaled axis"),
    Case("Add", [IMAGE, (5, 6)], CHANNELS, says="broadcast along the scaled axis"),
    Case("Add", [IMAGE, IMAGE], None, ONE, says="different scales"),
    Case("Add", [IMAGE, IMAGE], None, {0: CHANNELS, 1: LAYER}, says="different scales"),
    Case(
        "AveragePool",
        [IMAGE],
        (1, 1, 2, 1),
        {0: (1, 1, 1, 6)},
        POOL,
        "varies within the pooled area",
    ),
    Case(
        "MaxPool", [IMAGE], (1, 1, 2, 1), {0: (1, 1, 1, 6)}, POOL, "varies within the pooled area"
    ),
    Case("Reshape", [SPREAD, ints(2, -1)], (1, 120), ONE, says="sizes are not static"),
    Case("Reshape", [IMAGE, ints(8, -1)], (1, 30), ONE, says="sizes are not static"),
    Case("Concat", [SPREAD, IMAGE], (1, 9, 1, 1), ONE, {"axis": 1}, "sizes are not static"),
    Case(
        "Pad",
        [IMAGE, ints(0, 1, 0, 0, 0, 0, 0, 0), np.ones(())],
        (1, 5, 1, 1),
        ONE,
        says="other values than zero",
    ),
    Case(
        "Pad",
        [IMAGE, ints(0, 0, 1, 0, 0, 0, 0, 0)],
        CHANNELS,
        ONE,
        {"mode": "reflect"},
        "other values than zero",
    ),
    Case(
        "Slice",
        [IMAGE, ints(1), ints(3), ints(1)],
        (1, 2, 1, 1),
        says="selects along the scaled axis",
    ),
    Case(
        "Slice",
        [IMAGE, ints(3), ints(0), ints(2), ints(-1)],
        CHANNELS,
        ONE,
        says="selects along the scaled axis",
    ),
    Case(
        "Gather",
        [IMAGE, ints(1, 2)],
        (1, 2, 1, 1),
        {},
        {"axis": 1},
        "selects along the scaled axis",
    ),
    Case("Where", [value(5, 6) > 0, IMAGE, IMAGE], None, {1: CHANNELS}, says="different scales"),
    Case(
        "Where", [value(5, 6) > 0, IMAGE, (1, 1)], CHANNELS, says="broadcast along the scaled axis"
    ),
    Case("ReduceMean", [IMAGE, ints(1)], None, ONE, says="varies along an axis it works along"),
    Case("ReduceSum", [IMAGE, (1,)], LAYER, ONE, says="its axes are not constant"),
    Case("CumSum", [IMAGE, np.array(1)], CHANNELS, ONE, says="varies along an axis it works along"),
    Case(
        "Resize",
        [IMAGE, "", np.array([1, 2, 1, 1.0], np.float32)],
        (1, 8, 1, 1),
        ONE,
        says="varies along an axis",
    ),
    Case(
        "Expand",
        [(2, 1, 1, 1), ints(2, 4, 5, 6)],
        CHANNELS,
        says="broadcasts along the scaled axis",
    ),
    Case("Expand", [(5, 6), ints(2, 4, 5, 6)], CHANNELS, says="broadcasts along the scaled axis"),
    Case("Tile", [IMAGE, ints(1, 2, 1, 1)], (1, 8, 1, 1), says="repeats the scaled axis"),
    Case(
        "DepthToSpace",
        [(2, 8, 3, 2)],
        None,
        {0: (1, 8, 1, 1)},
        {"blocksize": 2},
        "varies within a block",
    ),
    Case(
        "SpaceToDepth", [(2, 2, 6, 4)], (1, 8, 1, 1), {}, {"blocksize": 2}, "varies within a block"
    ),
    Case("Cast", [IMAGE], CHANNELS, ONE, {"to": TensorProto.INT64}, "from or to whole numbers"),
    Case(
        "Split",
        [SPREAD, ints(1, 3)],
        None,
        {1: (1,)},
        {"axis": 1, "outputs": 2},
        "selects along the scaled axis",
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_a_rule_that_does_not_hold_says_why(case: Case) -> None:
    _, node = case.build()
    if case.back:
        verdict = BACKWARD[case.op](node, RNG.uniform(0.5, 2.0, case.back))
        assert isinstance(verdict, str) and case.says in verdict
    if case.ahead:
        verdict = FORWARD[case.op](
            node, {i: RNG.uniform(0.5, 2.0, shape) for i, shape in case.ahead.items()}
        )
        assert isinstance(verdict, str) and case.says in verdict


@pytest.mark.parametrize("op", ["MaxPool", "GlobalMaxPool", ACCUMULATED_MAX_POOL])
@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_only_positive_factors_pass_a_maximum(op: str, factor: float) -> None:
    _, node = Case(op, [IMAGE], attrs={} if op.startswith("Global") else POOL).build()
    scale = np.array([1.0, factor, 1.0, 1.0]).reshape(CHANNELS)
    for verdict in (BACKWARD[op](node, scale), FORWARD[op](node, {0: scale})):
        assert verdict == "a factor that is not positive cannot pass a maximum"


def test_a_factor_of_zero_does_not_move_past_an_added_constant() -> None:
    _, node = Case("Add", [IMAGE, value(4, 1, 1)]).build()
    assert FORWARD["Add"](node, {0: np.zeros(CHANNELS)}) == "the scale holds zeros"


def test_scales_are_kept_small() -> None:
    scale = np.broadcast_to(value(1, 4, 1, 1), (1, 4, 5, 6))
    assert compress(scale).shape == (1, 4, 1, 1)
    assert compress(np.full((1, 4), 2.0)).shape == (1, 1)
