"""Behaviour of onnx2snn.snn.description: a damaged description is one sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import Builder, inputs_for, mlp
from helpers.stages import stable
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from onnx2snn import ModelFileError, SpikingSession, inspect, rollout
from onnx2snn.display.tables import inspection_tables
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings
from onnx2snn.snn.description import read_metadata, read_rollout_metadata
from onnx2snn.snn.format import METADATA_KEY, ROLLOUT_KEY, metadata_of
from onnx2snn.snn.step_model import read_step_model

Path = tuple[str | int, ...]


def with_a_pool() -> onnx.ModelProto:
    """Conv, Relu, Conv, MaxPool, Relu, LeakyRelu, Conv, Relu, Conv: states of every kind."""
    b = Builder()
    x = b.node("Relu", b.conv(b.input("input", ["batch", 2, 6, 6]), 2, 3))
    x = b.node("Relu", b.node("MaxPool", b.conv(x, 3, 3), kernel_shape=[2, 2], strides=[2, 2]))
    x = b.node("Relu", b.node("Sigmoid", b.conv(x, 3, 3)))
    b.name_output(b.conv(x, 3, 2), "output")
    return b.model({"output": ["batch", 2, 3, 3]})


@cache
def spiking(name: str) -> onnx.ModelProto:
    if name == "mlp":
        settings = Settings(method="max", timesteps=4, delay=1)
        return run_conversion(mlp(), inputs_for("mlp", 20), settings).model
    settings = Settings(method="max", timesteps=4, delay=1, neuron="signed")
    data = np.random.default_rng(0).normal(size=(20, 2, 6, 6)).astype(np.float32)
    return run_conversion(with_a_pool(), data, settings).model


def description(name: str) -> Any:
    return json.loads(metadata_of(spiking(name)) or "")


def with_description(name: str, found: object) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(spiking(name))
    helper.set_model_props(model, {METADATA_KEY: json.dumps(found)})
    return model


def paths(value: object, path: Path = ()) -> Iterator[Path]:
    """The places of all values inside a JSON value."""
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in entries:
            yield (*path, key)
            yield from paths(item, (*path, key))


def holder(found: Any, path: Path) -> Any:
    for key in path[:-1]:
        found = found[key]
    return found


def without(name: str, path: Path) -> Any:
    found = description(name)
    del holder(found, path)[path[-1]]
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, Any]:
    """A real description in which one value has gone or is another."""
    name = draw(st.sampled_from(["mlp", "pool"]))
    found = description(name)
    places = list(paths(found))
    path = draw(st.sampled_from(places))
    if draw(st.booleans()):
        return name, without(name, path)
    other = draw(st.sampled_from(places))
    elsewhere = copy.deepcopy(holder(found, other)[other[-1]])
    holder(found, path)[path[-1]] = draw(JSON | st.just(elsewhere))
    return name, found


@given(damaged())
@stable(150)
def test_a_damaged_description_is_refused_or_does_no_harm(case: tuple[str, Any]) -> None:
    name, found = case
    model = with_description(name, found)
    try:
        read_step_model(model, "x.onnx")
    except ModelFileError as error:
        assert "'x.onnx'" in str(error)
        assert "\n" not in str(error)
        return
    shape = {"mlp": inputs_for("mlp", 1).shape, "pool": (1, 2, 6, 6)}[name]
    x = {"input": np.ones(shape, np.float32)}
    for schedule in ("stepped", "auto"):
        SpikingSession(model, count_spikes=True, schedule=schedule).run(None, x, timesteps=2)
    inspection_tables(inspect(model))
    rollout(model, timesteps=2)


@pytest.mark.parametrize("name", ["mlp", "pool"])
def test_whatever_key_is_missing_is_named(name: str) -> None:
    """Settings are free, and a state without its mean is found by the list of means."""
    for path in paths(description(name)):
        if path[0] == "settings" and len(path) > 1:
            continue
        if isinstance(path[-1], int) and path[0] in ("analog", "parts"):
            continue
        with pytest.raises(ModelFileError) as error:
            read_metadata(with_description(name, without(name, path)), "x.onnx")
        if isinstance(path[-1], str) and path[-1] not in ("format", "mean"):
            assert str(error.value).startswith("the description inside 'x.onnx' is damaged (")
            assert f"{path[-1]}' is missing" in str(error.value)
            assert str(error.value).endswith("; convert the ANN again")


def test_keys_that_are_not_known_are_ignored() -> None:
    found = description("pool")
    found["later"] = 1
    found["states"][0]["later"] = found["neurons"][0]["later"] = found["parts"]["later"] = []
    assert read_metadata(with_description("pool", found), "x.onnx")["timesteps"] == 4


@pytest.mark.parametrize("version", [0, 3, 1.0, True, "1", None])
def test_other_formats_are_refused(version: object) -> None:
    found = description("mlp") | {"format": version}
    with pytest.raises(ModelFileError, match=rf"has format {version}; this version reads 1"):
        read_metadata(with_description("mlp", found), "x.onnx")


def test_the_description_of_a_rollout_is_checked() -> None:
    model = rollout(spiking("mlp"), timesteps=3)
    found = json.loads(metadata_of(model, ROLLOUT_KEY) or "")
    assert read_rollout_metadata(model, "r.onnx") == found
    for key in found:
        rest = {other: value for other, value in found.items() if other != key}
        helper.set_model_props(model, {ROLLOUT_KEY: json.dumps(rest)})
        with pytest.raises(ModelFileError, match=rf"damaged \('{key}' is missing\)"):
            inspect(model)
    with pytest.raises(ModelFileError, match="'ann' is not a rollout"):
        read_rollout_metadata(mlp(), "ann")
