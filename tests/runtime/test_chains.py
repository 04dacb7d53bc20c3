"""Chains of elementwise operators against stock onnxruntime, and against NumPy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, inputs_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import onnx2snn
from onnx2snn import SpikingSession, UsageError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime.chains import KERNELS_DOMAIN, with_chains
from onnx2snn.runtime.kernels import kernel_library
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.rollout_plain import written_out
from onnx2snn.settings import Settings
from onnx2snn.snn.step_model import read_step_model

Array = NDArray[Any]
CODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "differential": ("resnet", {"preset": "differential"}),
    "differential, two digits": ("segmenter", {"preset": "differential", "digits": 2}),
    "rate": ("resnet", {"method": "max"}),
    "rate, signed and graded": ("vgg", {"method": "max", "neuron": "signed", "levels": 2}),
    "rate, weighted sites": ("mlp", {"coding": "rate", "sites": "weighted"}),
}


@pytest.fixture(scope="module", params=list(CODINGS))
def case(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, Array]:
    """Return a spiking model, and inputs for it."""
    name, options = CODINGS[request.param]
    model = run_conversion(NETWORKS[name](), inputs_for(name, 20), Settings(**options)).model
    return model, inputs_for(name, 3, seed=1)


@pytest.mark.parametrize("schedule", ["auto", "batched", "stepped"])
@pytest.mark.parametrize("timesteps", [1, 3, 7])
def test_answers_with_kernels_are_those_of_stock_operators(
    library: str, case: tuple[onnx.ModelProto, Array], schedule: Any, timesteps: int
) -> None:
    model, x = case
    plain = SpikingSession(model, threads=1, schedule=schedule)
    fast = SpikingSession(model, threads=1, schedule=schedule, kernels=True)
    (expected,) = plain.run(None, {"input": x}, timesteps, 0)
    (got,) = fast.run(None, {"input": x}, timesteps, 0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_runs_that_go_on_and_counters_are_the_same_with_kernels(
    library: str, case: tuple[onnx.ModelProto, Array]
) -> None:
    model, x = case
    found = []
    for kernels in (False, True):
        session = SpikingSession(model, threads=1, count_spikes=True, kernels=kernels)
        first = session.run(None, {"input": x}, 2, 0)
        second = session.run(None, {"input": x}, 5, 0, reset=False)
        counts = session.spike_counts()
        found.append([*first, *second, *(counts[name] for name in sorted(counts))])
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_a_layer_of_neurons_is_one_operator(case: tuple[onnx.ModelProto, Array]) -> None:
    model, _ = case
    step = read_step_model(model, "the model")
    chained = with_chains(written_out(step, 2, 0))
    chains = [node for node in chained.graph.node if node.domain == KERNELS_DOMAIN]
    # all steps of what is constant in time are one
    assert 0 < len(chains) <= 4 * len(step.metadata["neurons"]) + 4
    left = {node.op_type for node in chained.graph.node}
    assert not left & {"Round", "Floor", "Max", "Min", "HardSigmoid", "Clip"}


_BIAS = np.array([0.5, -1, 2], np.float32).reshape(3, 1, 1)


def _model(nodes: list[onnx.NodeProto], inputs: dict[str, Array], outputs: list[str]) -> Any:
    graph = helper.make_graph(
        nodes,
        "chain",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * value.ndim)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(_BIAS, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _runs(model: onnx.ModelProto, feed: dict[str, Array], library: str | None) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if library is not None:
        options.register_custom_ops_library(library)
    session = ort.InferenceSession(model.SerializeToString(), options)
    return list(session.run(None, feed))


OPERATORS = st.sampled_from(
    [
        *[(op, 2) for op in ("Add", "Sub", "Mul", "Max", "Min")],
        *[(op, 1) for op in ("Relu", "Neg", "Abs", "Sign", "Floor", "Round", "HardSigmoid")],
        ("Sum", 3),
    ]
)
SHAPES = ([2, 3, 4, 5], [1, 3, 1, 1], [3, 4, 5], [2, 1, 4, 1], [1], [5], [2, 3, 4, 5])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_random_elementwise_graphs_of_any_shapes_are_the_same_as_chains(
    library: str, data: st.DataObject
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    feed = {
        f"x{place}": random.normal(0, 3, shape).astype(np.float32)
        for place, shape in enumerate(SHAPES)
    }
    names = [*feed, "bias"]
    nodes = []
    for place in range(data.draw(st.integers(2, 12))):
        op, count = data.draw(OPERATORS)
        taken = [data.draw(st.sampled_from(names)) for _ in range(count)]
        nodes.append(helper.make_node(op, taken, [f"y{place}"], f"n{place}"))
        names.append(f"y{place}")
    outputs = [node.output[0] for node in nodes]
    model = _model(nodes, feed, outputs)
    plain = _runs(model, feed, None)
    for expected, got in zip(plain, _runs(with_chains(model), feed, library), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
        assert got.shape == expected.shape


def test_comparisons_are_held_as_numbers_within_a_chain(library: str) -> None:
    x = np.random.default_rng(0).normal(0, 2, [7, 300]).astype(np.float32)
    nodes = [
        helper.make_node("Neg", ["x"], ["minus"]),
        helper.make_node("GreaterOrEqual", ["x", "minus"], ["high"]),
        helper.make_node("Less", ["x", "limit"], ["low"]),
        helper.make_node("And", ["high", "low"], ["both"]),
        helper.make_node("Not", ["both"], ["neither"]),
        helper.make_node("Cast", ["neither"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Clip", ["x", "", "limit"], ["capped"]),
        helper.make_node("Mul", ["number", "capped"], ["y"]),
    ]
    model = _model(nodes, {"x": x}, ["y"])
    model.graph.initializer.append(numpy_helper.from_array(np.array(1.5, np.float32), "limit"))
    chained = with_chains(model)
    assert [node.op_type for node in chained.graph.node] == ["Chain"]
    (got,) = _runs(chained, {"x": x}, library)
    fires = (x >= 0) & (x < 1.5)
    np.testing.assert_array_equal(got, np.where(fires, 0, np.minimum(x, np.float32(1.5))))


def test_a_branch_that_reads_what_varies_is_no_constant(library: str) -> None:
    x = np.random.default_rng(0).normal(0, 2, [7, 3]).astype(np.float32)
    branches = {}
    for name, op in (("then_branch", "Neg"), ("else_branch", "Abs")):
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        body = [helper.make_node(op, ["x"], [name])]
        branches[name] = helper.make_graph(body, name, [], [made])
    nodes = [
        helper.make_node("If", ["always"], ["chosen"], **branches),
        helper.make_node("Add", ["chosen", "x"], ["sum"]),
        helper.make_node("Sub", ["sum", "bias"], ["y"]),
    ]
    model = _model(nodes, {"x": x}, ["y"])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    (got,) = _runs(with_chains(model), {"x": x}, library)
    np.testing.assert_array_equal(got, np.broadcast_to(-_BIAS, got.shape))


def test_large_tensors_are_shared_out_to_threads(library: str) -> None:
    x = np.random.default_rng(0).normal(0, 2, [4, 3, 120, 121]).astype(np.float32)
    nodes = [
        helper.make_node("Add", ["x", "bias"], ["moved"]),
        helper.make_node("Round", ["moved"], ["whole"]),
        helper.make_node("Sub", ["moved", "whole"], ["y"]),
    ]
    (got,) = _runs(with_chains(_model(nodes, {"x": x}, ["y"])), {"x": x}, library)
    moved = x + _BIAS
    np.testing.assert_array_equal(got, moved - np.round(moved))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"registers": 1000}, "at most 128"),
        ({"program": [1, 2, 0, 5, 0]}, "there is not"),
        ({"program": [99, 2, 0, 1, 0]}, "there is not"),
        ({"program": [1, 0, 0, 1, 0]}, "there is not"),
        ({"results": [7, 0]}, "there is not"),
        ({"registers": 1}, "fewer registers"),
    ],
)
def test_a_program_that_is_none_is_refused(library: str, changed: dict[str, Any], why: str) -> None:
    attributes: dict[str, Any] = {"program": [1, 2, 0, 1, 0], "registers": 3, "input_kinds": [0, 0]}
    attributes |= {"results": [2, 0], "timed": 0} | changed
    node = helper.make_node("Chain", ["a", "b"], ["y"], domain=KERNELS_DOMAIN, **attributes)
    model = _model([node], {"a": np.zeros([1]), "b": np.zeros([1])}, ["y"])
    model.opset_import.append(helper.make_opsetid(KERNELS_DOMAIN, 1))
    with pytest.raises(Exception, match=why):
        _runs(model, {}, library)


def test_shapes_that_do_not_go_together_are_refused(library: str) -> None:
    feed = {"a": np.zeros([2], np.float32), "b": np.zeros([3], np.float32)}
    nodes = [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Neg", ["c"], ["y"])]
    with pytest.raises(Exception, match="do not go together"):
        _runs(with_chains(_model(nodes, feed, ["y"])), feed, library)


def test_kernels_that_are_not_installed_are_one_sentence(
    case: tuple[onnx.ModelProto, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx2snn_kernels", None)
    with pytest.raises(UsageError, match=r"onnx2snn-kernels \(pip install ./tools/kernels"):
        SpikingSession(case[0], kernels=True)


def test_kernels_without_their_library_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(__file__).parents[2] / "tools/kernels/onnx2snn_kernels/__init__.py"
    (tmp_path / "onnx2snn_kernels").mkdir()
    (tmp_path / "onnx2snn_kernels/__init__.py").write_text(source.read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "onnx2snn_kernels", raising=False)
    with pytest.raises(UsageError, match="not whole"):
        kernel_library()
    sys.modules.pop("onnx2snn_kernels", None)


def test_kernels_go_with_sessions_of_our_own_on_the_cpu() -> None:
    with pytest.raises(UsageError, match="threads, not sess_options"):
        Opening(options=ort.SessionOptions(), kernels=True)
    with pytest.raises(UsageError, match="not on CUDAExecutionProvider"):
        Opening(providers=["CUDAExecutionProvider"], kernels=True)


def test_an_evaluation_scores_the_same_with_kernels(library: str) -> None:
    ann = NETWORKS["mlp"]()
    data = inputs_for("mlp", 40)
    model = onnx2snn.convert(ann, data, preset="differential", threads=1).model
    rows = [
        onnx2snn.evaluate(ann, model, data, timesteps=[2], threads=1, kernels=kernels)["snn"][0]
        for kernels in (False, True)
    ]
    assert rows[0] == rows[1]


ADD, SUB, MUL = 1, 2, 3
STATES: dict[str, tuple[list[int], list[int]]] = {
    # the results, of x: 0, s: 1, r: 2, s': 3, y: 4 and r': 5, and the states with their next values
    "y": ([4, 0, 3, 1, 5, 1], [1, 3, 2, 5]),
    "y and the next values, of each step": ([4, 0, 3, 0, 5, 0], [1, 3, 2, 5]),
    "one next value for both": ([4, 0, 3, 1], [1, 3, 2, 3]),
    "a state of the last step": ([4, 0, 1, 1, 5, 1], [1, 3, 2, 5]),
}


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 255, 256, 257, 1500])
@pytest.mark.parametrize("kind", list(STATES))
def test_states_go_from_step_to_step(library: str, kind: str, size: int, steps: int) -> None:
    results, states = STATES[kind]
    rng = np.random.default_rng(size)
    feed = {
        "x": rng.normal(0, 1, [steps, size]).astype(np.float32),
        "s": rng.normal(0, 1, [size]).astype(np.float32),
        "r": np.full([1], 0.5, np.float32),
        "ticks": np.zeros([steps], np.float32),
    }
    node = helper.make_node(
        "Chain",
        list(feed),
        [f"out{index}" for index in range(len(results) // 2)],
        domain=KERNELS_DOMAIN,
        program=[ADD, 3, 1, 0, 0, MUL, 4, 3, 2, 2, SUB, 5, 2, 4, 4],
        registers=6,
        input_kinds=[1, 2, 2],
        results=results,
        states=states,
        timed=1,
    )
    model = _model([node], feed, list(node.output))
    model.opset_import.append(helper.make_opsetid(KERNELS_DOMAIN, 1))
    values = {1: feed["s"], 2: np.full([size], 0.5, np.float32)}
    seen = []
    for x in feed["x"]:
        values[0], values[3] = x, values[1] + x
        values[4] = values[3] * values[2]
        values[5] = values[2] - values[4]
        seen.append(dict(values))
        for before, after in zip(states[::2], states[1::2], strict=True):
            values[before] = seen[-1][after]
    for found, register, last in zip(
        _runs(model, feed, library), results[::2], results[1::2], strict=True
    ):
        wanted = seen[-1][register] if last else np.stack([step[register] for step in seen])
        np.testing.assert_array_equal(found, wanted)
