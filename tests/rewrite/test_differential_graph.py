"""Networks in differential coding, against their definition: alphabets, sums, products, silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.ladder import alphabet
from helpers.networks import (
    ASSEMBLED_INPUT,
    BLOCKS,
    NETWORKS,
    Builder,
    assemble,
    inputs_for,
)
from helpers.stages import random_networks, stable
from hypothesis import given
from onnx import numpy_helper

from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos.sessions import open_session
from onnx2snn.settings import Settings
from onnx2snn.snn.step_model import StepModel, read_step_model

Tensors = dict[str, Any]


def attention(tokens: int = 5, width: int = 8, heads: int = 2) -> onnx.ModelProto:
    """A block of softmax attention with LayerNorm and GELU, as exporters write it."""
    b = Builder(3)
    x = b.input("input", ["batch", tokens, width])

    def dense(y: str, cin: int, cout: int) -> str:
        w = b.const(b.rng.standard_normal((cin, cout)) / np.sqrt(cin))
        return b.node("Add", b.node("MatMul", y, w), b.const(b.rng.standard_normal(cout) / 4))

    def split(y: str) -> str:
        shape = b.const([0, tokens, heads, width // heads], np.int64)
        return b.node("Transpose", b.node("Reshape", y, shape), perm=[0, 2, 1, 3])

    x = dense(x, width, width)
    y = b.node("LayerNormalization", x, b.const(np.ones(width)), b.const(np.zeros(width)), axis=-1)
    q, k, v = (split(dense(y, width, width)) for _ in range(3))
    scores = b.node("MatMul", q, b.node("Transpose", k, perm=[0, 1, 3, 2]))
    weights = b.node("Softmax", b.node("Mul", scores, b.const([0.5])), axis=-1)
    mixed = b.node("Transpose", b.node("MatMul", weights, v), perm=[0, 2, 1, 3])
    mixed = b.node("Reshape", mixed, b.const([0, tokens, width], np.int64))
    x = b.node("Add", x, dense(mixed, width, width))
    h = dense(x, width, 2 * width)
    gate = b.node("Erf", b.node("Mul", h, b.const([1 / np.sqrt(2)])))
    h = b.node("Mul", h, b.node("Mul", b.node("Add", gate, b.const([1.0])), b.const([0.5])))
    b.name_output(dense(h, 2 * width, 3), "output")
    return b.model({"output": ["batch", tokens, 3]})


def settings(**options: Any) -> Settings:
    return Settings(preset="differential", **{"method": "max", "start": "zero", **options})


def run_all(step: StepModel, feed: Tensors, steps: int) -> list[Tensors]:
    """Return every float tensor of the step graph after each step, by a plain host."""
    proto = onnx.ModelProto()
    proto.CopyFrom(step.proto)
    declared = {value.name: value for value in proto.graph.value_info}
    own = {value.name for value in proto.graph.output}
    for node in proto.graph.node:
        for name in node.output:
            if name and name not in own and name in declared:
                proto.graph.output.append(declared[name])
                own.add(name)
    session = open_session(proto, 1)
    names = [value.name for value in session.get_outputs()]
    values = {state.input: np.zeros([1] * state.rank, np.float32) for state in step.states}
    found = []
    for _ in range(steps):
        made = dict(zip(names, session.run(None, {**feed, **values}), strict=True))
        values = {state.input: made[state.output] for state in step.states}
        found.append(made)
    return found


def converted(model: onnx.ModelProto, x: Any, **options: Any) -> tuple[StepModel, list[Any]]:
    made = run_conversion(model, x, settings(**options)).model
    ann = open_session(model, 1)
    return read_step_model(made, "model"), ann.run(None, {"input": x})


def require_alphabet(step: StepModel, found: list[Tensors]) -> None:
    """The data inputs of spiking operators are spikes, and spikes are of the alphabet."""
    metadata = step.metadata
    digits = metadata["digits"]
    later = metadata.get("later_digits", digits)
    spikes = {neuron["spikes"] for neuron in metadata["neurons"]}
    for step_number, made in enumerate(found):
        for neuron in metadata["neurons"]:
            allowed = later if step_number else neuron.get("digits", digits)
            heights = alphabet(metadata["octaves"], allowed)
            assert set(np.unique(made[neuron["spikes"]]).tolist()) <= heights
    driven = {entry["node"] for entry in metadata["weighted"] if entry["drive"] == "spiking"}
    nodes = [node for node in step.proto.graph.node if node.name in driven]
    assert nodes
    for node in nodes:
        assert spikes.intersection(node.input), node.name


@pytest.mark.parametrize("name", [*NETWORKS, "attention"])
@pytest.mark.parametrize("digits", [1, 2, None])
def test_the_answer_gets_to_the_anns_and_then_all_is_silent(name: str, digits: int | None) -> None:
    model = attention() if name == "attention" else NETWORKS[name]()
    shape = (6, 5, 8)
    x = inputs_for(name, 6) if name in NETWORKS else None
    if x is None:
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    step, wanted = converted(model, x, octaves=12, digits=digits)
    found = run_all(step, {"input": x}, 14)
    require_alphabet(step, found)
    errors = []
    for made in found:
        pairs = zip(step.outputs, wanted, strict=True)
        errors.append(max(float(np.abs(made[n] - w).max() / np.abs(w).max()) for n, w in pairs))
    assert errors[-1] < 0.01
    # at least twofold a step on average, until the floor of λ
    floor = max(errors[-1], 1e-3)
    fallen = next(t for t, error in enumerate(errors) if error <= 2 * floor)
    assert errors[fallen] <= errors[0] * 2.0 ** -(fallen * 0.8)
    assert not any(found[-1][neuron["spikes"]].any() for neuron in step.metadata["neurons"])


@pytest.mark.slow
@pytest.mark.parametrize("block", sorted(BLOCKS))
def test_every_block_converts_and_gets_to_the_ann(block: str) -> None:
    x = np.random.default_rng(2).standard_normal((4, *ASSEMBLED_INPUT)).astype(np.float32)
    model = assemble([block], 1)
    step, wanted = converted(model, x, octaves=12)
    found = run_all(step, {"input": x}, 12)
    require_alphabet(step, found)
    np.testing.assert_allclose(
        found[-1]["output"], wanted[0], atol=0.02 * float(np.abs(wanted[0]).max())
    )


@given(model=random_networks())
@stable(15)
def test_random_networks_get_to_their_anns(model: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((2, *ASSEMBLED_INPUT)).astype(np.float32)
    try:
        step, wanted = converted(model, x, octaves=12)
    except UnsupportedGraphError:
        return
    found = run_all(step, {"input": x}, 12)
    require_alphabet(step, found)
    size = float(np.abs(wanted[0]).max())
    np.testing.assert_allclose(found[-1]["output"], wanted[0], atol=0.03 * size + 1e-5)


def whole_network() -> onnx.ModelProto:
    """Integer weights throughout: two products of tensors, a shortcut, a Conv and a Gemm."""
    b = Builder(5)

    def whole(*shape: int) -> str:
        return b.const(b.rng.integers(-3, 4, shape))

    x = b.input("input", ["batch", 2, 4, 4])
    x = b.node("Relu", b.node("Conv", x, whole(3, 2, 3, 3), whole(3), pads=[1, 1, 1, 1]))
    y = b.node("Add", b.node("Conv", x, whole(3, 3, 1, 1), whole(3)), x)
    z = b.node("MatMul", y, b.node("Transpose", x, perm=[0, 1, 3, 2]))
    z = b.node("Flatten", z)
    b.name_output(b.node("Gemm", z, whole(48, 3), whole(3)), "output")
    return b.model({"output": ["batch", 3]})


@pytest.mark.parametrize("digits", [1, 2, None])
def test_sums_and_products_hold_bit_for_bit_on_whole_numbers(digits: int | None) -> None:
    model = whole_network()
    x = np.random.default_rng(3).integers(-2, 3, (5, 2, 4, 4)).astype(np.float32)
    step, _ = converted(model, x, octaves=8, digits=digits)
    weights = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in step.proto.graph.initializer
    }
    found = run_all(step, {"input": x}, 6)
    nodes = list(step.proto.graph.node)
    makers = {name: node for node in nodes for name in node.output}
    sent = {n["spikes"]: makers[n["spikes"]].output[1] for n in step.metadata["neurons"]}
    checked = 0
    for node in nodes:
        spikes = [name for name in node.input if name in sent]
        if node.op_type != "Conv" or not spikes:
            continue
        kernel = weights[node.input[1]].astype(np.float64)[:, :, 0, 0]
        total = next(
            other.output[0]
            for other in nodes
            if node.output[0] in other.input and other.op_type == "Add"
        )
        for made in found:
            r = made[sent[spikes[0]]].astype(np.float64)
            np.testing.assert_allclose(
                made[total], np.einsum("oc,nchw->nohw", kernel, r), rtol=1e-6, atol=1e-4
            )
        checked += 1
    (product,) = [s for s in step.states if s.kind == "sum" and "product" in s.input]
    held = next(node for node in nodes if node.op_type == "Sub" and node.input[1] in sent)
    first = next(node for node in nodes if held.output[0] in node.input)
    a, b = sent[first.input[0]], held.input[0]
    for made in found:
        # P = R_A R_B: whole numbers, so that no bit is lost
        np.testing.assert_array_equal(made[product.output], made[a] @ made[b])
    assert checked
