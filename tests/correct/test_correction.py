"""Behaviour of onnx2snn.correct.correction, and of the presets that use it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, inputs_for, mlp, resnet, vgg
from helpers.stages import Array, network, reference, relative, samples

from onnx2snn import SpikingSession, UsageError, convert
from onnx2snn.correct.correction import with_offsets
from onnx2snn.graph.editing import to_proto

# few time-steps are the point here, and the warning they bring is tested elsewhere
pytestmark = pytest.mark.filterwarnings("ignore:agreement with the ANN")

ANYTHING = np.random.default_rng(5)


def shifted_by_hand(model: onnx.ModelProto, offsets: dict[str, Array]) -> onnx.ModelProto:
    """The same model with an Add in front of each activation."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    nodes = list(changed.graph.node)
    del changed.graph.node[:]
    for node in nodes:
        if node.name in offsets:
            name = f"{node.name}_offset"
            changed.graph.initializer.append(onnx.numpy_helper.from_array(offsets[node.name], name))
            changed.graph.node.append(
                onnx.helper.make_node("Add", [node.input[0], name], [f"{name}_sum"])
            )
            node.input[0] = f"{name}_sum"
        changed.graph.node.append(node)
    return changed


@pytest.mark.parametrize("name", NETWORKS)
def test_offsets_shift_exactly_the_input_current(name: str) -> None:
    model = network(name)
    sites = model.parts.sites
    offsets = [ANYTHING.standard_normal(site.threshold_shape("channel")) for site in sites]
    by_name = {site.name: o.astype(np.float32) for site, o in zip(sites, offsets, strict=True)}
    feed = samples(name, 4)
    wanted = reference(shifted_by_hand(to_proto(model.arranged), by_name), feed)
    found = reference(with_offsets(model.arranged, sites, offsets), feed)
    assert all(relative(f, w) < 1e-5 for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["resnet", "vgg", "mlp"])
def test_a_bias_takes_the_offset_through_sums_and_max_pools(name: str) -> None:
    model = network(name)
    before = [node.op for node in model.arranged.nodes]
    offsets = [np.ones(site.threshold_shape("channel")) for site in model.parts.sites]
    assert sorted(
        node.op for node in with_offsets(model.arranged, model.parts.sites, offsets).nodes
    ) == sorted(before)


def mean_bias(conversion: Any, model: onnx.ModelProto, x: Array, timesteps: int) -> float:
    """How far the readout's mean output is from the ANN's, relative to it."""
    (wanted,) = ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})
    (found,) = SpikingSession(conversion.model).run(None, {"input": x}, timesteps, 0)
    return float(np.linalg.norm(found.mean(0) - wanted.mean(0)) / np.linalg.norm(wanted.mean(0)))


@pytest.mark.parametrize("rounds", [0, 8])
@pytest.mark.parametrize("build", [resnet, vgg, mlp])
def test_correcting_the_bias_brings_the_mean_answer_to_the_anns(build: Any, rounds: int) -> None:
    model, x = build(), inputs_for(build.__name__, 300)
    options: dict[str, Any] = {"method": "max", "timesteps": 4, "delay": 0, "rounds": rounds}
    plain, corrected = (
        convert(model, x, correct=correct, **options) for correct in ("none", "bias")
    )
    assert mean_bias(corrected, model, x, 4) < 0.5 * mean_bias(plain, model, x, 4)


def test_potentials_corrected_in_rounds_are_one_a_channel_and_bring_the_answer_nearer() -> None:
    model, x = resnet(), inputs_for("resnet", 300)
    options: dict[str, Any] = {"method": "max", "timesteps": 4, "delay": 0, "rounds": 8}
    plain, corrected = (
        convert(model, x, correct=correct, **options) for correct in ("none", "potential")
    )
    assert mean_bias(corrected, model, x, 4) < mean_bias(plain, model, x, 4)
    neurons = [node for node in corrected.model.graph.node if node.domain == "onnx2snn"]
    for neuron, site in zip(neurons, network("resnet").parts.sites, strict=True):
        v_init = onnx.numpy_helper.to_array(onnx.helper.get_node_attr_value(neuron, "v_init"))
        assert v_init.shape == site.threshold_shape("channel")


def test_the_low_latency_preset_is_mmse_signed_neurons_corrected_and_undelayed() -> None:
    conversion = convert(mlp(), inputs_for("mlp", 100), preset="low-latency", timesteps=4)
    chosen = {"method": "mmse", "neuron": "signed", "levels": 2, "correct": "weights", "delay": 0}
    assert {name: conversion.report.settings[name] for name in chosen} == chosen
    assert (
        conversion.report.settings["fitted_timesteps"],
        conversion.report.settings["fitted_levels"],
    ) == (4, 2)


def test_single_options_override_the_preset() -> None:
    options: dict[str, Any] = {
        "method": "max",
        "neuron": "if",
        "levels": 1,
        "correct": "none",
        "delay": "half",
    }
    low = convert(mlp(), inputs_for("mlp", 100), preset="low-latency", timesteps=4, **options)
    paper = convert(mlp(), inputs_for("mlp", 100), preset="paper", timesteps=4, method="max")
    assert low.model.graph == paper.model.graph


@pytest.mark.parametrize(("build", "gain"), [(resnet, 0.8), (vgg, 0.8)])
def test_the_low_latency_preset_is_nearer_to_the_ann_at_few_time_steps(
    build: Any, gain: float
) -> None:
    name, model = build.__name__, build()
    x, new = inputs_for(name, 300), inputs_for(name, 200, seed=7)
    (wanted,) = ort.InferenceSession(model.SerializeToString()).run(None, {"input": new})
    errors = []
    for preset in ("paper", "low-latency"):
        conversion = convert(model, x, preset=preset, timesteps=4, iterations=100)
        (found,) = SpikingSession(conversion.model).run(None, {"input": new})
        errors.append(relative(found, wanted))
    assert errors[1] < gain * errors[0]


def test_without_data_there_is_nothing_to_correct_with() -> None:
    with pytest.raises(UsageError, match="'bias' needs calibration data"):
        convert(mlp(), correct="bias")
    with pytest.warns(UserWarning, match="no calibration data"):
        assert convert(mlp(), preset="low-latency").report.settings["correct"] == "none"
