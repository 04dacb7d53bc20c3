"""Sessions open where onnxruntime's own optimisation fails: less of it is tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from helpers.networks import Builder, mlp
from helpers.stages import relative

from onnx2snn import SpikingSession, convert
from onnx2snn.errors import ComputationError
from onnx2snn.protos.sessions import (
    LOSES_OUTPUTS,
    open_own_session,
    open_session,
    session_options,
    session_with,
)

ALL = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
EXTENDED = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
BASIC = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
NONE = ort.GraphOptimizationLevel.ORT_DISABLE_ALL


class Opened:
    """Stands for onnxruntime's session: opens at some levels alone, and notes those tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *levels: Any, said: str = "lost") -> None:
        self.tried: list[Any] = []

        def open_at(_model: object, options: ort.SessionOptions, **_: object) -> str:
            level = options.graph_optimization_level
            self.tried.append(level)
            if level not in levels:
                raise RuntimeError(f"{said} at {level}")
            return "session"

        monkeypatch.setattr(ort, "InferenceSession", open_at)


@pytest.mark.parametrize(
    ("asked", "works", "tried"),
    [
        (ALL, ALL, [ALL]),
        (ALL, EXTENDED, [ALL, EXTENDED]),
        (ALL, NONE, [ALL, EXTENDED, BASIC, NONE]),
        (BASIC, NONE, [BASIC, NONE]),
        (NONE, NONE, [NONE]),
    ],
)
def test_lower_levels_are_tried_in_turn_and_the_options_stay(
    monkeypatch: pytest.MonkeyPatch, asked: Any, works: Any, tried: list[Any]
) -> None:
    opened = Opened(monkeypatch, works)
    options = session_options(1)
    options.graph_optimization_level = asked
    assert session_with(mlp(), options) == "session"
    assert opened.tried == tried
    assert options.graph_optimization_level == asked


def test_where_no_level_works_the_first_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(monkeypatch)
    with pytest.raises(RuntimeError, match="ORT_ENABLE_ALL"):
        open_session(mlp(), 1)
    assert len(opened.tried) == 4


def test_where_onnxruntime_fails_at_every_level_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_model: object, options: ort.SessionOptions, **_: object) -> None:
        raise ort.capi.onnxruntime_pybind11_state.Fail(f"lost {options.graph_optimization_level}")

    monkeypatch.setattr(ort, "InferenceSession", fails)
    first = "ENABLE_EXTENDED" if LOSES_OUTPUTS else "ENABLE_ALL"
    with pytest.raises(ComputationError, match=rf"however little it .*{first}") as found:
        open_own_session(mlp(), 1)
    assert found.value.exit_code == 70


def test_a_lack_of_memory_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(monkeypatch, NONE, said="std::bad_alloc")
    with pytest.raises(RuntimeError, match="bad_alloc"):
        open_session(mlp(), 1)
    assert opened.tried == [ALL]


def test_a_model_that_is_written_is_written_as_asked_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = Opened(monkeypatch, NONE)
    options = session_options(1)
    options.optimized_model_filepath = "never.onnx"
    with pytest.raises(RuntimeError):
        session_with(mlp(), options)
    assert opened.tried == [ALL]


def test_a_network_that_onnxruntimes_layouts_break_converts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A residual block whose channels are no multiples of 8, with every current an output."""
    b = Builder(0)
    x = b.node("Relu", b.conv(b.input("input", ["batch", 1, 32, 32]), 1, 9))
    p = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = b.node("Relu", b.conv(p, 9, 9, 1))
    y = b.conv(b.node("Relu", b.conv(y, 9, 9)), 9, 16, 1)
    x = b.node("Relu", b.node("Add", y, b.conv(p, 9, 16, 1)))
    b.name_output(b.node("Relu", b.conv(x, 16, 9, 1)), "y")
    model = b.model({"y": ["batch", 9, 16, 16]})
    feed = {"input": b.rng.standard_normal((8, 1, 32, 32)).astype(np.float32)}
    conversion = convert(model, feed, preset="low-latency", timesteps=8)
    found = SpikingSession(conversion.model).run(None, feed)[0]
    assert relative(found, open_session(model, 1).run(None, feed)[0]) <= 0.3
    assert capsys.readouterr().out == ""
