"""Many time-steps in one pass equal as many passes of one step: states, spike counts, sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import architectures
from helpers.architectures import inputs_of
from helpers.networks import BLOCKS, NETWORKS, Builder, assemble, inputs_for
from numpy.typing import NDArray
from onnx import helper

from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime.cut import core, core_states, encoder
from onnx2snn.runtime.spike_counters import counters
from onnx2snn.runtime.time_batched import batched_core
from onnx2snn.runtime.time_forms import TICKS
from onnx2snn.settings import Settings
from onnx2snn.snn.step_model import StepModel, read_step_model

Array = NDArray[Any]
Values = dict[str, Array]

TOPOLOGIES = (
    "densenet",
    "shufflenet",
    "squeeze_and_excite",
    "unet",
    "deeplab",
    "group_norm",
    "attention",
    "volumetric",
)
NOT_FREE = {"einsum": "Einsum may mix samples"}
"""Blocks that keep time out of the batch axis, and why."""


def converted(model: onnx.ModelProto, x: Array, neuron: str) -> StepModel:
    return read_step_model(
        run_conversion(model, x, Settings(method="max", neuron=neuron, delay=3)).model, "model"
    )


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    """A session that sums in one order whatever the batch, so that no spike flips."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(found: ort.InferenceSession, feed: Values) -> Values:
    taken = {i.name: feed[i.name] for i in found.get_inputs()}
    return dict(zip([o.name for o in found.get_outputs()], found.run(None, taken), strict=True))


def assert_as_step_by_step(model: StepModel, x: Array) -> None:
    """The states after 10 steps in passes of 5, 1 and 4 are those of 10 single steps."""
    count = counters(model, counts=True, activity=True)
    batched = batched_core(model, count)
    assert not isinstance(batched, str), batched
    onnx.checker.check_model(batched)
    fixed: Values = dict.fromkeys(model.inputs, x)
    before = encoder(model)
    if before is not None:
        fixed |= run(session(before), fixed)
    states = [(s.input, s.output, s.rank) for s in core_states(model)]
    states += [(c.input, c.output, c.rank) for c in count]
    single, together = session(core(model, count=count)), session(batched)
    one: Values = {name: np.zeros([1] * rank, np.float32) for name, _, rank in states}
    many = dict(one)
    for _ in range(10):
        after = run(single, fixed | one)
        one = {name: after[output] for name, output, _ in states}
    for steps in (5, 1, 4):
        after = run(together, fixed | many | {TICKS: np.zeros(steps, np.float32)})
        many = {name: after[output] for name, output, _ in states}
    for name, value in one.items():
        np.testing.assert_allclose(many[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("neuron", ["if", "signed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_come_to_the_same_states(name: str, neuron: str) -> None:
    assert_as_step_by_step(
        converted(NETWORKS[name](), inputs_for(name, 20), neuron), inputs_for(name, 3, seed=2)
    )


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_topologies_come_to_the_same_states(name: str) -> None:
    model = getattr(architectures, name)()
    x = inputs_of(model, 20)
    assert_as_step_by_step(converted(model, x, "if"), x[:3])


@pytest.mark.parametrize("block", [b for b in BLOCKS if b not in NOT_FREE])
def test_every_block_comes_to_the_same_states(block: str) -> None:
    x = np.random.default_rng(0).standard_normal((20, 2, 6, 5)).astype(np.float32)
    assert_as_step_by_step(converted(assemble([block]), x, "if"), x[:3])


@pytest.mark.parametrize("block", NOT_FREE)
def test_where_an_operator_may_mix_samples_the_reason_is_told(block: str) -> None:
    x = np.random.default_rng(0).standard_normal((20, 2, 6, 5)).astype(np.float32)
    found = batched_core(converted(assemble([block]), x, "if"))
    assert isinstance(found, str)
    assert NOT_FREE[block] in found


def along_the_batch(op: str, **attrs: Any) -> onnx.ModelProto:
    """Two spiking layers around an operator that works along the leading axis."""
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 8), name="h1")
    x = b.gemm(x, 8, 8)
    x = b.node(
        op, x, *(b.const(v, np.int64) for v in attrs.pop("values", [])), name="culprit", **attrs
    )
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 8, 8), name="h2"), 8, 3), "logits")
    return b.model({"logits": ["batch", 3]})


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("ReduceMean", {"values": [np.array([0])], "keepdims": 1}),
        ("CumSum", {"values": [np.array(0)]}),
        ("Softmax", {"axis": 0}),
        ("Slice", {"values": [np.array([0]), np.array([1]), np.array([0])]}),
        ("Concat", {"axis": 0}),
    ],
)
def test_an_operator_along_the_batch_keeps_time_out_of_it(op: str, attrs: dict[str, Any]) -> None:
    x = np.random.default_rng(0).standard_normal((20, 10)).astype(np.float32)
    found = batched_core(converted(along_the_batch(op, **attrs), x, "if"))
    assert isinstance(found, str)
    assert "culprit" in found
    assert "axis" in found or "batch" in found


def test_only_neurons_and_sums_run_step_by_step() -> None:
    model = converted(NETWORKS["resnet"](), inputs_for("resnet", 20), "if")
    found = batched_core(model)
    assert not isinstance(found, str)
    scans = [n for n in found.graph.node if n.op_type == "Scan"]
    assert len(scans) == len(model.metadata["neurons"])
    inner = [
        node.op_type for scan in scans for node in helper.get_node_attr_value(scan, "body").node
    ]
    assert set(inner) <= {"IF", "Identity"}


def test_shortcuts_are_scaled_and_added_as_onnxruntime_does_it_fastest() -> None:
    model = converted(NETWORKS["resnet"](), inputs_for("resnet", 20), "if")
    found = batched_core(model)
    assert not isinstance(found, str)
    assert "Mul" not in [node.op_type for node in found.graph.node]
    leading = {value.type.tensor_type.shape.dim[0].dim_param for value in found.graph.value_info}
    assert len(leading) == 1  # tensors that are added are told to be of one shape
    assert len(found.graph.value_info) >= len(model.metadata["neurons"])
