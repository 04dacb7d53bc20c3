"""Behaviour of onnx2snn.prepare.normalise: a canonical graph that computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import BLOCKS, NETWORKS, SHAPES, Builder, assemble, inputs_for, mlp
from helpers.stages import (
    Array,
    feed_for,
    network,
    random_networks,
    reference,
    relative,
    samples,
    stable,
    staged,
)
from hypothesis import given
from onnx import helper

from onnx2snn.errors import ModelFileError, UnsupportedGraphError
from onnx2snn.graph.dims import rank
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Graph
from onnx2snn.pipeline.stage_checks import run_model
from onnx2snn.prepare.normalise import normalise
from onnx2snn.prepare.simplify import MINIMUM_OPSET
from onnx2snn.protos.load import load_model

TOLERANCE = 1e-5


def normalised(model: onnx.ModelProto) -> Graph:
    return normalise(load_model(model))


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def assert_same(model: onnx.ModelProto, graph: Graph, feed: dict[str, Array]) -> None:
    for found, wanted in zip(reference(graph, feed), reference(model, feed), strict=True):
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        assert relative(found, wanted) <= TOLERANCE


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_the_same(name: str) -> None:
    model = network(name)
    assert_same(model.source.proto, model.normalised, samples(name, 3))


@pytest.mark.parametrize("block", BLOCKS)
def test_every_operator_computes_the_same(block: str) -> None:
    proto = assemble([block, "relu", block], seed=1)
    assert_same(proto, normalised(proto), feed_for(proto))


@given(random_networks())
@stable(30)
def test_any_network_computes_the_same_and_is_canonical(proto: onnx.ModelProto) -> None:
    graph = normalised(proto)
    assert_same(proto, graph, feed_for(proto))
    assert not {"Dropout", "Identity", "BatchNormalization", "Sub", "Div", "Neg", "Constant"} & {
        node.op
        for node in graph.nodes
        if any(constant(t) is not None for t in node.inputs) or len(node.inputs) == 1
    }
    names = [node.name for node in graph.nodes]
    assert all(names) and len(set(names)) == len(names)


CANONICAL = [
    ("relu", ["Relu"]),
    ("identity", []),
    ("dropout", []),
    ("batch norm", ["Mul", "Add"]),
    ("mul channels", ["Mul"]),
    ("div", ["Mul"]),
    ("sub", ["Add"]),
    ("constant minus", ["Mul", "Add"]),
    ("negate", ["Mul"]),
    ("sub shortcut", ["Conv", "Sub"]),
    ("matmul shortcut", ["Flatten", "MatMul", "Add", "Reshape"]),
]


@pytest.mark.parametrize(("block", "wanted"), CANONICAL)
def test_the_canonical_form_of_an_operator(block: str, wanted: Sequence[str]) -> None:
    """Between two activations: Conv, Relu, the block, Relu, ..."""
    graph = normalised(assemble([block, "relu"]))
    found = ops(graph)[2 : -4 or None]
    assert found == [*wanted, "Relu"] if block != "relu" else found == ["Relu", "Relu"]
    for node in graph.nodes:
        if node.op in ("Add", "Mul") and any(constant(t) is not None for t in node.inputs):
            assert constant(node.inputs[1]) is not None


def feed(rows: int = 3) -> dict[str, Array]:
    return {"input": np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)}


@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [
        ((0.0, np.inf), "Relu"),
        ((0.0, None), "Relu"),
        ((0.0, 6.0), "Clip"),
        ((-1.0, np.inf), "Clip"),
        ((None, 6.0), "Clip"),
    ],
)
def test_a_clip_without_upper_bound_is_a_relu(
    bounds: tuple[float | None, float | None], wanted: str
) -> None:
    b = Builder()
    names = ["" if bound is None else b.const(bound) for bound in bounds]
    b.name_output(b.node("Clip", b.gemm(b.input("input", ["batch", 4]), 4, 5), *names), "output")
    proto = b.model({"output": ["batch", 5]})
    graph = normalised(proto)
    assert ops(graph) == ["Gemm", wanted]
    assert_same(proto, graph, feed())


@pytest.mark.parametrize("op", ["Identity", "Dropout"])
@pytest.mark.parametrize("both", [False, True])
def test_an_identity_that_makes_an_output_keeps_the_outputs_name(op: str, both: bool) -> None:
    """With `both`, what goes into it is an output too, and the two need two names."""
    b = Builder()
    x = b.gemm(b.input("input", ["batch", 4]), 4, 5)
    if both:
        b.name_output(x, "before")
    b.name_output(b.node(op, "before" if both else x), "output")
    proto = b.model({name: ["batch", 5] for name in (["before"] if both else []) + ["output"]})
    graph = normalised(proto)
    assert ops(graph) == ["Gemm", "Identity"] if both else ["Gemm"]
    assert [t.name for t in graph.outputs] == [v.name for v in proto.graph.output]
    assert_same(proto, graph, feed())


def test_an_input_that_is_an_output_stays_one() -> None:
    b = Builder()
    x = b.input("input", ["batch", 4])
    b.name_output(b.node("Identity", x), "same")
    b.name_output(b.gemm(x, 4, 5), "output")
    proto = b.model({"same": ["batch", 4], "output": ["batch", 5]})
    assert_same(proto, normalised(proto), feed())


def test_nodes_without_a_name_get_one() -> None:
    proto = mlp()
    for node in proto.graph.node:
        node.name = ""
    graph = normalised(proto)
    names = [node.name for node in graph.nodes]
    assert all(names) and len(set(names)) == len(names)
    assert_same(proto, graph, samples("mlp", 2))


def test_initializers_listed_as_inputs_are_weights() -> None:
    """IR 3 lists every initializer among the inputs, where a caller could override it."""
    proto = mlp()
    listed = onnx.ModelProto()
    listed.CopyFrom(proto)
    for tensor in proto.graph.initializer:
        listed.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    listed.ir_version = 3
    graph = normalised(listed)
    assert [t.name for t in graph.inputs] == ["input"]
    assert all(constant(node.inputs[1]) is not None for node in graph.nodes if node.op == "Gemm")
    assert_same(proto, graph, samples("mlp", 2))


@pytest.mark.parametrize("opset", [11, 13, 17, 20])
def test_old_opsets_are_raised_and_new_ones_kept(opset: int) -> None:
    b = Builder()
    x = b.input("input", ["batch", 4])
    for size in (5, 4, 3):
        x = b.node(
            "Relu",
            b.node(
                "Gemm", x, b.const(np.ones((x_size := {5: 4, 4: 5, 3: 4}[size], size)) / x_size)
            ),
        )
    b.name_output(b.node("Softmax", x, axis=1), "output")
    proto = b.model({"output": ["batch", 3]}, opset=opset)
    graph = normalised(proto)
    assert graph.opset == max(opset, MINIMUM_OPSET)
    assert_same(proto, graph, feed())


@pytest.mark.parametrize("bounds", [{"min": 0.0, "max": 6.0}, {"min": 0.0}])
def test_bounds_that_were_attributes_before_opset_11_are_constants(bounds: dict[str, Any]) -> None:
    b = Builder()
    x = b.node("Clip", b.gemm(b.input("input", ["batch", 4]), 4, 5), **bounds)
    b.name_output(b.gemm(x, 5, 3), "output")
    proto = b.model({"output": ["batch", 3]}, opset=10, ir=5)
    graph = normalised(proto)
    assert ops(graph) == ["Gemm", "Clip" if "max" in bounds else "Relu", "Gemm"]
    assert_same(proto, graph, feed())


def test_an_opset_that_cannot_be_raised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> onnx.ModelProto:
        raise RuntimeError("no adapter for Foo")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fail)
    b = Builder()
    b.name_output(b.node("Relu", b.gemm(b.input("input", ["batch", 4]), 4, 5)), "output")
    proto = b.model({"output": ["batch", 5]}, opset=13)
    with pytest.raises(UnsupportedGraphError, match=r"opset 13 .*no adapter for Foo.*opset 18"):
        normalised(proto)


def test_a_model_onnxruntime_cannot_load_is_refused() -> None:
    proto = mlp()
    proto.graph.node[1].domain = "nobody.knows"
    proto.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    with pytest.raises(ModelFileError, match="onnxruntime cannot load"):
        normalised(proto)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_a_gemm_that_adds_a_tensor_is_taken_apart(beta: float) -> None:
    b = Builder()
    x = b.input("input", ["batch", 4])
    b.name_output(
        b.node("Gemm", x, b.const(np.eye(4) + 1), x, alpha=2.0, beta=beta, name="sum"), "output"
    )
    proto = b.model({"output": ["batch", 4]})
    graph = normalised(proto)
    assert ops(graph) == ["Gemm", "Add"] if beta == 1 else ["Gemm", "Mul", "Add"]
    assert_same(proto, graph, feed())


def test_inputs_and_outputs_may_have_another_float_type() -> None:
    b = Builder()
    x = b.node("Cast", b.input("input", ["batch", 4], np.float16), to=onnx.TensorProto.FLOAT)
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 4, 5)), 5, 3), "output")
    assert ops(normalised(b.model({"output": ["batch", 3]}))) == ["Cast", "Gemm", "Relu", "Gemm"]


def branching(captured: bool) -> onnx.ModelProto:
    """An If behind two dense layers, whose branches return the logits or a constant."""
    b = Builder()
    x = b.gemm(b.node("Relu", b.gemm(b.input("input", ["batch", 4]), 4, 5)), 5, 3)
    value = helper.make_tensor_value_info("value", onnx.TensorProto.FLOAT, None)
    source = x if captured else b.const(np.ones((1, 3)))
    branch = helper.make_graph(
        [helper.make_node("Neg", [source], ["value"])], "branch", [], [value]
    )
    condition = b.node("Greater", b.node("ReduceSum", x, keepdims=0), b.const(0.0))
    b.name_output(
        b.node("If", condition, name="choice", then_branch=branch, else_branch=branch), "output"
    )
    return b.model({"output": [None, 3]})


def test_a_subgraph_that_reads_tensors_around_it_takes_them_as_inputs() -> None:
    proto = branching(captured=True)
    graph = normalised(proto)
    (loop,) = [node for node in graph.nodes if node.name == "choice"]
    assert "gemm2_out" in [tensor.name for tensor in loop.inputs]
    # the reference stacks the outputs of a Loop along an axis that is there already
    wanted, found = (run_model(model, feed(), 1) for model in (proto, graph))
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-6)


def test_a_subgraph_that_reads_constants_alone_is_taken() -> None:
    proto = branching(captured=False)
    assert_same(proto, normalised(proto), feed())


def test_batch_norm_in_training_mode_is_refused() -> None:
    b = Builder()
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 4, 4]), 2, 3))
    ones = [b.const(np.ones(3)) for _ in range(4)]
    b.name_output(
        b.node("BatchNormalization", x, *ones, name="trains", training_mode=1, outputs=3), "output"
    )
    with pytest.raises(
        UnsupportedGraphError, match=r"'trains' .*in training mode; export the model for inference"
    ):
        normalised(b.model({"output": ["batch", 3, 4, 4]}))


def test_a_dropout_whose_mask_is_used_stays() -> None:
    b = Builder()
    x = b.node("Dropout", b.gemm(b.input("input", ["batch", 4]), 4, 5), outputs=2, name="drop")
    b.name_output(b.node("Where", "drop_out1", x, b.const(0.0)), "output")
    proto = b.model({"output": ["batch", 5]})
    assert_same(proto, normalised(proto), feed())


def test_batch_norm_with_computed_parameters_stays() -> None:
    b = Builder()
    x, scale = b.input("input", ["batch", 4]), b.input("scale", [4])
    b.name_output(
        b.node("BatchNormalization", x, scale, *(b.const(np.ones(4)) for _ in range(3))), "output"
    )
    proto = b.model({"output": ["batch", 4]})
    graph = normalised(proto)
    assert ops(graph) == ["BatchNormalization"]
    assert_same(proto, graph, feed() | {"scale": np.arange(4, dtype=np.float32)})


def test_shapes_are_known_after_normalising() -> None:
    for name in NETWORKS:
        graph = network(name).normalised
        assert all(t.shape is not None and t.dtype is not None for t in graph.tensors().values())
        assert rank(graph.outputs[0]) == len(reference(graph, samples(name, 1))[0].shape)


def test_float_constants_keep_their_type() -> None:
    for block in ("batch norm", "div", "constant minus", "negate"):
        graph = normalised(assemble([block, "relu"]))
        constants = [constant(tensor) for node in graph.nodes for tensor in node.inputs]
        kinds = {str(value.dtype) for value in constants if value is not None}
        assert kinds == {"float32"}


def test_integer_arithmetic_is_left_alone() -> None:
    b = Builder()
    x = b.input("input", ["batch", 4])
    size = b.node("Sub", b.node("Shape", x), b.const([0, 0], np.int64))
    b.name_output(b.node("Reshape", b.node("Relu", b.gemm(x, 4, 4)), size), "output")
    proto = b.model({"output": ["batch", 4]})
    assert_same(proto, normalised(proto), feed())


def test_every_batch_size_goes() -> None:
    proto = NETWORKS["resnet"]()
    graph = normalised(proto)
    for count in (1, 5):
        assert_same(proto, graph, {"input": inputs_for("resnet", count)})
    assert SHAPES["resnet"] == (2, 8, 8)


def test_staged_is_a_pure_function() -> None:
    """The same model gives the same graph."""
    one, other = (staged(NETWORKS["vgg"]()) for _ in range(2))
    assert [(n.op, n.name) for n in one.arranged.nodes] == [
        (n.op, n.name) for n in other.arranged.nodes
    ]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("opset", "scale"), [(7, 2.0), (9, 2.0), (9, 1.5), (10, 1.5), (10, 0.5)])
def test_images_are_resized_as_they_were_before_opset_11(
    mode: str, opset: int, scale: float
) -> None:
    b = Builder()
    x = b.input("input", ["batch", 2, 6, 8])
    if opset == 7:
        x = b.node("Upsample", x, scales=[1.0, 1.0, scale, scale], mode=mode)
    else:
        scales = b.const([1, 1, scale, scale], np.float32)
        x = b.node("Upsample" if opset == 9 else "Resize", x, scales, mode=mode)
    b.name_output(b.node("Relu", b.conv(x, 2, 3)), "output")
    proto = b.model({"output": ["batch", 3, None, None]}, opset=opset)
    feed = {"input": np.random.default_rng(0).standard_normal((2, 2, 6, 8)).astype(np.float32)}
    (wanted,), (found,) = (run_model(model, feed, 1) for model in (proto, normalised(proto)))
    assert relative(found, wanted) <= 1e-6
