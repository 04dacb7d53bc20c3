"""Where onnxruntime fails on a spiking model, the data are not blamed unless the ANN fails, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from helpers.networks import Builder, inputs_for, mlp

from onnx2snn import ComputationError, DataError, SpikingSession, convert, evaluate
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime import time_loop, whole
from onnx2snn.runtime.plan import Schedule
from onnx2snn.settings import Settings


def fail(*_: object) -> Any:
    raise ort.capi.onnxruntime_pybind11_state.Fail("Status Message: lost a tensor")


@pytest.fixture
def snn() -> Any:
    return convert(mlp(), inputs_for("mlp", 20), method="max", timesteps=4, threads=1).model


HONEST = r"spiking model cannot be computed on these inputs \(lost a tensor\).*report this model"


@pytest.mark.parametrize("schedule", ["auto", "stepped"])
def test_a_session_does_not_know_whether_its_inputs_are_at_fault(
    snn: Any, monkeypatch: pytest.MonkeyPatch, schedule: Schedule
) -> None:
    monkeypatch.setattr(time_loop, "_side_by_side", fail)
    monkeypatch.setattr(whole, "_run", fail)
    with pytest.raises(ComputationError, match=HONEST) as found:
        SpikingSession(snn, schedule=schedule).run(None, {"input": inputs_for("mlp", 2)})
    assert not isinstance(found.value, DataError)


def test_a_whole_run_that_fails_is_simulated(snn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = {"input": inputs_for("mlp", 2)}
    session = SpikingSession(snn)
    (wanted,) = session.run(None, feed)
    monkeypatch.setattr(whole, "_run", fail)
    (found,) = session.run(None, feed)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_neither_does_a_score_of_data_that_the_ann_computes(
    snn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_loop, "_side_by_side", fail)
    with pytest.raises(ComputationError, match=HONEST):
        evaluate(mlp(), snn, inputs_for("mlp", 8), timesteps=[4])


def test_nor_does_a_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_loop, "_side_by_side", fail)
    with pytest.raises(ComputationError, match=HONEST):
        run_conversion(mlp(), inputs_for("mlp", 8), Settings(method="max", timesteps=4))


def test_memory_that_does_not_suffice_stays_a_memory_error(
    snn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> Any:
        raise ort.capi.onnxruntime_pybind11_state.Fail("std::bad_alloc")

    monkeypatch.setattr(time_loop, "_side_by_side", exhausted)
    monkeypatch.setattr(whole, "_run", exhausted)
    with pytest.raises(MemoryError):
        SpikingSession(snn).run(None, {"input": inputs_for("mlp", 2)})


def test_data_that_the_ann_fails_on_are_blamed() -> None:
    b = Builder()
    words = b.input("input", ["N", 3], np.int64)
    table = b.const(b.rng.standard_normal((10, 4)))
    h = b.node("Flatten", b.node("Gather", table, words))
    h = b.node("Relu", b.gemm(h, 12, 8))
    proto = b.model({b.name_output(b.gemm(h, 8, 3), "y"): ["N", 3]})
    good = np.zeros((8, 3), np.int64)
    model = convert(proto, good, method="max", timesteps=4, threads=1).model
    with pytest.raises(DataError, match="cannot be computed on this data"):
        SpikingSession(model).run(None, {"input": good + 99})
    with pytest.raises(DataError, match="cannot be computed on this data"):
        evaluate(proto, model, good + 99, timesteps=[4])
