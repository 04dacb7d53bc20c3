"""The neuron in front of weighted operators in rate coding: its function against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx2snn.protos.sessions import open_session
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.rate_if import RATE_IF, rate_if_attributes, rate_if_function


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_it_is_a_signed_neuron_fed_by_increments(levels: int) -> None:
    attributes = rate_if_attributes(levels, np.ones(1))
    names = ("y", "n", "spike", "n_next")
    node = helper.make_node(
        RATE_IF, names[:2], names[2:], "neuron", domain=SNN_DOMAIN, **attributes
    )
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in names]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:2], values[2:]),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(SNN_DOMAIN, 1)],
        functions=[rate_if_function(18, levels)],
        ir_version=10,
    )
    session = open_session(model, 1)
    rng = np.random.default_rng(levels)
    # eighths: increments add up without rounding
    tensor = np.round(rng.uniform(-levels, levels, (12, 500)) * 8) / 8
    due = np.arange(1, 13)[:, None] * tensor
    n = np.zeros(500, np.float32)
    potential = np.zeros(500)
    before = np.zeros(500)
    for y in due:
        # m = u + x; s = clip(round(m), -k, k); u' = m - s
        potential += y - before
        wanted = np.clip(np.round(potential), -levels, levels)
        potential -= wanted
        before = y
        spikes, n = session.run(None, {"y": y.astype(np.float32), "n": n})
        np.testing.assert_array_equal(spikes, wanted)


def test_the_mean_of_a_constant_input_is_half_a_threshold_away_divided_by_t() -> None:
    y = np.random.default_rng(0).uniform(-1, 1, 2_000)
    n = np.zeros_like(y)
    for t in range(1, 33):
        n += np.clip(np.round(t * y - n), -1, 1)
        assert np.abs(n / t - y).max() <= 0.5 / t + 1e-9
