"""Behaviour of onnx2snn.pipeline.search, and of --timesteps auto."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers.networks import inputs_for, mlp, resnet
from hypothesis import given
from hypothesis import strategies as st

from onnx2snn import GateError, SpikingSession, UsageError, convert
from onnx2snn.pipeline.search import MOST, fewest_timesteps

pytestmark = pytest.mark.filterwarnings("ignore:agreement with the ANN")


@given(st.integers(1, MOST))
def test_the_smallest_number_of_time_steps_is_found_where_the_drop_falls_with_it(
    least: int,
) -> None:
    tried = []

    def make(timesteps: int) -> int:
        tried.append(timesteps)
        return timesteps

    assert fewest_timesteps(make, lambda t: float(least - t), 0.0) == least
    assert len(tried) == len(set(tried)) <= 17


def test_where_the_drop_never_becomes_small_enough_the_least_one_is_named() -> None:
    with pytest.raises(
        GateError, match=rf"up to {MOST} loses at most 1 points .* \(the least is 2\.50\)"
    ):
        fewest_timesteps(lambda t: t, lambda t: 2.5 + 1 / t - 1 / MOST, 1.0)


@pytest.mark.parametrize("preset", ["paper", "low-latency"])
def test_the_model_is_made_for_the_fewest_time_steps(preset: str) -> None:
    model, x = resnet(), inputs_for("resnet", 200)
    options: dict[str, Any] = {"preset": preset, "iterations": 50, "max_drop": 4}
    auto = convert(model, x, timesteps="auto", **options)
    t = auto.report.timesteps
    metadata = json.loads({p.key: p.value for p in auto.model.metadata_props}["onnx2snn"])
    assert metadata["timesteps"] == metadata["settings"]["timesteps"] == t
    assert auto.report.agreement["value"] >= 0.96
    assert auto.to_bytes() == convert(model, x, timesteps=t, **options).to_bytes()
    assert len(list(SpikingSession(auto.model).steps({"input": x[:2]}))) == t
    if t > 1:
        with pytest.raises(GateError, match="more than --max-drop 4"):
            convert(model, x, timesteps=t - 1, **options)


def test_thresholds_that_do_not_depend_on_the_number_are_found_once() -> None:
    seen = []
    convert(
        mlp(),
        inputs_for("mlp", 100),
        timesteps="auto",
        max_drop=20,
        iterations=10,
        progress=lambda what, done, total: seen.append((what, done, total)),
    )
    assert [done for what, done, _ in seen if what == "local threshold balancing"] == list(
        range(1, 11)
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs max_drop"),
        ({"max_drop": 1, "delay": 3}, "it has to be 'auto', 'half' or 0"),
    ],
)
def test_what_auto_needs_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        convert(mlp(), inputs_for("mlp", 20), timesteps="auto", **options)
