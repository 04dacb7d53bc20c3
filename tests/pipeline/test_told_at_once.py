"""Neurons of what is constant in time: they tell all of it in the first step, then are silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from numpy.typing import NDArray

from onnx2snn import SpikingSession
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import StepModel, read_step_model

Array = NDArray[Any]


def network() -> onnx.ModelProto:
    """conv -> silu -> conv -> relu -> gemm: the silu is constant in time, the relu is not."""
    b = Builder(6)
    x = b.conv(b.input("input", ["batch", 2, 6, 6]), 2, 4)
    x = b.node("Mul", x, b.node("Sigmoid", x), name="silu")
    x = b.node("Relu", b.conv(x, 4, 4))
    b.name_output(b.gemm(b.node("Flatten", x), 144, 3), "output")
    return b.model({"output": ["batch", 3]})


def samples(count: int = 8) -> Array:
    return np.random.default_rng(4).standard_normal((count, 2, 6, 6)).astype(np.float32)


def converted(**options: Any) -> StepModel:
    settings = Settings(preset="differential", **options)
    return read_step_model(run_conversion(network(), samples(), settings).model, "model")


def spikes_by_step(step: StepModel, x: Array, steps: int) -> list[dict[str, Array]]:
    """What each site sends in each step, by a plain host."""
    proto = onnx.ModelProto()
    proto.CopyFrom(step.proto)
    names = {neuron["name"]: neuron["spikes"] for neuron in step.metadata["neurons"]}
    for name in names.values():
        proto.graph.output.append(onnx.ValueInfoProto(name=name))
    session = ort.InferenceSession(proto.SerializeToString())
    states = {state.input: np.zeros([1] * state.rank, np.float32) for state in step.states}
    wanted = [*names.values(), *(state.output for state in step.states)]
    found = []
    for _ in range(steps):
        made = dict(zip(wanted, session.run(wanted, {"input": x, **states}), strict=True))
        states = {state.input: made[state.output] for state in step.states}
        found.append({site: made[spikes] for site, spikes in names.items()})
    return found


@pytest.mark.parametrize("encode_input", [False, True])
def test_a_neuron_whose_input_is_constant_tells_all_of_it_in_the_first_step(
    encode_input: bool,
) -> None:
    step = converted(encode_input=encode_input)
    neurons = {neuron["name"]: neuron for neuron in step.metadata["neurons"]}
    at_once = [name for name, neuron in neurons.items() if "digits" in neuron]
    # the first site alone: what comes behind it changes from step to step
    assert at_once == [step.metadata["neurons"][0]["name"]]
    found = spikes_by_step(step, samples(), 3)
    (site,) = at_once
    assert found[0][site].any()
    assert not found[1][site].any()
    assert not found[2][site].any()
    # some other neuron has something to mend
    assert any(found[1][name].any() for name in neurons if name != site)


def test_what_is_told_at_once_is_a_whole_number_so_near_that_the_neuron_is_silent() -> None:
    step = converted(encode_input=True, start="zero")
    (first, *_) = step.metadata["neurons"]
    (node,) = [node for node in neuron_nodes(step.nodes) if node.name == first["name"]]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    scale = onnx.numpy_helper.to_array(attributes["scale"]).reshape(1, -1, 1, 1)
    x = samples()
    sent = spikes_by_step(step, x, 1)[0][first["name"]]
    y = np.clip(x / scale, -attributes["largest"], attributes["largest"])
    # a neuron sends nothing of an error below 3/4
    assert np.abs(sent - y).max() <= 0.75
    assert np.array_equal(sent, np.rint(sent))


@pytest.mark.parametrize("options", [{"digits": 1}, {"digits": 3, "later_digits": 1}])
def test_digits_that_are_asked_for_hold_at_every_site(options: dict[str, int]) -> None:
    step = converted(encode_input=True, **options)
    assert not any("digits" in neuron for neuron in step.metadata["neurons"])


def powers(heights: Array) -> Array:
    """How many signed powers of two each height is the sum of."""
    left, count = heights.astype(np.float64), np.zeros(heights.shape)
    while left.any():
        count += left != 0
        size = np.abs(left)
        nearest = 2.0 ** np.floor(np.log2(np.where(size > 0, size / 0.75, 1.0)))
        left = np.where(size > 0, left - np.copysign(nearest, left), 0.0)
    return count


@pytest.mark.parametrize("schedule", ["stepped", "batched"])
def test_a_session_counts_every_spike_of_what_is_told_at_once(schedule: Any) -> None:
    step = converted(encode_input=True)
    x = samples()
    found = spikes_by_step(step, x, 2)
    session = SpikingSession(step.proto, schedule=schedule, count_activity=True)
    session.run(None, {"input": x}, timesteps=2)
    for site, counted in session.activity().items():
        sent = sum(powers(made[site]) for made in found)
        np.testing.assert_array_equal(counted, sent, err_msg=site)
