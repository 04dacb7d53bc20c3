"""Behaviour of onnx2snn.runtime.cut: one step graph becomes encoder, core and readout."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for, mlp
from numpy.typing import NDArray
from onnx import helper

from onnx2snn import ModelFileError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime.cut import core, core_states, encoder, readout
from onnx2snn.runtime.spike_counters import counters
from onnx2snn.settings import Settings
from onnx2snn.snn.step_model import StepModel, read_step_model

Array = NDArray[Any]


def cut(model: onnx.ModelProto, name: str = "mlp", **options: Any) -> StepModel:
    """A network converted with matching data, ready to be cut."""
    return read_step_model(
        run_conversion(model, inputs_for(name, 60), Settings(method="max", **options)).model, name
    )


@pytest.fixture(scope="module")
def models() -> dict[str, StepModel]:
    return {name: cut(build(), name, delay=4) for name, build in NETWORKS.items()}


def ops(proto: onnx.ModelProto | None) -> list[str]:
    return [node.op_type for node in proto.graph.node] if proto is not None else []


def names(proto: onnx.ModelProto | None) -> tuple[set[str], set[str]]:
    """Inputs and outputs."""
    assert proto is not None
    return {v.name for v in proto.graph.input}, {v.name for v in proto.graph.output}


def run(proto: onnx.ModelProto | None, feed: dict[str, Array]) -> dict[str, Array]:
    """The outputs by name of a part that is given more than it needs."""
    assert proto is not None
    session = ort.InferenceSession(proto.SerializeToString())
    taken = {i.name: feed[i.name] for i in session.get_inputs()}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, taken), strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_parts_are_valid_models(name: str, models: dict[str, StepModel]) -> None:
    for part in (
        encoder(models[name]),
        core(models[name], spikes=True, count=counters(models[name], counts=True, activity=False)),
        readout(models[name]),
    ):
        assert part is not None
        onnx.checker.check_model(part)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_node_but_the_clock_is_in_exactly_one_part(
    name: str, models: dict[str, StepModel]
) -> None:
    model = models[name]
    parts = [encoder(model), core(model), readout(model)]
    placed = [
        out for part in parts if part is not None for node in part.graph.node for out in node.output
    ]
    assert len(placed) == len(set(placed))
    left = {out for n in model.proto.graph.node for out in n.output if out not in placed}
    clock = left - set(model.taken)
    assert left - clock == set(model.taken)  # the host counts, and divides by it
    of_sums = {
        name for name in clock if name.endswith("/kept")
    }  # what starts them afresh after the delay
    assert {name.split("/")[0] for name in clock - of_sums} == {"step", "delay"}
    assert len(of_sums) == len(model.taken)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_encoder_takes_the_inputs_and_knows_no_state(
    name: str, models: dict[str, StepModel]
) -> None:
    model = models[name]
    inputs, outputs = names(encoder(model))
    assert inputs == {"input"}
    assert outputs == set(model.to_core) == set(model.metadata["parts"]["encoder"])
    assert "IF" not in ops(encoder(model))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_core_holds_every_neuron_and_state(name: str, models: dict[str, StepModel]) -> None:
    model = models[name]
    inputs, outputs = names(core(model))
    assert ops(core(model)).count("IF") == len(model.metadata["neurons"])
    assert inputs == {*model.to_core, *(s.input for s in model.states if s.kind != "step")}
    assert outputs == {s.output for s in model.states if s.kind != "step"}
    assert "input" not in inputs


@pytest.mark.parametrize("name", NETWORKS)
def test_the_readout_takes_means(name: str, models: dict[str, StepModel]) -> None:
    model = models[name]
    inputs, outputs = names(readout(model))
    assert inputs == set(model.taken) == set(model.metadata["parts"]["readout"])
    assert outputs == set(model.outputs)
    assert "IF" not in ops(readout(model))


@pytest.mark.parametrize(("timesteps", "delay"), [(32, 0), (8, 3)])
def test_the_parts_together_are_the_step_graph(timesteps: int, delay: int) -> None:
    """One step, with states that are no zeros.

    The delay is the host's, so the sums never start afresh.
    """
    model = cut(mlp(), timesteps=timesteps, delay=delay)
    rng = np.random.default_rng(0)
    feed: dict[str, Array] = {"input": inputs_for("mlp", 5)}
    for state in model.states:
        width = {"h1": 16, "h2": 12}[state.input[:2]] if state.kind != "step" else 1
        shape = [1] if state.kind == "step" else [5, width]
        feed[state.input] = rng.uniform(0, 0.5, shape).astype(np.float32)
    feed["step"] = np.array(
        [delay], np.float32
    )  # the graph starts its sums afresh in this very step
    whole = run(model.proto, feed)
    known = run(encoder(model), feed) | feed
    made = run(core(model, spikes=True), known)
    for state in core_states(model):
        restarted = feed[state.input] if state.kind == "sum" and delay else 0
        np.testing.assert_allclose(made[state.output], whole[state.output] + restarted, atol=1e-6)
    steps = 1 if delay else delay + 1
    means = {str(s.mean): whole[s.output] / steps for s in model.states if s.mean is not None}
    np.testing.assert_allclose(
        run(readout(model), known | means)["logits"], whole["logits"], atol=1e-5
    )


def test_counters_add_up_spikes(models: dict[str, StepModel]) -> None:
    model = models["mlp"]
    feed = run(encoder(model), {"input": inputs_for("mlp", 5)})
    feed |= {s.input: np.zeros([1] * s.rank, np.float32) for s in model.states}
    count = counters(
        model, counts=True, activity=True
    )  # of neurons that never send -1, both are one
    feed |= {counter.input: np.full((1, 1), 7, np.float32) for counter in count}
    made = run(core(model, spikes=True, count=count), feed)
    assert [counter.neuron for counter in count] == ["h1", "h2"]
    for counter in count:
        assert np.array_equal(made[counter.output], made[counter.spikes] + 7)


def test_what_the_readout_takes_from_the_encoder_is_handed_over() -> None:
    b = Builder()
    x = b.input("input", ["batch", 10])
    y = b.node("Relu", b.gemm(x, 10, 16), name="h1")
    early = b.gemm(x, 10, 3)
    b.name_output(b.node("Add", b.gemm(y, 16, 3), early), "sum")
    b.name_output(b.node("Neg", early), "static")
    model = cut(b.model({"sum": ["batch", 3], "static": ["batch", 3]}))
    assert len(model.to_readout) == 1
    assert {*model.to_core, *model.to_readout, "static"} == names(encoder(model))[1]
    assert names(readout(model)) == ({*model.taken, *model.to_readout}, {"sum"})


def with_metadata(text: str) -> onnx.ModelProto:
    model = mlp()
    helper.set_model_props(model, {"onnx2snn": text})
    return model


def test_a_model_that_is_not_spiking_is_refused() -> None:
    with pytest.raises(ModelFileError, match="'ann' is not a spiking model; convert it first"):
        read_step_model(mlp(), "ann")


@pytest.mark.parametrize("metadata", [{"format": 3}, {}])
def test_a_model_of_another_format_is_refused(metadata: dict[str, Any]) -> None:
    said = r"'x.onnx' has format (3|None); this version reads 1 and 2"
    with pytest.raises(ModelFileError, match=said):
        read_step_model(with_metadata(json.dumps(metadata)), "x.onnx")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 1, "states": [{}]}']
)
def test_damaged_metadata_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"'x.onnx'"):
        read_step_model(with_metadata(text), "x.onnx")
