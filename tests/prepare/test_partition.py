"""Behaviour of onnx2snn.prepare.partition and graph.operators: parts, sites, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.networks import BLOCKS, Builder, assemble
from helpers.stages import Staged, network, staged
from onnx import helper

from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.graph.bounds import upper_bound
from onnx2snn.graph.editing import to_graph
from onnx2snn.graph.operators import is_weighted

INFINITY = float("inf")


def roles(model: Staged) -> dict[str, str]:
    return {row.node: row.role for row in model.parts.rows}


def refusals(model: Staged) -> list[tuple[str, str, str]]:
    return [(row.node, row.op, row.reason) for row in model.parts.rows if row.role == "refused"]


PARTS = {
    "resnet": ("conv0 maxpool3", "stem a1 a2 b1 b2", "globalaveragepool16 flatten17 gemm18"),
    "vgg": ("conv0 maxpool2", "c1 c2 d1", "gemm10"),
    "mobilenet": ("conv0", "stem expand depthwise last", "globalaveragepool11 flatten12 gemm13"),
    "segmenter": ("conv0", "e1 e2 d1 d2", "conv9"),
    "mlp": ("gemm0", "h1 h2", "gemm4"),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_parts_of_typical_networks(name: str) -> None:
    model = network(name)
    found = roles(model)
    encoder, neurons, readout = (set(names.split()) for names in PARTS[name])
    assert {n for n, role in found.items() if role == "encoder"} == encoder
    assert {n for n, role in found.items() if role == "neuron"} == neurons
    assert {n for n, role in found.items() if role == "readout"} == readout
    assert not refusals(model)
    assert [site.name for site in model.parts.sites] == [
        n.name for n in model.arranged.nodes if n.name in neurons
    ]


def test_a_pool_of_a_spiking_current_is_told_from_one_of_the_encoder() -> None:
    found = roles(network("vgg"))
    assert (found["maxpool2"], found["pool"]) == ("encoder", "pooled")


def test_a_pool_says_whether_it_stands_before_a_neuron() -> None:
    b = Net()
    x = b.node(
        "MaxPool", b.node("Relu", b.conv(b.start(), 4, 4)), name="moved", kernel_shape=[1, 1]
    )
    model = b.end(
        b.node("MaxPool", b.node("Add", x, "first_out"), name="stayed", kernel_shape=[1, 1])
    )
    reasons = {row.node: row.reason for row in model.parts.rows if row.role == "pooled"}
    assert reasons == {
        "moved": "pools the input current of its neuron",
        "stayed": "pools its input in place",
    }


class Net(Builder):
    """Conv, Relu `first`; whatever comes next; Conv, Relu `last`, Conv."""

    def start(self) -> str:
        return self.node(
            "Relu", self.conv(self.input("input", ["batch", 2, 6, 5]), 2, 4), name="first"
        )

    def end(self, x: str) -> Staged:
        x = self.node("Relu", self.conv(x, 4, 4), name="last")
        self.name_output(self.conv(x, 4, 3), "output")
        return staged(self.model({"output": ["batch", 3, None, None]}))


def gate(b: Net, x: str) -> str:
    return b.node("Mul", x, b.conv(x, 4, 4), name="culprit")


def dynamic_kernel(b: Net, x: str) -> str:
    x = b.conv(x, 4, 4)
    kernel = b.node(
        "Reshape",
        b.node("Slice", x, *(b.const([v], np.int64) for v in (0, 1, 0))),
        b.const([1, 4, 6, 5], np.int64),
    )
    return b.node(
        "Conv",
        b.node("Pad", x, b.const([0, 0, 2, 2, 0, 0, 3, 2], np.int64)),
        kernel,
        name="culprit",
    )


def plain(op: str, **attrs: Any) -> Callable[[Net, str], str]:
    return lambda b, x: b.node(op, b.conv(x, 4, 4), name="culprit", **attrs)


def divided(b: Net, x: str) -> str:
    return b.node("Div", b.const(1.0), b.node("Add", b.conv(x, 4, 4), b.const(1.0)), name="culprit")


def indices_used(b: Net, x: str) -> str:
    pooled = b.node("MaxPool", b.conv(x, 4, 4), name="culprit", outputs=2, kernel_shape=[2, 2])
    return b.node(
        "Add",
        pooled,
        b.node("Mul", b.node("Cast", "culprit_out1", to=1, name="cast"), b.const(0.0)),
    )


def squared(b: Net, x: str) -> str:
    x = b.conv(x, 4, 4)
    return b.node("Mul", x, x, name="culprit")


def counted(b: Net, x: str) -> str:
    """Whole numbers come of spikes, and floating-point numbers of them."""
    largest = b.node("ArgMax", b.conv(x, 4, 4), axis=1, name="culprit")
    return b.node("Mul", x, b.node("Cast", largest, to=1, name="cast"), name="product")


NOT_LINEAR = "telescoped: not linear"
ANALOG: list[tuple[Callable[[Net, str], str], str, str, set[str]]] = [
    (plain("Sigmoid"), "Sigmoid", NOT_LINEAR, set()),
    (plain("Softmax", axis=1), "Softmax", NOT_LINEAR, set()),
    (plain("LpPool", kernel_shape=[2, 2]), "LpPool", NOT_LINEAR, set()),
    (gate, "Mul", "both of its inputs depend on spikes, and their product is not linear", set()),
    (squared, "Mul", "both of its inputs depend on spikes, and their product is not linear", set()),
    (divided, "Div", "not linear in its input 'add3_out', which depends on spikes", set()),
    (
        dynamic_kernel,
        "Conv",
        "not linear in its input 'reshape4_out', which depends on spikes",
        set(),
    ),
    (counted, "ArgMax", NOT_LINEAR, {"cast", "product"}),
    (indices_used, "MaxPool", "its indices are used", {"cast"}),
]


@pytest.mark.parametrize(
    ("block", "op", "reason", "others"), ANALOG, ids=[case[1] for case in ANALOG]
)
def test_what_is_not_linear_between_neurons_is_telescoped(
    block: Callable[[Net, str], str], op: str, reason: str, others: set[str]
) -> None:
    b = Net()
    model = b.end(block(b, b.start()))
    model.parts.require_convertible()
    rows = {row.node: row for row in model.parts.rows if row.role == "analog"}
    assert rows["culprit"].op == op
    assert reason in rows["culprit"].reason
    assert set(rows) == {"culprit"} | others


def test_operators_of_other_domains_are_telescoped() -> None:
    """onnxruntime knows their shapes, ONNX does not."""
    b = Net()
    model = b.end(b.node("Gelu", b.conv(b.start(), 4, 4), name="culprit", domain="com.microsoft"))
    model.parts.require_convertible()
    (row,) = (row for row in model.parts.rows if row.role == "analog")
    assert (row.node, row.reason) == (
        "culprit",
        "telescoped: nothing is known about operators of domain 'com.microsoft'",
    )


def test_linear_operators_between_telescoped_ones_are_telescoped_with_them() -> None:
    """Weighted operators, too, but no neurons; what leads to or from a region stays outside."""
    b = Net()
    x = b.node("Sigmoid", b.conv(b.start(), 4, 4), name="one")
    y = b.node(
        "Add", b.node("Conv", x, b.const(np.ones((4, 4, 1, 1))), name="inside"), x, name="sum"
    )
    y = b.node("Tanh", b.node("MaxPool", y, name="pool", kernel_shape=[1, 1]), name="two")
    y = b.node("Relu", b.node("Identity", b.conv(y, 4, 4)), name="neuron")
    model = b.end(b.node("Softmax", b.conv(y, 4, 4), axis=1, name="three"))
    assert {n for n, role in roles(model).items() if role == "analog"} == {
        "one",
        "inside",
        "sum",
        "pool",
        "two",
        "three",
    }
    assert {site.name for site in model.parts.sites} == {"first", "neuron", "last"}


def drawn(b: Net, x: str) -> str:
    return b.node("Add", x, b.node("RandomNormalLike", x, name="culprit"))


def data_dependent(b: Net, x: str) -> str:
    found = b.node("NonZero", b.conv(x, 4, 4), name="culprit")
    return b.node("Add", x, b.node("Cast", b.node("ReduceSum", found, keepdims=0), to=1))


def reshaped(b: Net, x: str) -> str:
    ones = b.node("Cast", b.node("ReduceMax", x, keepdims=0), to=7)
    shape = b.node(
        "Add", b.node("Mul", ones, b.const(0, np.int64)), b.const([0, 4, 6, 5], np.int64)
    )
    return b.node("Reshape", b.conv(x, 4, 4), shape, name="culprit")


REFUSED = [
    (drawn, "RandomNormalLike", "it draws random numbers at every step"),
    (data_dependent, "NonZero", "the shape of its output would depend on spikes"),
    (
        reshaped,
        "Reshape",
        "the shape of its output would depend on spikes, by its input 'add5_out'",
    ),
]


@pytest.mark.parametrize(("block", "op", "reason"), REFUSED, ids=[case[1] for case in REFUSED])
def test_what_cannot_even_be_telescoped_is_refused_by_name(
    block: Callable[[Net, str], str], op: str, reason: str
) -> None:
    b = Net()
    model = b.end(block(b, b.start()))
    node, found_op, why = refusals(model)[0]
    assert (node, found_op, why) == ("culprit", op, reason)
    with pytest.raises(
        UnsupportedGraphError, match=rf"node 'culprit' \({op}\) cannot be converted: "
    ) as caught:
        model.parts.require_convertible()
    assert (caught.value.node, caught.value.op, caught.value.reason) == (node, found_op, why)
    assert caught.value.exit_code == 3


def test_recurrent_layers_are_refused_between_neurons() -> None:
    b = Builder()
    x = b.node(
        "Relu", b.node("MatMul", b.input("input", [4, "batch", 3]), b.const(np.ones((3, 5))))
    )
    x = b.node("MatMul", x, b.const(np.ones((5, 5))))
    weights = (b.const(b.rng.standard_normal((1, 15, 5))) for _ in range(2))
    x = b.node(
        "Squeeze", b.node("GRU", x, *weights, hidden_size=5, name="culprit"), b.const([1], np.int64)
    )
    b.name_output(b.node("MatMul", b.node("Relu", x), b.const(np.ones((5, 2)))), "output")
    model = staged(b.model({"output": [4, "batch", 2]}))
    assert refusals(model)[0] == (
        "culprit",
        "GRU",
        "recurrent layers are not supported between spiking layers",
    )


def test_whole_numbers_that_leave_the_core_are_refused() -> None:
    b = Net()
    b.name_output(
        b.node("ArgMax", b.conv(b.start(), 4, 4), axis=1, name="culprit", keepdims=1), "largest"
    )
    x = b.node("Relu", b.conv(b.node("Cast", "largest", to=1), 1, 4))
    b.name_output(b.conv(x, 4, 3), "output")
    proto = b.model({"output": ["batch", 3, None, None]})
    proto.graph.output.append(helper.make_tensor_value_info("largest", 7, ["batch", 1, None, None]))
    assert refusals(staged(proto))[0] == (
        "culprit",
        "ArgMax",
        "'largest' is int64, which has no mean for what comes behind",
    )


def test_an_activation_of_whole_numbers_is_refused() -> None:
    b = Net()
    x = b.node("Relu", b.node("Cast", b.conv(b.start(), 4, 4), to=6), name="culprit")
    model = b.end(b.node("Cast", x, to=1))
    assert refusals(model)[0] == (
        "culprit",
        "Relu",
        "it computes in int32; export the model in float32",
    )


@pytest.mark.parametrize("block", BLOCKS)
def test_every_linear_operator_is_taken_between_neurons(block: str) -> None:
    model = staged(assemble([block, "relu", block]))
    model.parts.require_convertible()
    assert len(model.parts.sites) >= 2


# Nothing to convert, or nothing but the ends.


def test_a_network_without_sites_has_nothing_to_convert() -> None:
    b = Builder()
    b.name_output(b.node("Relu", b.gemm(b.input("input", ["batch", 4]), 4, 3)), "output")
    model = staged(b.model({"output": ["batch", 3]}))
    with pytest.raises(
        UnsupportedGraphError, match="there is nothing to convert: the network has no activation"
    ):
        model.parts.require_convertible()


def test_an_activation_before_any_weight_belongs_to_the_encoder() -> None:
    b = Net()
    x = b.node(
        "Clip", b.input("input", ["batch", 2, 6, 5]), b.const(0.0), b.const(1.0), name="clamp"
    )
    x = b.node("Relu", b.conv(x, 2, 4), name="first")
    model = b.end(x)
    assert roles(model)["clamp"] == "encoder"
    assert [site.name for site in model.parts.sites] == ["first", "last"]


def test_an_activation_after_the_last_weight_belongs_to_the_readout() -> None:
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 4]), 4, 5), name="hidden")
    b.name_output(b.node("Relu", b.gemm(x, 5, 3), name="final"), "output")
    model = staged(b.model({"output": ["batch", 3]}))
    assert roles(model)["final"] == "readout"
    assert [site.name for site in model.parts.sites] == ["hidden"]


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid", "LeakyRelu", "Exp"])
def test_what_comes_after_the_last_neuron_acts_on_the_mean(op: str) -> None:
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 4]), 4, 5))
    b.name_output(b.node(op, b.gemm(x, 5, 3), name="end"), "output")
    model = staged(b.model({"output": ["batch", 3]}))
    model.parts.require_convertible()
    assert roles(model)["end"] == "readout"


@pytest.mark.parametrize("op", ["Log", "Sigmoid", "Abs"])
def test_what_comes_before_the_first_neuron_is_computed_once(op: str) -> None:
    b = Net()
    x = b.node(op, b.input("input", ["batch", 2, 6, 5]), name="start")
    x = b.node("Relu", b.node("Tanh", b.conv(x, 2, 4), name="squash"), name="first")
    model = b.end(x)
    model.parts.require_convertible()
    assert roles(model)["start"] == roles(model)["squash"] == "encoder"


def test_a_gate_that_is_constant_in_time_is_linear() -> None:
    b = Net()
    image = b.input("input", ["batch", 2, 6, 5])
    gate = b.node("Sigmoid", b.conv(image, 2, 4), name="gate")
    x = b.node("Mul", b.node("Relu", b.conv(image, 2, 4), name="first"), gate, name="gated")
    model = b.end(x)
    model.parts.require_convertible()
    assert (roles(model)["gate"], roles(model)["gated"]) == ("encoder", "linear")


def test_the_shape_of_a_spiking_tensor_is_constant_in_time() -> None:
    b = Net()
    x = b.start()
    y = b.node("Reshape", b.conv(x, 4, 4), b.node("Shape", x, name="shape"), name="reshaped")
    model = b.end(y)
    model.parts.require_convertible()
    assert (roles(model)["shape"], roles(model)["reshaped"]) == ("linear", "linear")


def test_a_dense_layer_with_a_shortcut_is_taken() -> None:
    """onnxruntime would make one Gemm of MatMul and Add, the shortcut its third input."""
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 4]), 4, 5))
    x = b.node("Relu", b.node("Add", b.node("MatMul", x, b.const(np.eye(5))), x), name="sum")
    b.name_output(b.gemm(x, 5, 3), "output")
    model = staged(b.model({"output": ["batch", 3]}))
    model.parts.require_convertible()
    assert "sum" in {site.name for site in model.parts.sites}


def test_supported_operators_are_not_fused_into_others() -> None:
    """The slices would be a SpaceToDepth, the rest a Gemm of a constant and a spiking tensor."""
    b = Builder()
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 6]), 2, 4))
    starts = [[row, column] for row in (0, 1) for column in (0, 1)]
    ends, axes, steps = (b.const(v, np.int64) for v in ([9, 9], [2, 3], [2, 2]))
    x = b.node(
        "Concat",
        *(b.node("Slice", x, b.const(s, np.int64), ends, axes, steps) for s in starts),
        axis=1,
    )
    x = b.node(
        "Transpose",
        b.node("Flatten", b.node("GlobalAveragePool", b.node("Relu", b.conv(x, 16, 4)))),
    )
    x = b.node(
        "Add",
        b.node("MatMul", b.const(np.ones((5, 4))), x, name="columns"),
        b.const(np.ones((5, 1))),
    )
    b.name_output(b.gemm(b.node("Transpose", b.node("Relu", x)), 5, 3), "output")
    parts = staged(b.model({"output": ["batch", 3]})).parts
    parts.require_convertible()
    assert {"Slice", "Concat", "MatMul"} <= {row.op for row in parts.rows}
    assert "columns" in {row.node for row in parts.rows}


# Sites.


def test_sites_know_bound_channels_and_shape() -> None:
    sites = {site.name: site for site in network("mobilenet").parts.sites}
    assert {site.upper for site in sites.values()} == {6.0}
    site = sites["depthwise"]
    assert (site.axis, site.channels, site.shape, site.source) == (
        1,
        18,
        ("batch", 18, 8, 8),
        "depthwise",
    )
    assert site.threshold_shape("channel") == (1, 18, 1, 1)
    assert site.threshold_shape("layer") == (1, 1, 1, 1)
    assert {s.upper for s in network("mlp").parts.sites} == {INFINITY}


def turned(b: Net, x: str) -> str:
    return b.node("Transpose", b.conv(x, 4, 4), perm=[0, 2, 3, 1])


def dense_last(b: Net, x: str) -> str:
    return b.node("Add", b.node("MatMul", x, b.const(np.ones((5, 7)))), b.const(np.ones(7)))


def summed(b: Net, x: str) -> str:
    return b.node("Add", b.conv(x, 4, 4), x)


def pooled(b: Net, x: str) -> str:
    return b.node("MaxPool", b.conv(x, 4, 4), kernel_shape=[2, 2])


@pytest.mark.parametrize(
    ("block", "axis", "channels"),
    [(turned, 3, 4), (dense_last, 3, 7), (summed, 1, 4), (pooled, 1, 4)],
)
def test_channels_lie_where_the_weights_put_them(
    block: Callable[[Net, str], str], axis: int, channels: int
) -> None:
    b = Net()
    x = b.node("Relu", block(b, b.start()), name="site")
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    b.name_output(b.node("MatMul", x, b.const(np.ones((6 if block is turned else 4, 2)))), "output")
    model = staged(b.model({"output": ["batch", 2]}))
    site = next(site for site in model.parts.sites if site.name == "site")
    assert (site.axis, site.channels) == (axis, channels)


def test_unknown_channels_mean_one_threshold() -> None:
    b = Builder()
    x = b.node("MatMul", b.input("input", ["batch", 3, "width"]), b.input("mix", ["width", "made"]))
    x = b.node("Relu", b.node("MatMul", b.const(np.ones((4, 3))), x), name="site")
    b.name_output(b.node("MatMul", b.const(np.ones((2, 4))), x), "output")
    model = staged(b.model({"output": ["batch", 2, "made"]}))
    (site,) = model.parts.sites
    assert site.channels is None
    assert site.threshold_shape("channel") == (1, 1, 1)


def test_upper_bounds_of_activations() -> None:
    b = Builder()
    x = b.input("input", ["batch", 4])
    for low, high in ((0.0, 6.0), (0.0, -1.0), (-1.0, 1.0), (0.0, 0.0)):
        x = b.node("Clip", x, b.const(low), b.const(high))
    b.name_output(b.node("Relu", x), "output")
    graph = to_graph(b.model({"output": ["batch", 4]}))
    assert [upper_bound(node) for node in graph.nodes] == [6.0, None, None, None, INFINITY]


def test_only_constant_weights_make_a_weighted_operator() -> None:
    b = Builder()
    x, w = b.input("input", ["batch", 4]), b.input("weights", [4, 4])
    x = b.node("MatMul", b.node("MatMul", x, w), b.const(np.eye(4)))
    x = b.node("Gemm", b.node("Gemm", x, w), b.const(np.eye(4)))
    b.name_output(b.node("Add", x, b.const(np.ones(4))), "output")
    graph = to_graph(b.model({"output": ["batch", 4]}))
    assert [is_weighted(node) for node in graph.nodes] == [False, True, False, True, False]
