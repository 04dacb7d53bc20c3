"""Synapses and operations, held against firing each neuron alone and against counting in loops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.architectures import attention, inputs_of
from helpers.ladder import digit
from helpers.networks import ASSEMBLED_INPUT, BLOCKS, NETWORKS, Builder, assemble, inputs_for
from helpers.stages import stable
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from onnx2snn import SpikingSession, evaluate
from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.score.connections import CONNECTIVITY
from onnx2snn.score.node_runs import NodeRun, all_values
from onnx2snn.score.products import fan_out, operations
from onnx2snn.score.synapses import multiply_accumulates, wiring
from onnx2snn.settings import Settings
from onnx2snn.snn.step_model import StepModel, read_step_model

Array = NDArray[Any]


def converted(model: onnx.ModelProto, x: Any, **options: Any) -> StepModel:
    settings = Settings(**({"preset": "paper", "method": "max"} | options))
    return read_step_model(run_conversion(model, x, settings).model, "model")


# --- the brute force: every neuron fires alone, once; arrivals are added up, node by node ---

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")
MIXING = (
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "ReduceSum",
    "CumSum",
    "Resize",
    "Upsample",
)
MOVING = [
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Slice",
    "Gather",
    "Concat",
    "Pad",
    "Identity",
]
MOVING += ["Dropout", "Where", "Split", "Expand", "Tile", "DepthToSpace", "SpaceToDepth"]
SUMS = ("Add", "Sub", "Sum", "Mean")
LINEAR = [*MOVING, *MIXING, *SUMS, "Mul", "Div", "Neg"]
DATA = {**dict.fromkeys((*SUMS, "Concat"), range(9)), "Where": (1, 2), "Pad": (0, 2), "Mul": (0, 1)}


def is_linear(node: onnx.NodeProto, moving: Collection[str]) -> bool:
    """Whether a node is linear in these of its inputs, and has no weights."""
    places = [index for index, name in enumerate(node.input) if name in moving]
    allowed = all(index in DATA.get(node.op_type, (0,)) for index in places)
    return node.op_type in LINEAR and allowed and not (node.op_type == "Mul" and len(places) > 1)


def is_held(node: onnx.NodeProto) -> bool:
    """Whether a node tells what was sent before a step, which no spike of the step changes."""
    return node.op_type == "Sub" and node.name.endswith("/held")


@dataclass
class Ones:
    """A step graph in which every weight is 1; `count` samples at once."""

    model: StepModel
    count: int
    shape: tuple[int, ...] = ASSEMBLED_INPUT

    def __post_init__(self) -> None:
        feed = {"input": np.zeros((self.count, *self.shape), np.float32)}
        feed |= {s.input: np.zeros([1] * s.rank, np.float32) for s in self.model.states}
        self.values = all_values(self.model.proto, feed)
        made = {name: node for node in self.model.proto.graph.node for name in node.output}
        self.means = {
            s.mean: made[s.output].input[1] for s in self.model.states if s.mean is not None
        }

    def run(self, node: onnx.NodeProto, carried: Mapping[str, Array]) -> list[Array]:
        """The node's outputs where all else that it adds is 0, and all that it multiplies is 1."""
        feeds: list[Array | None] = []
        ones = 2 if node.op_type in (*WEIGHTED, "Mul", "Div") else 0
        for index, name in enumerate(node.input):
            if not name:
                feeds.append(None)
            elif name in carried:
                feeds.append(carried[name].astype(np.float32))
            elif node.op_type in (*MOVING, *MIXING) and index not in DATA.get(node.op_type, (0,)):
                feeds.append(self.values[name])
            else:
                feeds.append(np.full(self.values[name].shape, float(index < ones), np.float32))
        node = onnx.NodeProto.FromString(node.SerializeToString())
        node.op_type = {"Sub": "Sum", "Add": "Sum", "Mean": "Sum", "Neg": "Identity"}.get(
            node.op_type, node.op_type
        )
        if node.op_type not in MIXING:
            return [
                np.abs(np.round(out).astype(np.float64))
                for out in one_node(node, feeds, self.opset)
            ]
        value = feeds[0]
        assert value is not None
        size = int(np.prod(value.shape[1:]))
        alone = np.eye(size, dtype=np.float32).reshape(size, *value.shape[1:])
        (out,) = one_node(node, [alone, *feeds[1:]], self.opset)  # every element alone
        reached = value.reshape(len(value), size) @ (out.reshape(size, -1) != 0)
        return [reached.reshape(len(value), *out.shape[1:])]

    @property
    def opset(self) -> int:
        return int(next(o.version for o in self.model.proto.opset_import if o.domain == ""))

    def walk(self, carried: dict[str, Array], analog: Mapping[str, Array]) -> Array:
        """Carry spikes of `count` samples as far as they go; what arrived [count]."""
        arrived = np.zeros(self.count)
        for node in self.model.proto.graph.node:
            mean = next((name for name in node.output if name in self.means), None)
            if mean and self.means[mean] in carried:
                carried[mean] = carried[self.means[mean]]
            here = {name: carried[name] for name in node.input if name in carried}
            if mean or not here or node.op_type in ("Shape", "Size") or is_held(node):
                continue
            per_sample = [value.reshape(self.count, -1).sum(axis=1) for value in here.values()]
            moving = [name for name in node.input if name in here or name in analog]
            if node.domain == "onnx2snn" or not (
                node.op_type in WEIGHTED or is_linear(node, moving)
            ):
                arrived += sum(per_sample)
                continue
            out, *more = self.run(node, here)
            if node.op_type in WEIGHTED:
                arrived += out.reshape(self.count, -1).sum(axis=1)
                continue
            carried.update(zip(node.output[1:], more, strict=True))
            others = {
                name: analog[name].astype(float)
                for name in node.input
                if name not in here and name in analog
            }
            mixed = bool(others) and node.op_type in SUMS
            joined = self.run(node, others)[0] > 0 if mixed else np.zeros_like(out, bool)
            arrived += (out * joined).reshape(self.count, -1).sum(axis=1)
            carried[node.output[0]] = out * ~joined
        return arrived

    def analog(self) -> dict[str, Array]:
        """What is no spike in each tensor that changes in time."""
        marks: dict[str, Array] = {
            s.input: np.ones(self.values[s.input].shape)
            for s in self.model.states
            if s.mean is None
            and s.kind not in ("membrane", "step")
            # what neurons have sent is a weight of a product, no current
            and not s.input.endswith("/sent")
        }
        for node in self.model.proto.graph.node:
            here = {name: marks[name] for name in node.input if name in marks}
            out = node.output[0]
            mean = next((name for name in node.output if name in self.means), None)
            if mean:
                marks[mean] = marks[self.means[mean]]
            elif node.domain == "onnx2snn":
                marks[out] = np.zeros(self.values[out].shape)
            elif is_held(node):
                continue
            elif here and is_linear(node, here):
                marks |= {
                    name: value > 0
                    for name, value in zip(node.output, self.run(node, here), strict=True)
                }
            elif here and node.op_type not in ("Shape", "Size"):
                marks |= {name: np.ones(self.values[name].shape) for name in node.output}
        return marks


def one_node(node: onnx.NodeProto, feeds: Sequence[Array | None], opset: int) -> list[Array]:
    node = onnx.NodeProto.FromString(node.SerializeToString())
    node.input[:] = [f"in{i}" if value is not None else "" for i, value in enumerate(feeds)]
    given = {f"in{i}": value for i, value in enumerate(feeds) if value is not None}
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in given.items()}
    inputs = [
        helper.make_tensor_value_info(name, kinds[name], value.shape)
        for name, value in given.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = helper.make_graph([node], "node", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return list(ort.InferenceSession(model.SerializeToString()).run(None, given))


def fan_outs(model: StepModel, shape: tuple[int, ...] = ASSEMBLED_INPUT) -> dict[str, Array]:
    """Synapses of each neuron of a network, by site; `shape` is that of a sample."""
    found = {}
    for neuron in model.metadata["neurons"]:
        count = int(np.prod(Ones(model, 1, shape).values[neuron["spikes"]].shape))
        ones = Ones(model, count, shape)
        alone = np.eye(count).reshape(ones.values[neuron["spikes"]].shape)
        found[neuron["name"]] = ones.walk({neuron["spikes"]: alone}, ones.analog())
    return found


@st.composite
def networks(draw: st.DrawFn) -> onnx.ModelProto:
    """A few random blocks, most of them fed with spikes, convolutions more often than others."""
    block = st.sampled_from(sorted(BLOCKS) + ["conv"] * 10 + ["deconv"] * 5)
    pieces = st.sampled_from([["relu"], ["relu"], []]).flatmap(
        lambda before: block.map(lambda kind: [*before, kind])
    )
    drawn = draw(st.lists(pieces, min_size=1, max_size=4))
    return assemble([kind for piece in drawn for kind in piece], draw(st.integers(0, 2**16)))


@given(networks())
@stable(20)
def test_synapses_are_what_a_neuron_firing_alone_arrives_at(model: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((4, *ASSEMBLED_INPUT)).astype(np.float32)
    try:
        snn = converted(model, x, timesteps=2)
    except UnsupportedGraphError:
        return
    found = wiring(snn, {"input": x[:1]}).fan_out
    for site, wanted in fan_outs(snn).items():
        assert np.array_equal(found[site], wanted), site


# --- differential coding ---


def differential(model: onnx.ModelProto, x: Any, **options: Any) -> StepModel:
    return converted(model, x, preset="differential", **options)


@given(
    networks(),
    st.sampled_from([1, 2, None]),
    st.booleans(),
    st.sampled_from(["mean", "zero"]),
)
@stable(20)
def test_synapses_of_differential_coding_are_what_a_neuron_firing_alone_arrives_at(
    model: onnx.ModelProto, digits: int | None, encode_input: bool, start: str
) -> None:
    x = np.random.default_rng(0).standard_normal((4, *ASSEMBLED_INPUT)).astype(np.float32)
    options = {"digits": digits, "encode_input": encode_input, "start": start}
    try:
        snn = differential(model, x, **options)
    except UnsupportedGraphError:
        return
    found = wiring(snn, {"input": x[:1]}).fan_out
    for site, wanted in fan_outs(snn).items():
        assert np.array_equal(found[site], wanted), site


def products(tokens: int = 4, width: int = 6) -> onnx.ModelProto:
    """Three products of two tensors: of a tensor with two others, and of one with itself."""
    b = Builder(2)
    x = b.input("input", ["batch", tokens, width])

    def dense(y: str) -> str:
        w = b.const(b.rng.standard_normal((width, width)) / width)
        return b.node("MatMul", y, w)

    x = b.node("Tanh", dense(x))
    q, k, v = dense(x), dense(x), b.node("Sigmoid", dense(x))
    scores = b.node("MatMul", q, b.node("Transpose", k, perm=[0, 2, 1]), name="scores")
    y = b.node("MatMul", b.node("Softmax", scores, axis=-1), v, name="mixed")
    square = b.node("MatMul", b.node("Transpose", v, perm=[0, 2, 1]), v, name="square")
    y = b.node("MatMul", y, square, name="again")
    b.name_output(dense(y), "output")
    return b.model({"output": ["batch", tokens, width]})


@pytest.mark.parametrize(("digits", "start"), [(1, "mean"), (2, "zero")])
@pytest.mark.parametrize("build", [products, attention])
def test_a_products_spikes_arrive_along_the_other_operand(
    build: Callable[[], onnx.ModelProto], digits: int, start: str
) -> None:
    model = build()
    x = inputs_of(model, 4)
    snn = differential(model, x, digits=digits, start=start, encode_input=True)
    driven = {entry["node"]: entry["drive"] for entry in snn.metadata["weighted"]}
    assert set(driven.values()) == {"spiking"}
    found = wiring(snn, {"input": x[:1]})
    for site, wanted in fan_outs(snn, x.shape[1:]).items():
        assert np.array_equal(found.fan_out[site], wanted), site
    assert found.weighted is not None
    # a product of two terms is one operator
    assert found.weighted["operators"] == found.weighted["fed"] == len(driven)


@pytest.mark.parametrize("start", ["mean", "zero"])
def test_sums_starts_and_limits_cost_nothing_beside_the_synapses(start: str) -> None:
    """Of three Convs with borders all that is left are the first one and its ReLU, once.

    Beside these a step is counted: one addition, and a choice of its digits for each neuron.
    """
    b = Builder()
    y = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 5]), 2, 4))
    y = b.node("Relu", b.conv(y, 4, 3))
    b.name_output(b.conv(y, 3, 5), "output")
    model = b.model({"output": ["batch", 5, 6, 5]})
    x = np.random.default_rng(0).standard_normal((8, 2, 6, 5)).astype(np.float32)
    found = wiring(differential(model, x, start=start), {"input": x[:1]})
    assert found.encoder == 4 * 30 * 2 * 9 + 4 * 30
    assert found.step == 1 + 2
    assert found.readout == 0


# --- in loops ---


def looped(
    shape: tuple[int, ...], out: tuple[int, ...], node: dict[str, Any], weights: tuple[int, ...]
) -> Array:
    """Fan-out of a convolution's input [C,H,W], product by product."""
    found = np.zeros(shape)
    filters, block = out[0] // node["group"], shape[0] // node["group"]
    for f, y, x, c, i, j in product(
        range(out[0]), range(out[1]), range(out[2]), range(block), *map(range, weights[2:])
    ):
        channel = f // filters * block + c
        row = y * node["strides"][0] - node["pads"][0] + i * node["dilations"][0]
        column = x * node["strides"][1] - node["pads"][1] + j * node["dilations"][1]
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            found[channel, row, column] += 1
    return found


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "borders": {"group": 1, "strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]},
    "one side": {"group": 1, "strides": [1, 1], "pads": [2, 0, 0, 1], "dilations": [1, 1]},
    "stride": {"group": 1, "strides": [2, 3], "pads": [1, 1, 1, 1], "dilations": [1, 1]},
    "dilation": {"group": 1, "strides": [1, 2], "pads": [2, 2, 2, 2], "dilations": [2, 1]},
    "groups": {"group": 2, "strides": [2, 1], "pads": [0, 1, 1, 0], "dilations": [1, 2]},
    "depthwise": {"group": 4, "strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]},
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolutions_synapses_are_its_products(kind: str) -> None:
    attrs = CONVOLUTIONS[kind]
    b = Builder()
    site = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 7]), 2, 4), name="site")
    b.name_output(b.conv(site, 4, 8, **attrs), "output")
    model = b.model({"output": ["batch", 8, None, None]})
    x = np.random.default_rng(0).standard_normal((4, 2, 6, 7)).astype(np.float32)
    shape = ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})[0].shape[1:]
    wanted = looped((4, 6, 7), shape, attrs, (8, 4 // attrs["group"], 3, 3))
    assert np.array_equal(
        wiring(converted(model, x), {"input": x[:1]}).fan_out["site"], wanted.ravel()
    )


AUTOMATIC: dict[str, dict[str, Any]] = {
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
    "valid": {"auto_pad": "VALID"},
}
TRANSPOSED: dict[str, dict[str, Any]] = {
    **AUTOMATIC,
    "pads": {"strides": [2, 2], "pads": [1, 0, 2, 1]},
    "output padding": {"strides": [3, 2], "output_padding": [2, 1], "pads": [1, 1, 1, 1]},
    "output shape": {"strides": [2, 2], "output_shape": [12, 14]},
    "groups and dilation": {"group": 2, "dilations": [2, 1]},
}


@pytest.mark.parametrize(
    ("op", "kind"), [("Conv", k) for k in AUTOMATIC] + [("ConvTranspose", k) for k in TRANSPOSED]
)
def test_padding_is_counted_as_onnxruntime_computes_it(op: str, kind: str) -> None:
    """With weights of 1, the gradient of the outputs' sum is the fan-out; by one-hot inputs."""
    attrs = TRANSPOSED[kind]
    weights = np.ones(
        (8, 4, 3, 3) if op == "Conv" else (4, 8 // attrs.get("group", 1), 3, 3), np.float32
    )
    node = helper.make_node(op, ["x", "w"], ["y"], **attrs)
    alone = np.eye(4 * 5 * 6, dtype=np.float32).reshape(-1, 4, 5, 6)
    wanted = one_node(node, [alone, weights], 18)[0].reshape(120, -1).sum(axis=1)
    values = {"x": alone[:1], "w": weights}
    (values["y"],) = one_node(node, [alone[:1], weights], 18)
    assert np.array_equal(fan_out(NodeRun(node, 18, values)).ravel(), wanted)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resizing_passes_spikes_to_every_pixel_they_have_a_part_in(mode: str) -> None:
    rng = np.random.default_rng(0)
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    alone, scales = (
        np.eye(20, dtype=np.float32).reshape(20, 1, 4, 5),
        np.array([1, 1, 2, 1.5], np.float32),
    )
    (out,) = one_node(node, [alone, None, scales], 18)
    values = {"x": alone[:1], "scales": scales, "y": out[:1]}
    connectivity = CONNECTIVITY["Resize"](NodeRun(node, 18, values))
    counts = rng.integers(1, 9, out[:1].shape).astype(np.float64)
    assert np.array_equal(
        connectivity.pull(counts).ravel(), ((out != 0) * counts).reshape(20, -1).sum(axis=1)
    )
    marks = rng.random((1, 1, 4, 5)) < 0.2
    assert np.array_equal(connectivity.push(marks)[0], (out[marks.ravel()] != 0).any(axis=0))


def test_samples_of_a_batch_are_resized_alike() -> None:
    """Four samples, as many as axes: the data is no list of scales."""
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")
    x, scales = np.zeros((4, 1, 4, 5), np.float32), np.array([1, 1, 2, 1.5], np.float32)
    (out,) = one_node(node, [x, None, scales], 18)
    values = {"x": x, "scales": scales, "y": out}
    pulled = CONNECTIVITY["Resize"](NodeRun(node, 18, values)).pull(np.ones(out.shape))
    values |= {"x": x[:1], "y": out[:1]}
    (alone,) = CONNECTIVITY["Resize"](NodeRun(node, 18, values)).pull(np.ones(out[:1].shape))
    assert all(np.array_equal(sample, alone) for sample in pulled)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumulative_sums_pass_spikes_on(reverse: int, exclusive: int) -> None:
    node = helper.make_node("CumSum", ["x", "axis"], ["y"], reverse=reverse, exclusive=exclusive)
    alone, axis = np.eye(12, dtype=np.float32).reshape(12, 3, 4), np.array(2)
    (out,) = one_node(node, [alone, axis], 18)
    values = {"x": alone[:1], "axis": axis, "y": out[:1]}
    connectivity = CONNECTIVITY["CumSum"](NodeRun(node, 18, values))
    counts = np.random.default_rng(0).integers(1, 9, (1, 3, 4)).astype(np.float64)
    assert np.array_equal(
        connectivity.pull(counts).ravel(), (out * counts).reshape(12, -1).sum(axis=1)
    )
    marks = np.zeros((1, 3, 4), bool)
    marks[0, 1, 2] = True
    assert np.array_equal(connectivity.push(marks)[0], out[6] > 0)


@pytest.mark.parametrize(
    ("equation", "shapes", "products"),
    [
        ("nchw,cd->ndhw", [(1, 3, 4, 5), (3, 7)], 3 * 4 * 5 * 7),
        ("cd,nchw->nd", [(3, 7), (1, 3, 4, 5)], 3 * 7 * 4 * 5),
        ("...ij,...jk->...ik", [(2, 3, 4, 5), (2, 3, 5, 6)], 2 * 3 * 4 * 5 * 6),
        ("...ij,jk->...ik", [(2, 3, 4, 5), (5, 6)], 2 * 3 * 4 * 5 * 6),
    ],
)
def test_an_einsums_products_are_over_all_its_indices(
    equation: str, shapes: list[tuple[int, ...]], products: int
) -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    values = {"x": np.zeros(shapes[0], np.float32), "w": np.zeros(shapes[1], np.float32)}
    (values["y"],) = one_node(node, list(values.values()), 18)
    assert operations(NodeRun(node, 18, values)) == products
    assert fan_out(NodeRun(node, 18, values, index=1)).sum() == products


# --- spikes ---


@pytest.mark.parametrize(("neuron", "levels"), [("if", 1), ("signed", 1), ("if", 3), ("signed", 2)])
@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_spikes_times_synapses(name: str, neuron: str, levels: int) -> None:
    x, ann = inputs_for(name, 7), NETWORKS[name]()
    snn = converted(ann, inputs_for(name, 50), neuron=neuron, levels=levels)
    synapses = wiring(snn, {"input": x[:1]}).fan_out
    wanted, spikes = {2: 0.0, 5: 0.0}, {2: 0.0, 5: 0.0}
    for step in SpikingSession(snn.proto).steps({"input": x}, timesteps=5):
        for t in (t for t in wanted if step.t <= t):
            wanted[t] += sum(
                float((np.abs(s).reshape(7, -1) @ synapses[site]).sum())
                for site, s in step.spikes.items()
            )
            spikes[t] += sum(float(np.abs(s).sum()) for s in step.spikes.values())
    rows = evaluate(ann, snn.proto, x, timesteps=[5, 2])["snn"]
    for row in rows:
        assert row["sops"] == pytest.approx(
            wanted[row["timesteps"]] / 7, rel=2e-3
        )  # a spike may flip
        assert row["spikes"] == pytest.approx(spikes[row["timesteps"]] / 7, rel=2e-3)


@pytest.mark.parametrize("digits", [1, 2, None])
def test_operations_of_differential_coding_are_digits_times_synapses(digits: int | None) -> None:
    ann, x = attention(), inputs_of(attention(), 5)
    octaves = 8
    snn = differential(ann, x, digits=digits, octaves=octaves, encode_input=True)
    synapses = wiring(snn, {"input": x[:1]}).fan_out
    sops = events = heights = 0.0
    for step in SpikingSession(snn.proto).steps({"input": x}, timesteps=3):
        for site, s in step.spikes.items():
            sent, rest = np.zeros_like(s), s
            for _ in range(snn.metadata["digits"]):
                part = digit(rest, octaves)
                sent, rest = sent + (part != 0), rest - part
            sops += float((sent.reshape(5, -1) @ synapses[site]).sum())
            events += float(sent.sum())
            heights += float(np.abs(s).sum())
    (row,) = evaluate(ann, snn.proto, x, timesteps=[3])["snn"]
    assert row["sops"] == pytest.approx(sops / 5, rel=2e-3)
    assert row["events"] == row["spikes"] == pytest.approx(events / 5, rel=2e-3)
    assert row["heights"] == pytest.approx(heights / 5, rel=2e-3)
    assert row["payload_bits"] == pytest.approx(row["events"] * np.log2(2 * octaves + 1))


# --- floating-point operations ---


def test_an_anns_operations_are_its_multiply_accumulates() -> None:
    found = multiply_accumulates(NETWORKS["resnet"](), {"input": inputs_for("resnet", 1)})
    stem, block = 64 * 6 * 2 * 9, 2 * 16 * 6 * 6 * 9
    down = 4 * 8 * 6 * 9 + 4 * 8 * 8 * 9 + 4 * 8 * 6
    assert found == stem + block + down + 8 * 5


def test_what_does_not_spike_is_counted_beside() -> None:
    x = inputs_for("resnet", 20)
    found = wiring(converted(NETWORKS["resnet"](), x), {"input": x[:1]})
    assert (
        found.encoder == 64 * 6 * 2 * 9 + 16 * 6 * 4
    )  # the stem, and its max-pool of windows of 4
    assert found.step == 16 * 6  # the scale on the identity shortcut
    assert found.readout == 4 * 8  # the global average


def test_a_linear_bottleneck_is_no_synapse() -> None:
    """What it feeds is fed with no spikes, so it multiplies."""
    x = inputs_for("mobilenet", 20)
    found = wiring(converted(NETWORKS["mobilenet"](), x), {"input": x[:1]})
    expand = 64 * 6 * 18
    last = 64 * 6 * 10
    assert found.step == expand + last


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_counts_one_sample(batch: int) -> None:
    x = inputs_for("resnet", 6)
    fixed, free = (converted(NETWORKS["resnet"](batch=size), x) for size in (batch, "batch"))  # type: ignore[call-arg]
    found, wanted = wiring(fixed, {"input": x[:batch]}), wiring(free, {"input": x[:1]})
    assert (found.encoder, found.step, found.readout) == (
        wanted.encoder,
        wanted.step,
        wanted.readout,
    )
    for site, synapses in wanted.fan_out.items():
        assert np.array_equal(found.fan_out[site], synapses)
