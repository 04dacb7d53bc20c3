"""Behaviour of onnx2snn.snn.neurons: the ONNX function and its NumPy twin are one neuron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import inputs_for, mlp
from helpers.neurons import graded_if_step, if_step, signed_graded_if_step, signed_if_step
from helpers.stages import (
    Array,
    evaluator,
    feed_for,
    neuron_model,
    random_networks,
    stable,
    staged,
    step_graph,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from onnx2snn import SpikingSession, convert
from onnx2snn.rewrite.fold import fold
from onnx2snn.rewrite.spiking import rewrite
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import (
    IF,
    INITIAL_POTENTIAL,
    SIGNED_IF,
    Neuron,
    if_function,
    neuron_for,
    signed_if_function,
)

Runner = Callable[[Array, Array], list[Array]]


def neuron(
    threshold: float, v_init: Array, rank: int, kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """A model of one IF node: (x, u) -> (spike, u_next)."""
    attrs: dict[str, Any] = {
        "threshold": threshold,
        "v_init": numpy_helper.from_array(v_init),
        "reset": "subtract",
        "signed": 0,
        "levels": 1,
        "scale": numpy_helper.from_array(np.ones(1, np.float32)),
    }
    node = helper.make_node(
        IF, ["x", "u"], ["spike", "u_next"], "neuron", domain=SNN_DOMAIN, **attrs
    )
    values = [
        helper.make_tensor_value_info(n, kind, [None] * rank) for n in ("x", "u", "spike", "u_next")
    ]
    graph = helper.make_graph([node], "neuron", values[:2], values[2:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(SNN_DOMAIN, 1)]
    model = helper.make_model(
        graph, opset_imports=opsets, functions=[if_function(18)], ir_version=10
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def by_onnxruntime(model: onnx.ModelProto) -> Runner:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda x, u: list(session.run(None, {"x": x, "u": u}))


def by_reference(model: onnx.ModelProto) -> Runner:
    runner = evaluator(model)
    return lambda x, u: list(runner.run(None, {"x": x, "u": u}))


ENGINES = {"onnxruntime": by_onnxruntime, "reference": by_reference}


def paper(x: Array, v: Array, theta: float) -> tuple[Array, Array]:
    """Eq. 2-4 of the paper, in terms of the membrane potential v itself."""
    m = v + x
    fires = m >= theta
    return fires.astype(x.dtype), np.where(fires, m - theta, m)


SHAPES = [((2, 3, 4, 5), (1, 3, 1, 1)), ((2, 3, 4, 5), (1,)), ((4, 6), (1, 6)), ((4, 6), ())]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("shape", "v_init_shape"), SHAPES)
@pytest.mark.parametrize("threshold", [1.0, 2.5])
def test_the_function_equals_its_twin_and_the_paper(
    engine: str, shape: tuple[int, ...], v_init_shape: tuple[int, ...], threshold: float
) -> None:
    rng = np.random.default_rng(0)
    v_init = np.asarray(rng.uniform(0, threshold, v_init_shape), np.float32)
    run = ENGINES[engine](neuron(threshold, v_init, len(shape)))
    u = twin_u = np.zeros([1] * len(shape), np.float32)
    v = np.broadcast_to(v_init, shape).astype(np.float64)
    fired = 0
    for _ in range(12):
        x = rng.normal(0.4 * threshold, threshold, shape).astype(np.float32)
        spike, u = run(x, u)
        twin_spike, twin_u = if_step(x, twin_u, threshold, v_init)
        np.testing.assert_array_equal(spike, twin_spike)
        np.testing.assert_array_equal(u, twin_u)
        wanted, v = paper(x.astype(np.float64), v, threshold)
        np.testing.assert_array_equal(spike, wanted)
        np.testing.assert_allclose(u + v_init, v, atol=1e-4)
        assert spike.shape == u.shape == shape
        assert spike.dtype == u.dtype == np.float32
        fired += int(spike.sum())
    assert 0 < fired < 12 * np.prod(shape)


@pytest.mark.parametrize("engine", ENGINES)
def test_float64_is_computed_in_float64(engine: str) -> None:
    model = neuron(1.0, np.array([0.5], np.float32), 2, TensorProto.DOUBLE)
    x = np.array([[0.5, 0.5 - 1e-12, 0.5 + 1e-12]])
    spike, u = ENGINES[engine](model)(x, np.zeros((1, 1)))
    assert spike.dtype == u.dtype == np.float64
    assert spike.tolist() == [[1.0, 0.0, 1.0]]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_neuron_at_its_threshold_fires(engine: str) -> None:
    run = ENGINES[engine](neuron(1.0, np.array([INITIAL_POTENTIAL], np.float32), 2))
    below = np.nextafter(np.float32(0.5), np.float32(0))
    x, zero = np.array([[0.5, below, -3.0, 7.0]], np.float32), np.zeros((1, 1), np.float32)
    spike, u = run(x, zero)
    assert spike.tolist() == [[1.0, 0.0, 0.0, 1.0]]
    np.testing.assert_array_equal(u, np.array([[-0.5, below, -3.0, 6.0]], np.float32))
    for found, twin in zip((spike, u), if_step(x, zero), strict=True):
        np.testing.assert_array_equal(found, twin)


values = arrays.arrays(np.float64, (3, 4), elements=st.floats(-4, 4))


@given(values, st.floats(0.125, 4), st.floats(0, 1))
@stable(60)
def test_no_current_is_lost_and_spikes_are_zero_or_one(
    x: Array, threshold: float, share: float
) -> None:
    u = np.zeros((1, 1))
    count = np.zeros_like(x)
    for _ in range(9):
        spike, u = if_step(x, u, threshold, share * threshold)
        assert set(np.unique(spike)) <= {0.0, 1.0}
        count += spike
    np.testing.assert_allclose(threshold * count + u, 9 * x, atol=1e-9)


@given(arrays.arrays(np.float64, 20, elements=st.floats(-0.5, 1.5)), st.integers(1, 40))
@stable(60)
def test_the_mean_of_a_constant_current_is_the_rounded_and_clipped_current(
    x: Array, timesteps: int
) -> None:
    """r(T) = clip(floor(T x + 1/2), 0, T) / T, but where a membrane rounds to the other side."""
    levels = timesteps * x + 0.5
    u = count = np.zeros_like(x)
    for _ in range(timesteps):
        spike, u = if_step(x, u)
        count = count + spike
    clear = np.abs(levels - np.round(levels)) > 1e-9
    wanted = np.clip(np.floor(levels), 0, timesteps) / timesteps  # from the paper, eq. 2-6
    np.testing.assert_allclose((count / timesteps)[clear], wanted[clear], atol=1e-12)
    assert np.all(np.abs(count / timesteps - np.clip(x, 0, 1)) <= 0.5 / timesteps + 1e-9)


@given(random_networks())
@stable(15)
def test_every_spike_of_any_network_is_zero_or_one(proto: onnx.ModelProto) -> None:
    """As emitted, in float32."""
    model = staged(proto)
    spiking, _ = fold(rewrite(model.arranged, model.parts, model.thresholds()))
    graph = step_graph(spiking, model, dtype=np.float32)
    for name, spikes in graph.spikes(graph.run(feed_for(proto), 6)).items():
        assert spikes.dtype == np.float32
        assert set(np.unique(spikes)) <= {0.0, 1.0}, name


def signed_neuron(threshold: float, v_init: float) -> onnx.ModelProto:
    """A model of one SignedIF node: (x, u, n) -> (spike, u_next, n_next), rank 2."""
    attrs: dict[str, Any] = {
        "threshold": threshold,
        "v_init": numpy_helper.from_array(np.array([v_init], np.float32)),
        "reset": "subtract",
        "signed": 1,
        "levels": 1,
        "scale": numpy_helper.from_array(np.ones(1, np.float32)),
    }
    names = (["x", "u", "n"], ["spike", "u_next", "n_next"])
    node = helper.make_node(SIGNED_IF, *names, "neuron", domain=SNN_DOMAIN, **attrs)
    before, after = (
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 2) for n in side]
        for side in names
    )
    graph = helper.make_graph([node], "neuron", before, after)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(SNN_DOMAIN, 1)]
    model = helper.make_model(
        graph, opset_imports=opsets, functions=[signed_if_function(18)], ir_version=10
    )
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("threshold", [1.0, 2.5])
@pytest.mark.parametrize("v_init", [0.5, 0.25])
def test_the_signed_function_equals_its_numpy_twin_and_takes_back_no_more_than_it_sent(
    threshold: float, v_init: float
) -> None:
    model = signed_neuron(threshold, v_init)
    engines = (
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]),
        evaluator(model),
    )
    rng = np.random.default_rng(3)
    states = [np.zeros((1, 1), np.float32)] * 2
    taken_back = 0
    for _ in range(40):
        x = (rng.standard_normal((5, 7)) * threshold).astype(np.float32)
        feed = {"x": x, "u": states[0], "n": states[1]}
        wanted = signed_if_step(x, states[0], states[1], threshold, v_init)
        for engine in engines:
            for one, other in zip(engine.run(None, feed), wanted, strict=True):
                np.testing.assert_array_equal(one, other)
        spike, *states = wanted
        assert set(np.unique(spike)) <= {-1.0, 0.0, 1.0}
        assert np.all(states[1] >= 0)
        taken_back += int((spike < 0).sum())
    assert taken_back > 0


def test_a_signed_neuron_ends_where_its_input_is_negative_after_all() -> None:
    x = np.array([[1.0, 1.0, -3.0, 0.0, 0.0]], np.float32).T  # fires twice, and should not have
    u = n = np.zeros(1, np.float32)
    sent = []
    for current in x:
        spike, u, n = signed_if_step(current, u, n)
        sent.append(float(spike[0]))
    assert sent == [1.0, 1.0, -1.0, -1.0, 0.0]
    assert n[0] == 0


GRADED: dict[str, tuple[Neuron, Any]] = {
    "if": (neuron_for("if", 3), graded_if_step),
    "signed": (neuron_for("signed", 3), signed_graded_if_step),
}


@pytest.mark.parametrize("kind", GRADED)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("v_init", [0.5, 0.25])
def test_the_graded_functions_equal_their_numpy_twins(
    kind: str, levels: int, v_init: float
) -> None:
    kept, twin = GRADED[kind]
    model = neuron_model(kept, levels, np.array([v_init]), rank=2)
    onnx.checker.check_model(model, full_check=True)
    engines = (
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]),
        evaluator(model),
    )
    names = [value.name for value in model.graph.input]
    rng = np.random.default_rng(4)
    states = [np.zeros((1, 1), np.float32)] * len(kept.states)
    seen: set[float] = set()
    for _ in range(40):
        x = (1.5 * rng.standard_normal((6, 8))).astype(np.float32)
        wanted = twin(x, *states, v_init=v_init, levels=levels)
        for engine in engines:
            found = engine.run(None, dict(zip(names, [x, *states], strict=True)))
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(one, other)
        spike, *states = wanted
        seen |= set(np.unique(spike).tolist())
    assert seen == set(range(-kept.signed, levels + 1))


@pytest.mark.parametrize(("kind", "step"), [("if", if_step), ("signed", signed_if_step)])
def test_with_one_level_a_graded_neuron_is_the_binary_one(kind: str, step: Any) -> None:
    kept, graded = GRADED[kind]
    rng = np.random.default_rng(5)
    one = other = [np.zeros((1, 1))] * len(kept.states)
    for _ in range(30):
        x = rng.standard_normal((5, 7))
        (spike, *one), (graded_spike, *other) = step(x, *one), graded(x, *other)
        np.testing.assert_array_equal(spike, graded_spike)


@pytest.mark.filterwarnings("ignore:agreement with the ANN")
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_emitted_spikes_are_no_higher_than_the_levels(levels: int) -> None:
    model = convert(mlp(), inputs_for("mlp", 40), preset="low-latency", timesteps=2, levels=levels)
    nodes = [n for n in model.model.graph.node if n.domain == SNN_DOMAIN]
    assert {helper.get_node_attr_value(n, "levels") for n in nodes} == {levels}
    x = np.random.default_rng(6).standard_normal((20, 10)).astype(np.float32) * 3
    found = [
        s for step in SpikingSession(model.model).steps({"input": x}) for s in step.spikes.values()
    ]
    assert set(np.unique(np.concatenate([s.ravel() for s in found]))) <= set(range(-1, levels + 1))
