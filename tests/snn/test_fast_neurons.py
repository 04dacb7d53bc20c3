"""Behaviour of onnx2snn.snn.fast_neurons: the same neurons in fewer operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.neurons import graded_if_step, if_step, signed_graded_if_step, signed_if_step
from helpers.stages import neuron_model
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnx2snn.snn.fast_neurons import function_for
from onnx2snn.snn.neurons import BY_OP, GRADED_IF, IF, SIGNED_GRADED_IF, SIGNED_IF

Array = NDArray[Any]


def lean(op: str, v_init: list[float], levels: int = 1) -> onnx.ModelProto:
    """One layer of neurons [n] with the function written for it."""
    model = neuron_model(BY_OP[op], levels, np.array(v_init), rank=1)
    function = function_for(op, 18, list(model.graph.node), single=True)
    del model.functions[:]
    model.functions.append(function)
    onnx.checker.check_model(model, full_check=True)
    return model


def ops(function: onnx.FunctionProto) -> list[str]:
    return [node.op_type for node in function.node]


@pytest.mark.parametrize("initial", [0.5, 0.25, 0.1, 0.9])
def test_neighbouring_numbers_fall_on_either_side_of_the_bound(initial: float) -> None:
    fires = np.float32(1 - initial)
    takes_back = np.float32(-initial)
    at = np.array([fires, takes_back], np.float32)
    m = np.concatenate([np.nextafter(at, np.float32(-9)), at, np.nextafter(at, np.float32(9))])
    m = np.concatenate([m, np.array([0, -0.0, 1e25, -1e25, 1e-30], np.float32)])
    zeros, ones = np.zeros_like(m), np.ones_like(m)
    plain = lean(IF, [initial])
    for engine in (ort.InferenceSession(plain.SerializeToString()), ReferenceEvaluator(plain)):
        found = engine.run(None, {"x": m, "potential": zeros})
        for one, other in zip(found, if_step(m, zeros, 1.0, initial), strict=True):
            np.testing.assert_array_equal(one, other)
    signed = ort.InferenceSession(lean(SIGNED_IF, [initial]).SerializeToString())
    for sent in (zeros, ones, 3 * ones):
        found = signed.run(None, {"x": m, "potential": zeros, "sent": sent})
        for one, other in zip(found, signed_if_step(m, zeros, sent, 1.0, initial), strict=True):
            np.testing.assert_array_equal(one, other)


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=30))
def test_any_potential_gives_what_the_numpy_twin_gives(values: list[float]) -> None:
    m = np.array(values, np.float32)
    zeros = np.zeros_like(m)
    found = PLAIN.run(None, {"x": m, "potential": zeros})
    for one, other in zip(found, if_step(m, zeros), strict=True):
        np.testing.assert_array_equal(one, other)


PLAIN = ort.InferenceSession(lean(IF, [0.5]).SerializeToString())


def test_a_neuron_takes_three_operators_where_one_initial_potential_serves_all() -> None:
    assert ops(lean(IF, [0.5]).functions[0]) == ["Add", "HardSigmoid", "Sub"]


@pytest.mark.parametrize(
    ("op", "levels", "count"), [(SIGNED_IF, 1, 7), (GRADED_IF, 2, 5), (SIGNED_GRADED_IF, 2, 8)]
)
def test_other_neurons_take_a_few_more(op: str, levels: int, count: int) -> None:
    assert (
        len([name for name in ops(lean(op, [0.5], levels).functions[0]) if name != "Constant"])
        == count
    )


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("initial", [0.5, 0.1, 0.0])
def test_graded_neurons_send_what_the_numpy_twins_send(initial: float, levels: int) -> None:
    values = np.arange(-3, 5, 0.25) - initial
    m = np.concatenate([np.nextafter(values, np.inf), values, [1e25, -1e25]]).astype(np.float32)
    zeros = np.zeros_like(m)
    plain = ort.InferenceSession(lean(GRADED_IF, [initial], levels).SerializeToString())
    found = plain.run(None, {"x": m, "potential": zeros})
    for one, other in zip(found, graded_if_step(m, zeros, 1.0, initial, levels), strict=True):
        np.testing.assert_array_equal(one, other)
    signed = ort.InferenceSession(lean(SIGNED_GRADED_IF, [initial], levels).SerializeToString())
    for sent in (zeros, zeros + 1, zeros + 7):
        found = signed.run(None, {"x": m, "potential": zeros, "sent": sent})
        for one, other in zip(
            found, signed_graded_if_step(m, zeros, sent, 1.0, initial, levels), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("op", "v_init", "single"),
    [
        (IF, [0.5, 0.25], True),
        (IF, [0.5], False),
        (IF, [1.0], True),
        (GRADED_IF, [0.5, 0.25], True),
    ],
    ids=[
        "an initial potential per neuron",
        "float64",
        "a bound of 0",
        "graded, an initial potential per neuron",
    ],
)
def test_elsewhere_the_function_is_the_general_one(
    op: str, v_init: list[float], single: bool
) -> None:
    node = neuron_model(BY_OP[op], 2, np.array(v_init), rank=1).graph.node[0]
    assert function_for(op, 18, [node], single=single) == BY_OP[op].function(18)
