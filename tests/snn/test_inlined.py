"""Neurons whose functions were inlined are found by the names in the description."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime as ort
import pytest
from helpers.counting import calls_of
from helpers.networks import NETWORKS, Builder, inputs_for

from onnx2snn import ModelFileError, SpikingSession, evaluate, rollout
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings
from onnx2snn.snn.inlined import nodes_with_neurons
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import read_step_model

Inliner = Callable[[onnx.ModelProto, Path], onnx.ModelProto]

KINDS: dict[str, dict[str, Any]] = {
    "if": {},
    "signed": {"neuron": "signed"},
    "graded": {"levels": 2},
    "signed graded": {"neuron": "signed", "levels": 2},
    "initial potentials": {"correct": "potential"},
}


def saved_by_onnxruntime(level: ort.GraphOptimizationLevel) -> Inliner:
    def inlined(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(folder / "inlined.onnx")
        ort.InferenceSession(model.SerializeToString(), options)
        return onnx.load(options.optimized_model_filepath)

    return inlined


def by_onnx(model: onnx.ModelProto, _: Path) -> onnx.ModelProto:
    return onnx.inliner.inline_local_functions(model)


INLINERS: dict[str, Inliner] = {
    "onnx.inliner": by_onnx,
    "onnxruntime, basic": saved_by_onnxruntime(ort.GraphOptimizationLevel.ORT_ENABLE_BASIC),
    "onnxruntime, none": saved_by_onnxruntime(ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
}


@cache
def spiking(network: str, kind: str) -> onnx.ModelProto:
    settings = Settings(method="max", timesteps=8, delay=1, **KINDS[kind])
    return run_conversion(NETWORKS[network](), inputs_for(network, 30), settings).model


@pytest.mark.parametrize("how", list(INLINERS))
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("network", ["mlp", "vgg"])
def test_an_inlined_model_tells_what_the_model_tells(
    network: str, kind: str, how: str, tmp_path: Path
) -> None:
    model = spiking(network, kind)
    inlined = INLINERS[how](model, tmp_path)
    assert not neuron_nodes(inlined.graph.node)
    feed = {"input": inputs_for(network, 5, seed=3)}
    sessions = [SpikingSession(m, threads=1, count_spikes=True) for m in (model, inlined)]
    wanted, found = [session.run(None, feed)[0] for session in sessions]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    potentials = [session.potentials() for session in sessions]
    counts = [session.spike_counts() for session in sessions]
    for told, of_model in ((potentials[1], potentials[0]), (counts[1], counts[0])):
        assert list(told) == list(of_model)
        for site, values in of_model.items():
            np.testing.assert_allclose(told[site], values, rtol=1e-3, atol=1e-3)
    steps = [[step.spikes for step in session.steps(feed, 3)] for session in sessions]
    for told_at, at in zip(steps[1], steps[0], strict=True):
        for site, spikes in at.items():
            assert np.array_equal(told_at[site], spikes)


@pytest.mark.parametrize("how", list(INLINERS))
@pytest.mark.parametrize("kind", ["if", "signed graded"])
def test_an_inlined_model_costs_what_the_model_costs(how: str, kind: str, tmp_path: Path) -> None:
    model = spiking("mlp", kind)
    inlined = INLINERS[how](model, tmp_path)
    data = {"input": inputs_for("mlp", 20, seed=3)}
    wanted, found = [evaluate(NETWORKS["mlp"](), m, data)["snn"][-1] for m in (model, inlined)]
    assert found["sops"] == pytest.approx(wanted["sops"])
    assert found["energy_j"] == pytest.approx(wanted["energy_j"])


@pytest.mark.parametrize("how", list(INLINERS))
@pytest.mark.parametrize("network", ["mlp", "vgg"])
def test_an_inlined_model_can_be_unrolled(network: str, how: str, tmp_path: Path) -> None:
    model = spiking(network, "if")
    feed = {"input": inputs_for(network, 5, seed=3)}
    (wanted,) = SpikingSession(model).run(None, feed)
    unrolled = rollout(INLINERS[how](model, tmp_path))
    (found,) = ort.InferenceSession(unrolled.SerializeToString()).run(None, feed)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_a_neuron_that_cannot_be_found_is_refused_with_a_sentence() -> None:
    model = onnx.inliner.inline_local_functions(spiking("mlp", "if"))
    state = next(v.name for v in model.graph.input if v.name.endswith("/potential"))
    adder = next(node for node in model.graph.node if state in node.input)
    adder.op_type = "Max"
    with pytest.raises(ModelFileError, match="not the neurons of the graph"):
        SpikingSession(model)


def inlined_chain(depth: int) -> Callable[[], object]:
    """Look for the neurons of a chain of layers whose functions were inlined."""
    build = Builder()
    last = build.input("input", ("N", 4))
    for _ in range(depth):
        last = build.node("Relu", build.gemm(last, 4, 4))
    model = build.model({build.gemm(last, 4, 2): ("N", 2)})
    settings = Settings(preset="differential", method="max", timesteps=1)
    made = run_conversion(model, inputs_for("mlp", 4)[:, :4], settings).model
    metadata = read_step_model(made, "model").metadata
    return partial(nodes_with_neurons, onnx.inliner.inline_local_functions(made), metadata)


def test_the_work_of_finding_inlined_neurons_grows_with_their_number() -> None:
    few, many = inlined_chain(3), inlined_chain(12)
    few()  # what is imported late is there
    assert 3 < calls_of(many) / calls_of(few) < 4.5
