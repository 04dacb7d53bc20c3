"""Emitted files in the forms of other runtimes say what they said before."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.architectures import inputs_of, squeeze_and_excite
from helpers.networks import NETWORKS, inputs_for
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnx2snn import (
    SpikingSession,
    UnsupportedGraphError,
    UsageError,
    convert,
    portable,
    rollout,
)
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos.walk import nodes
from onnx2snn.settings import Settings

Array = NDArray[Any]

CODINGS: dict[str, dict[str, Any]] = {
    "rate": {"method": "max", "delay": 1},
    "signed and graded": {"method": "max", "neuron": "signed", "levels": 2, "delay": 0},
    "differential": {"preset": "differential"},
}


@cache
def spiking(network: str, coding: str) -> onnx.ModelProto:
    settings = Settings(timesteps=3, **CODINGS[coding])
    return run_conversion(NETWORKS[network](), inputs_for(network, 30), settings).model


def referenced(model: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feed)]


def hosted(model: onnx.ModelProto, feed: dict[str, Array], steps: int) -> list[Array]:
    """The first output after each step, from onnx's reference and declared shapes alone."""
    own = len(feed)
    states = {
        value.name: np.zeros(
            [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim], np.float32
        )
        for value in model.graph.input[own:]
    }
    found = []
    for _ in range(steps):
        answer, *after = referenced(model, {**feed, **states})
        found.append(answer)
        states = dict(zip(states, after, strict=True))
    return found


@pytest.mark.parametrize("coding", CODINGS)
def test_a_portable_step_graph_has_no_functions_and_static_states(coding: str) -> None:
    network = "resnet"
    model = spiking(network, coding)
    made = portable(model, batch=2)
    assert not made.functions
    assert {entry.domain for entry in made.opset_import} == {""}
    for value in [*made.graph.input, *made.graph.output]:
        assert all(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    onnx.checker.check_model(made, full_check=True)
    x = inputs_for(network, 2, seed=3)
    steps = SpikingSession(model, schedule="stepped").steps({"input": x}, 3)
    wanted = [np.asarray(step.outputs[0]) for step in steps]
    np.testing.assert_allclose(hosted(made, {"input": x}, 3), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("schedule", ["stepped", "batched"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_session_runs_a_portable_file(coding: str, schedule: Any) -> None:
    model = spiking("vgg", coding)
    feed = {"input": inputs_for("vgg", 2, seed=3)}
    sessions = [
        SpikingSession(one, schedule=schedule, count_spikes=True)
        for one in (model, portable(model, batch=2))
    ]
    (wanted,), (found,) = (session.run(None, feed) for session in sessions)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    for of_model, told in (
        [session.spike_counts() for session in sessions],
        [session.potentials() for session in sessions],
    ):
        assert list(told) == list(of_model)
        for site, values in of_model.items():
            np.testing.assert_allclose(told[site], values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coding", CODINGS)
def test_an_unrolled_rollout_has_plain_operators(coding: str) -> None:
    network = "vgg"
    model = spiking(network, coding)
    made = portable(rollout(model, unroll=True), batch=2)
    assert not {node.op_type for node in nodes(made)} & {"Scan", "Loop", "If"}
    assert not made.functions
    x = inputs_for(network, 2, seed=3)
    (wanted,) = SpikingSession(model, schedule="stepped").run(None, {"input": x})
    (found,) = referenced(made, {"input": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_an_unrolled_rollout_is_taken_where_time_has_no_room_in_the_batch() -> None:
    ann = squeeze_and_excite()
    data = inputs_of(ann, 8)
    model = convert(ann, data, preset="differential", timesteps=3).model
    made = rollout(model, unroll=True)
    feed = {made.graph.input[0].name: data[:2]}
    (wanted,) = SpikingSession(model).run(None, feed)
    (found,) = referenced(made, feed)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_more_steps_than_can_be_written_out_are_refused() -> None:
    with pytest.raises(UsageError, match=r"17 time-steps are too many .* at most 16"):
        rollout(spiking("vgg", "rate"), 17, unroll=True)


# --- opsets ---


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 20])
@pytest.mark.parametrize("coding", ["signed and graded", "rate", "differential"])
def test_an_opset_is_said_or_refused_by_name(coding: str, opset: int) -> None:
    model = spiking("resnet", coding)
    least = {"rate": 11, "differential": 11}.get(coding, 9)
    if opset < least:
        with pytest.raises(UnsupportedGraphError, match=f"opset {opset}"):
            portable(model, opset=opset)
        return
    made = portable(model, opset=opset, batch=1)
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", opset)]
    assert made.ir_version == onnx.helper.find_min_ir_version_for(list(made.opset_import))
    onnx.checker.check_model(made, full_check=True)
    x = inputs_for("resnet", 1, seed=3)
    (wanted,) = SpikingSession(model, schedule="stepped").run(None, {"input": x})
    np.testing.assert_allclose(hosted(made, {"input": x}, 3)[-1], wanted, rtol=1e-4, atol=1e-4)
    (again,) = SpikingSession(made, schedule="stepped").run(None, {"input": x})
    np.testing.assert_allclose(again, wanted, rtol=1e-4, atol=1e-4)


# --- what does not fit ---


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"batch": 0}, "a size of 0 was asked for"),
        ({"opset": 8}, "opset is 8; it has to be 9 or newer"),
        ({"shapes": {"picture": [1, 1, 8, 8]}}, "there is no input 'picture'; .* input"),
        ({"shapes": {"input": [1, 3, 8, 8]}}, "shape 1,3,8,8 does not fit input input"),
        ({"shapes": {"input": [1, 1, 8]}}, "shape 1,1,8 does not fit"),
    ],
    ids=str,
)
def test_a_form_that_does_not_fit_is_a_usage_error(form: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        portable(spiking("vgg", "signed and graded"), **form)


def test_sizes_that_are_not_known_have_to_be_given() -> None:
    model = spiking("segmenter", "rate")
    with pytest.raises(UsageError, match=r"not every size of input .* --shape input="):
        portable(model, batch=1)
    made = portable(model, shapes={"input": [1, 1, 8, 8]})
    assert [dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim] == [1, 1, 8, 8]


def test_convert_writes_neurons_out_where_asked(tmp_path: Path) -> None:
    made = convert(NETWORKS["mlp"](), inputs_for("mlp", 20), method="max", inline=True)
    made.save(tmp_path / "inline.onnx")
    model = onnx.load(tmp_path / "inline.onnx")
    assert not model.functions
    assert SpikingSession(model).neurons
