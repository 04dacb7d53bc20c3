"""The neuron of differential coding: its ONNX function against its definition."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from helpers.ladder import Array, alphabet, digit, rounded, spike
from onnx import TensorProto, helper

from onnx2snn.calibrate.ladders import quantised
from onnx2snn.calibrate.ladders import rounded as told_at_first
from onnx2snn.protos.sessions import open_session
from onnx2snn.snn.differential import (
    DIFFERENTIAL_IF,
    differential_attributes,
    differential_function,
    digit_count_nodes,
    splitter,
)
from onnx2snn.snn.format import SNN_DOMAIN


def neuron(octaves: int, digits: int, *, changing: bool = False) -> ort.InferenceSession:
    """One step of a layer: (y, n) -> (spike, n_next), or (y, n, C) -> (spike, n_next)."""
    given = ["y", "n", "C"] if changing else ["y", "n"]
    node = helper.make_node(
        DIFFERENTIAL_IF,
        given,
        ["spike", "n_next"],
        "neuron",
        domain=SNN_DOMAIN,
        **differential_attributes(octaves, digits, np.ones(1)),
    )
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None])
        for name in (*given, "spike", "n_next")
    }
    graph = helper.make_graph(
        [node], "g", [values[name] for name in given], [values["spike"], values["n_next"]]
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(SNN_DOMAIN, 1)],
        functions=[differential_function(18, digits, changing=changing)],
        ir_version=10,
    )
    return open_session(model, 1)


def sent(session: ort.InferenceSession, y: Array, **more: Array) -> Array:
    found: Array = session.run(["spike"], {"y": y, "n": np.zeros(1, np.float32), **more})[0]
    return found


def numbers_around(octaves: int) -> Array:
    """Numbers of all sizes and both signs, all switching points, and their neighbours."""
    rng = np.random.default_rng(octaves)
    scale = 2.0 ** rng.uniform(-3, octaves + 2, 20_000)
    y = (scale * rng.choice([-1, 1], scale.size)).astype(np.float32)
    edges = np.float32(0.75) * 2.0 ** np.arange(octaves + 2, dtype=np.float32)
    near = [np.nextafter(edges, np.float32(side)) for side in (0, np.inf)]
    return np.concatenate([y, edges, -edges, *near, np.zeros(1, np.float32)]).astype(np.float32)


@pytest.mark.slow
def test_every_number_of_ten_octaves_is_rounded_as_the_ladder_says() -> None:
    session = neuron(8, 1)
    for exponent in range(124, 134):
        mantissas = np.arange(2**23, dtype=np.uint32)
        y = (mantissas | np.uint32(exponent << 23)).view(np.float32)
        for numbers in np.array_split(y, 8):
            np.testing.assert_array_equal(sent(session, numbers), digit(numbers, 8))


@pytest.mark.parametrize("digits", [1, 2, 3])
@pytest.mark.parametrize("octaves", [1, 4, 8, 12])
def test_spikes_are_those_of_the_definition(octaves: int, digits: int) -> None:
    y = numbers_around(octaves)
    found = sent(neuron(octaves, digits), y)
    np.testing.assert_array_equal(found, spike(y, octaves, digits))
    assert set(np.unique(found).tolist()) <= alphabet(octaves, digits)


@pytest.mark.parametrize("digits", range(1, 9))
@pytest.mark.parametrize("octaves", [1, 4, 8, 12])
def test_with_digits_that_change_the_error_is_rounded_to_what_they_can_say(
    octaves: int, digits: int
) -> None:
    session = neuron(octaves, 8, changing=True)
    y = numbers_around(octaves)
    found = sent(session, y, C=np.array([splitter(digits)], np.float32))
    if digits == 1:
        # 3 2^j is said by 2^(j+2), as without the third input
        np.testing.assert_array_equal(found, digit(y, octaves))
    # numbers between two that can be said, and not in the middle
    away = np.abs(rounded(y * np.float32(1 + 1e-5), octaves, digits))
    away = away == np.abs(rounded(y * np.float32(1 - 1e-5), octaves, digits))
    assert away.mean() > 0.9
    np.testing.assert_array_equal(found[away], rounded(y, octaves, digits)[away])
    left = np.abs(y - found)
    inside = np.abs(y) <= 2.0 ** (octaves - 1)
    # half a unit in the last place, or of the smallest spike
    assert (left <= np.maximum(np.abs(y) * 2.0 ** -(2 * digits - 1), 0.75))[inside].all()


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
def test_what_is_rounded_is_a_sum_of_so_many_spikes(digits: int) -> None:
    octaves = 9
    session = neuron(octaves, digits, changing=True)
    y = np.linspace(-300, 300, 20_001).astype(np.float32)
    found = sent(session, y, C=np.array([splitter(digits)], np.float32))
    assert set(np.unique(found).tolist()) <= alphabet(octaves, digits)


def test_a_constant_input_is_told_in_steps_that_shrink_threefold() -> None:
    session = neuron(8, 1)
    y = np.random.default_rng(0).uniform(-127, 127, 5_000).astype(np.float32)
    n = np.zeros_like(y)
    error = np.abs(y)
    for _ in range(12):
        _, n = session.run(None, {"y": y, "n": n})
        now = np.abs(y - n)
        assert (now <= np.maximum(error / 3 + 1e-4, 0.75)).all()
        error = now
    spikes, _ = session.run(None, {"y": y, "n": n})
    assert not spikes.any()


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_spikes_of_a_step_are_counted_as_they_were_sent(digits: int) -> None:
    octaves = 6
    rng = np.random.default_rng(digits)
    error = (2.0 ** rng.uniform(-2, octaves + 1, 5_000)).astype(np.float32)
    error *= rng.choice([-1, 1], error.size).astype(np.float32)
    heights = np.zeros_like(error)
    count = np.zeros_like(error)
    for _ in range(digits):
        one = digit(error - heights, octaves)
        heights += one
        count += one != 0
    nodes, numbers = digit_count_nodes("s", "count", digits, 2.0 ** (octaves - 1))
    s = helper.make_tensor_value_info("s", TensorProto.FLOAT, [None])
    out = helper.make_tensor_value_info("count", TensorProto.FLOAT, [None])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [s], [out], numbers),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    (found,) = open_session(model, 1).run(None, {"s": heights})
    np.testing.assert_array_equal(found, count)


def test_the_calibration_simulates_the_same_neuron() -> None:
    error = np.linspace(-300, 300, 10_001).astype(np.float32)
    np.testing.assert_array_equal(quantised(error, 8), digit(error, 8))
    sizes = np.abs(error) * np.float32(0.999)
    session = neuron(8, 3, changing=True)
    found = sent(session, sizes, C=np.array([splitter(3)], np.float32))
    np.testing.assert_array_equal(told_at_first(sizes, 8, 3), found)
