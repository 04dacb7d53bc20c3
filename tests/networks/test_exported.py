"""Models as exporters make them convert; their spiking models answer as the files do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from helpers.networks import Builder, Dims, mlp, resnet, vgg
from helpers.stages import Array, relative
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx2snn import Conversion, DataError, SpikingSession, UnsupportedGraphError, convert
from onnx2snn.data.random import index_bounds
from onnx2snn.protos.load import load_model
from onnx2snn.protos.sessions import open_session

pytestmark = pytest.mark.slow

TIMESTEPS = 256


def original(model: onnx.ModelProto, feed: Mapping[str, Array]) -> list[Array]:
    """The outputs of the file as it is, by ONNX's reference implementation."""
    return list(ReferenceEvaluator(model).run(None, dict(feed)))


def spiking(model: onnx.ModelProto, feed: Mapping[str, Array]) -> tuple[Conversion, list[Array]]:
    conversion = convert(model, dict(feed), method="max", timesteps=TIMESTEPS, delay=0)
    return conversion, SpikingSession(conversion.model).run(None, feed)


def assert_converts(
    model: onnx.ModelProto, feed: Mapping[str, Array], bound: float = 0.05
) -> Conversion:
    conversion, found = spiking(model, feed)
    for spikes, wanted in zip(found, original(model, feed), strict=True):
        assert spikes.dtype == wanted.dtype and spikes.shape == wanted.shape
        assert relative(spikes, wanted) <= bound
    emitted = conversion.model.graph
    assert list(emitted.input[: len(feed)]) == [v for v in model.graph.input if v.name in feed]
    assert list(emitted.output[: len(found)]) == list(model.graph.output)
    return conversion


def images(*shape: int, dtype: Any = np.float32) -> dict[str, Array]:
    return {"input": np.random.default_rng(0).standard_normal(shape).astype(dtype)}


# --- float types ---


@pytest.mark.parametrize(("dtype", "bound"), [(np.float16, 0.05), (np.float64, 0.05)])
def test_networks_in_another_float_type_compute_in_float32_and_keep_their_inputs_and_outputs(
    dtype: type, bound: float
) -> None:
    conversion = assert_converts(resnet(0, dtype), images(8, 2, 8, 8, dtype=dtype), bound)
    kinds = {t.data_type for t in conversion.model.graph.initializer}
    assert TensorProto.FLOAT in kinds and not kinds & {TensorProto.FLOAT16, TensorProto.DOUBLE}


# --- where weights come from ---


def from_constants(model: onnx.ModelProto) -> None:
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    replace(model, nodes)


def computed(model: onnx.ModelProto) -> None:
    """w = (w / 2) * 2, by nodes that could be folded."""
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    halves = [
        numpy_helper.from_array(numpy_helper.to_array(t) / 2, f"{t.name}/half")
        for t in model.graph.initializer
    ]
    nodes = [
        helper.make_node("Mul", [t.name, "two"], [t.name.removesuffix("/half")]) for t in halves
    ]
    replace(model, nodes, [*halves, two])


def of_shape(model: onnx.ModelProto) -> None:
    """Biases from ConstantOfShape."""
    nodes, kept = [], []
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 1:
            shape = numpy_helper.from_array(np.array(tensor.dims, np.int64), f"{tensor.name}/shape")
            value = numpy_helper.from_array(np.array([0.1], np.float32))
            nodes.append(
                helper.make_node("ConstantOfShape", [shape.name], [tensor.name], value=value)
            )
            kept.append(shape)
        else:
            kept.append(tensor)
    replace(model, nodes, kept)


def replace(
    model: onnx.ModelProto,
    before: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto] = (),
) -> None:
    body, kept = (
        list(model.graph.node),
        [onnx.TensorProto.FromString(t.SerializeToString()) for t in initializers],
    )
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend([*before, *body])


def listed_as_inputs(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    model.ir_version = 3


def nameless(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = ""


def dequantised(model: onnx.ModelProto) -> None:
    """Weights in int8, from DequantizeLinear."""
    model.opset_import[0].version = 19
    nodes, kept = [], []
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 1:
            kept.append(tensor)
            continue
        values = numpy_helper.to_array(tensor)
        scale = np.float32(np.abs(values).max() / 127)
        names = [f"{tensor.name}/{part}" for part in ("int8", "scale")]
        kept += [numpy_helper.from_array(np.rint(values / scale).astype(np.int8), names[0])]
        kept += [numpy_helper.from_array(np.array(scale), names[1])]
        nodes.append(helper.make_node("DequantizeLinear", names, [tensor.name]))
    replace(model, nodes, kept)


CHANGES = {
    f.__name__: f
    for f in (from_constants, computed, of_shape, listed_as_inputs, nameless, dequantised)
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_may_come_from_anything_constant(change: str) -> None:
    model = vgg()
    CHANGES[change](model)
    assert_converts(model, images(8, 1, 8, 8))


# --- versions ---


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_every_opset_from_7_on(opset: int) -> None:
    b = Builder()
    x = b.input("input", ["batch", 4, 6, 6])
    x = b.node(
        "MaxPool",
        b.node("Relu", b.conv(x, 4, 6), name="first"),
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    x = b.node("Flatten", b.node("Relu", b.node("Add", b.conv(x, 6, 6), x), name="second"))
    b.name_output(b.gemm(x, 54, 3), "output")
    assert_converts(
        b.model({"output": ["batch", 3]}, opset, ir=13 if opset > 21 else 8), images(8, 4, 6, 6)
    )


@pytest.mark.parametrize("ir", range(3, onnx.IR_VERSION + 1))
def test_every_ir_version_from_3_on(ir: int) -> None:
    model = mlp()
    if ir < 4:
        listed_as_inputs(model)
    model.ir_version = ir
    assert_converts(model, images(8, 10))


# --- inputs and outputs ---


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float64])
def test_an_input_of_any_number_type_is_cast_in_the_encoder(dtype: type) -> None:
    b = Builder()
    x = b.node("Cast", b.input("input", ["batch", 2, 6, 6], dtype), to=TensorProto.FLOAT)
    x = b.node("Relu", b.conv(b.node("Mul", x, b.const(0.01)), 2, 4))
    b.name_output(b.gemm(b.node("Flatten", b.node("Relu", b.conv(x, 4, 4))), 144, 3), "output")
    values: Array = np.random.default_rng(0).integers(0, 255, (8, 2, 6, 6)).astype(dtype)
    assert_converts(b.model({"output": ["batch", 3]}), {"input": values})


def test_a_fixed_batch_may_be_baked_into_reshapes() -> None:
    b = Builder()
    x = b.node("Relu", b.conv(b.input("input", [1, 2, 4, 4]), 2, 4))
    x = b.node("Reshape", b.node("Relu", b.conv(x, 4, 4)), b.const([1, 64], np.int64))
    x = b.node("Relu", b.gemm(x, 64, 8))
    b.name_output(b.gemm(b.node("Reshape", x, b.const([1, -1], np.int64)), 8, 3), "output")
    model = b.model({"output": [1, 3]})
    feeds = images(20, 2, 4, 4)["input"]
    conversion = convert(model, feeds, method="max", timesteps=TIMESTEPS, delay=0)
    session = SpikingSession(conversion.model)
    for x in feeds[:4, None]:
        (wanted,) = original(model, {"input": x})
        assert relative(session.run(None, {"input": x})[0], wanted) <= 0.05


def test_several_inputs_and_outputs_also_from_inside_the_core_and_unused_ones() -> None:
    b = Builder()
    left, right = b.input("left", ["batch", 4]), b.input("right", ["batch", 6])
    b.input("unused", ["batch", 2])
    x = b.node("Relu", b.node("Add", b.gemm(left, 4, 8), b.gemm(right, 6, 8)))
    b.name_output(b.node("Relu", b.gemm(x, 8, 8)), "hidden")  # feeds the next layer, too
    current = b.name_output(b.gemm("hidden", 8, 8), "current")
    y = b.node("Relu", current)
    b.node("Neg", y, name="nobody_wants_this")
    b.name_output(b.gemm(y, 8, 3), "output")
    b.name_output(b.node("Neg", right), "minus")
    model = b.model(
        {
            "output": ["batch", 3],
            "hidden": ["batch", 8],
            "current": ["batch", 8],
            "minus": ["batch", 6],
        }
    )
    rng = np.random.default_rng(0)
    shapes = {"left": (8, 4), "right": (8, 6), "unused": (8, 2)}
    assert_converts(
        model, {name: rng.standard_normal(s).astype(np.float32) for name, s in shapes.items()}
    )


# --- shared weights ---


def test_one_head_on_several_levels_gets_the_scale_of_each_level() -> None:
    """A RetinaNet head: the same weights, thresholds of their own at every level."""
    b = Builder()
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 16, 16]), 2, 4))
    shared = [
        b.const(b.rng.standard_normal((4, 4, 3, 3)) * 0.2),
        b.const(b.rng.standard_normal(4) * 0.1),
    ]
    outputs: dict[str, Dims] = {}
    for level in range(5):
        gain = b.const(3.0**level)
        y = b.node(
            "Relu",
            b.node("Conv", b.node("Mul", x, gain), *shared, pads=[1] * 4),
            name=f"head{level}",
        )
        b.name_output(b.node("Conv", y, *shared, pads=[1] * 4), f"level{level}")
        outputs[f"level{level}"] = ["batch", 4, None, None]
        if level < 4:
            step = 2 if level < 3 else 1
            x = b.node("Relu", b.conv(x, 4, 4, strides=[step, step]))
    model = b.model(outputs)
    conversion = assert_converts(model, images(8, 2, 16, 16))
    heads = [s for s in conversion.report.sites if s["name"].startswith("head")]
    tops = [s["threshold"]["max"] for s in heads]
    assert len(tops) == 5 and len(set(tops)) == 5


# --- control flow, recurrence, quantisation ---


def network_with(make: Callable[[Builder, str], str], where: str) -> onnx.ModelProto:
    """Three Dense, two Relu, and something [batch,8] -> [batch,8] before, between or behind."""
    b = Builder()
    x = b.input("input", ["batch", 8])
    x = make(b, x) if where == "encoder" else x
    x = b.node("Relu", b.gemm(x, 8, 8))
    x = make(b, x) if where == "core" else x
    x = b.gemm(b.node("Relu", b.gemm(x, 8, 8)), 8, 8)
    b.name_output(make(b, x) if where == "readout" else x, "output")
    return b.model({"output": ["batch", 8]}, opset=19)


def branches(b: Builder, x: str, condition: str) -> str:
    value = helper.make_tensor_value_info("value", TensorProto.FLOAT, None)
    then, other = (
        helper.make_graph([helper.make_node(op, [x], ["value"])], op, [], [value])
        for op in ("Neg", "Identity")
    )
    return b.node("If", condition, name="choice", then_branch=then, else_branch=other)


@pytest.mark.parametrize("where", ["encoder", "core", "readout"])
@pytest.mark.parametrize("taken", [True, False])
def test_an_if_on_a_constant_is_the_branch_it_takes(where: str, taken: bool) -> None:
    model = network_with(lambda b, x: branches(b, x, b.const(taken, np.bool_)), where)
    assert_converts(model, images(8, 8))


@pytest.mark.parametrize("coding", ["rate", "differential"])
@pytest.mark.parametrize("where", ["encoder", "core", "readout"])
def test_an_if_on_a_value_takes_the_branch_of_the_ann(where: str, coding: Any) -> None:
    def make(b: Builder, x: str) -> str:
        return branches(b, x, b.node("Greater", b.node("ReduceSum", x, keepdims=0), b.const(0.0)))

    model = network_with(make, where)
    feed = images(8, 8)
    made = convert(model, feed, method="max", coding=coding, timesteps=200)
    (found,) = SpikingSession(made.model).run(None, feed)
    (wanted,) = original(model, feed)
    assert relative(found, wanted) <= 0.05


def recurrent(b: Builder, x: str, op: str) -> str:
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    weights = [b.const(b.rng.standard_normal((1, 8 * gates, 8)) * 0.3) for _ in range(2)]
    y = b.node(
        op,
        b.node("Unsqueeze", x, b.const([0], np.int64)),
        *weights,
        name="recurrent",
        hidden_size=8,
    )
    return b.node("Squeeze", y, b.const([0, 1], np.int64))


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_recurrent_operators_are_refused_between_neurons_and_kept_around_them(op: str) -> None:
    for where in ("encoder", "readout"):
        assert_converts(network_with(lambda b, x: recurrent(b, x, op), where), images(8, 8))
    with pytest.raises(UnsupportedGraphError, match=rf"node 'recurrent' \({op}\)"):
        between = network_with(lambda b, x: recurrent(b, b.gemm(x, 8, 8), op), "core")
        convert(between, images(8, 8), preset="paper")


def quantised(b: Builder, x: str) -> str:
    scale = [b.const(0.05), b.const(0, np.int8)]
    return b.node("DequantizeLinear", b.node("QuantizeLinear", x, *scale, name="quantise"), *scale)


def test_quantised_networks_are_refused_by_name_and_quantised_ends_are_kept() -> None:
    for where in ("encoder", "readout"):
        assert_converts(network_with(quantised, where), images(8, 8))
    with pytest.raises(
        UnsupportedGraphError, match=r"node 'quantise' \(QuantizeLinear\).*floating-point model"
    ):
        convert(network_with(quantised, "core"), images(8, 8))


def test_integer_layers_are_refused_by_name() -> None:
    b = Builder()
    x = b.node("Cast", b.input("input", ["batch", 4]), to=TensorProto.INT8)
    x = b.node("MatMulInteger", x, b.const(np.ones((4, 3)), np.int8), name="product")
    b.name_output(b.node("Cast", x, to=TensorProto.FLOAT), "output")
    with pytest.raises(UnsupportedGraphError, match=r"node 'product' \(MatMulInteger\).*quantised"):
        convert(b.model({"output": ["batch", 3]}), images(8, 4))


# --- files of the onnx wheel ---

WHEEL = Path(onnx.__file__).parent / "backend" / "test" / "data" / "pytorch-converted"


@pytest.mark.parametrize(
    "kind", ["AvgPool", "BatchNorm", "Conv", "GLU", "Linear", "PReLU", "Softsign"]
)
def test_files_older_than_onnxruntime_compute_what_they_are_stored_with(kind: str) -> None:
    """Opset 6: broadcasting, slopes along axis 1, attributes that are gone."""
    paths = sorted(WHEEL.glob(f"test_{kind}*/model.onnx"))
    assert paths
    for path in paths:
        model = load_model(path).proto
        given = {t.name for t in model.graph.initializer}
        (name,) = [v.name for v in model.graph.input if v.name not in given]
        x, wanted = (
            onnx.load_tensor(path.parent / "test_data_set_0" / f"{which}_0.pb")
            for which in ("input", "output")
        )
        (found,) = open_session(model, 1).run(None, {name: numpy_helper.to_array(x)})
        np.testing.assert_allclose(found, numpy_helper.to_array(wanted), rtol=1e-3, atol=1e-5)


def test_an_opset_before_7_that_cannot_be_raised_is_refused_with_the_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> onnx.ModelProto:
        raise RuntimeError("no adapter for Foo")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fail)
    with pytest.raises(
        UnsupportedGraphError,
        match=r"opset 6 cannot be raised to 7 \(no adapter.*export with opset 18",
    ):
        load_model(WHEEL / "test_AvgPool2d" / "model.onnx")


# --- indices ---


@pytest.mark.parametrize("through", ["", "Cast", "Unsqueeze"])
def test_random_indices_are_taken_from_the_smallest_table_they_are_read_from(through: str) -> None:
    """Without calibration data, a conversion with random tokens must not read past a vocabulary."""
    b = Builder()
    tokens = b.input("tokens", ["batch", 5], np.int32 if through == "Cast" else np.int64)
    table, small = (b.const(b.rng.standard_normal((rows, 6))) for rows in (11, 7))
    if through:
        more: dict[str, Any] = {"to": TensorProto.INT64} if through == "Cast" else {}
        tokens = b.node(
            through, tokens, *([b.const([1], np.int64)] if through == "Unsqueeze" else []), **more
        )
    x = b.node("Add", b.node("Gather", table, tokens), b.node("Gather", small, tokens))
    x = b.node("Relu", b.gemm(b.node("Flatten", x), 30, 8))
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 8, 8)), 8, 3), "output")
    model = b.model({"output": ["batch", 3]})
    assert index_bounds(model) == {"tokens": 7}
    with pytest.warns(UserWarning, match="no calibration data"):
        convert(model, timesteps=4)


def test_random_words_past_a_vocabulary_the_graph_does_not_tell_are_explained() -> None:
    b = Builder()
    tokens = b.node("Add", b.input("tokens", ["batch", 5], np.int64), b.const(20, np.int64))
    x = b.node("Gather", b.const(b.rng.standard_normal((11, 6))), tokens)
    x = b.node("Relu", b.gemm(b.node("Flatten", x), 30, 8))
    b.name_output(b.gemm(x, 8, 3), "output")
    with pytest.raises(
        DataError,
        match=r"random inputs \(values of input 'tokens' drawn from 0 and 1.*calibration",
    ):
        convert(b.model({"output": ["batch", 3]}), timesteps=4)


def test_a_batch_baked_into_a_model_that_declares_a_free_one_is_explained() -> None:
    b = Builder()
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 4, 4]), 2, 4))
    x = b.node("Reshape", b.node("Relu", b.conv(x, 4, 4)), b.const([1, 64], np.int64))
    b.name_output(b.gemm(x, 64, 3), "output")
    with pytest.raises(
        DataError, match=r"one sample at a time.*'input'.*fix its batch dimension to 1"
    ):
        convert(b.model({"output": [1, 3]}), images(8, 2, 4, 4))


# --- float types, once more: where they are not at the ends ---


def inner(kind: int) -> onnx.ModelProto:
    """Dense layers in another float type between casts."""
    b = Builder()
    x = b.node("Cast", b.input("input", ["batch", 8]), to=kind)
    for size in (16, 12, 4):
        weights = b.node(
            "Cast",
            b.const(
                b.rng.standard_normal((8 if size == 16 else 16 if size == 12 else 12, size)) / 3
            ),
            to=kind,
        )
        x = b.node("MatMul", x, weights)
        x = b.node("Relu", x) if size > 4 else x
    b.name_output(b.node("Cast", x, to=TensorProto.FLOAT), "output")
    return b.model({"output": ["batch", 4]})


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_layers_between_casts_to_another_float_type_compute_in_float32(kind: int) -> None:
    assert_converts(inner(kind), images(8, 8))


def test_a_type_no_layer_computes_in_stays() -> None:
    """Sizes computed in float64, where float32 would round 2^24 + 1; weights stored in float16."""
    b = Builder()
    weights = b.node(
        "Cast", b.const(b.rng.standard_normal((8, 6)) / 3, np.float16), to=TensorProto.FLOAT
    )
    x = b.node("Relu", b.node("MatMul", b.input("input", ["batch", 8]), weights))
    b.name_output(b.gemm(x, 6, 3), "output")
    shift = b.node("Sub", b.const(2.0**24 + 1, np.float64), b.const(2.0**24, np.float64))
    rows = b.node("Mul", b.node("Cast", b.node("Shape", "output"), to=TensorProto.DOUBLE), shift)
    b.name_output(b.node("Cast", rows, to=TensorProto.FLOAT), "rows")
    model = b.model({"output": ["batch", 3], "rows": [2]})
    assert_converts(model, images(8, 8))
    assert load_model(model).proto == model


def test_an_input_in_bfloat16_is_refused_with_the_mend() -> None:
    b = Builder()
    x = b.node("Cast", b.input("input", ["batch", 8], ml_dtypes.bfloat16), to=TensorProto.FLOAT)
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 8, 8)), 8, 3), "output")
    with pytest.raises(
        UnsupportedGraphError, match=r"'input bfloat16\[batch,8\]'; declare it as float32"
    ):
        convert(b.model({"output": ["batch", 3]}), images(8, 8, dtype=ml_dtypes.bfloat16))
