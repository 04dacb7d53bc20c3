"""Behaviour of correct.layerwise: corrections found layer by layer hold in the emitted model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.architectures import TOPOLOGIES, Net, inputs_of
from helpers.networks import NETWORKS, inputs_for, mlp, mobilenet, resnet, vgg
from helpers.stages import Array, relative
from onnx import helper, numpy_helper

from onnx2snn import Conversion, MaxPool, SpikingSession, UsageError, convert
from onnx2snn.correct.layerwise import MOST_SAMPLES

pytestmark = pytest.mark.filterwarnings("ignore:agreement with the ANN")

T = 4
OPTIONS: dict[str, Any] = {
    "method": "mmse",
    "neuron": "signed",
    "timesteps": T,
    "delay": 0,
    "seed": 2,
}


def answers(model: onnx.ModelProto, conversion: Conversion, x: Array) -> tuple[Array, Array]:
    """Of the ANN and of the SNN after T steps."""
    (wanted,) = ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})
    (found,) = SpikingSession(conversion.model).run(None, {"input": x})
    return wanted, found


def error(build: Any, **options: Any) -> float:
    """Relative L2 error on new samples of a network converted with 300 others."""
    name, model = build.__name__, build()
    conversion = convert(model, inputs_for(name, 300), **OPTIONS | options)
    wanted, found = answers(model, conversion, inputs_for(name, 200, seed=7))
    return relative(found, wanted)


def fitted_on(x: Array, seed: int) -> Array:
    """The samples that corrections are fitted on: all but the held-back tenth."""
    order = np.random.default_rng(seed).permutation(len(x))
    return x[np.sort(order[len(x) // 10 :])]


@pytest.mark.parametrize("correct", ["bias", "bias,weights", "bias,potential,weights"])
@pytest.mark.parametrize("build", [resnet, vgg, mobilenet, mlp])
def test_the_mean_answer_of_the_emitted_model_is_the_anns(build: Any, correct: str) -> None:
    # the readout's bias is the last correction: it is exact only where the emitted model sends the
    # very spikes that the corrections were found with
    model, x = build(), inputs_for(build.__name__, 100)
    conversion = convert(model, x, correct=correct, **OPTIONS)
    wanted, found = answers(model, conversion, fitted_on(x, OPTIONS["seed"]))
    assert relative(found.mean(axis=0), wanted.mean(axis=0)) < 2e-2


@pytest.mark.parametrize("build", [resnet, mobilenet])
@pytest.mark.parametrize("correct", ["bias", "weights", "bias,weights"])
def test_corrections_bring_new_answers_nearer_to_the_anns(build: Any, correct: str) -> None:
    assert error(build, correct=correct) < 0.95 * error(build, correct="none")


@pytest.mark.parametrize("build", [resnet, mobilenet])
def test_potentials_bring_answers_nearer_where_neurons_are_not_signed(build: Any) -> None:
    plain = {"neuron": "if", "method": "max"}
    assert error(build, correct="potential", **plain) < 0.95 * error(build, correct="none", **plain)


def attribute(conversion: Conversion, name: str) -> list[Array]:
    neurons = [n for n in conversion.model.graph.node if n.domain == "onnx2snn"]
    return [numpy_helper.to_array(helper.get_node_attr_value(n, name)) for n in neurons]


def test_potentials_are_one_a_neuron_and_below_the_threshold() -> None:
    model, x = resnet(), inputs_for("resnet", 100)
    corrected = convert(model, x, correct="potential", **OPTIONS)
    shapes = [tuple(neuron["shape"][1:]) for neuron in SpikingSession(corrected.model).neurons]
    found = attribute(corrected, "v_init")
    assert [v.shape[1:] for v in found] == shapes
    assert all(np.all((v >= 0) & (v < 1)) for v in found)
    assert all(
        v.tolist() == [0.5]
        for v in attribute(convert(model, x, correct="bias", **OPTIONS), "v_init")
    )


def test_the_delay_left_out_of_the_answer_is_left_out_of_the_readouts_correction() -> None:
    model, x = resnet(), inputs_for("resnet", 100)
    conversion = convert(model, x, correct="bias", **OPTIONS | {"delay": 2})
    wanted, found = answers(model, conversion, fitted_on(x, OPTIONS["seed"]))
    assert relative(found.mean(axis=0), wanted.mean(axis=0)) < 2e-2


def test_each_steps_current_is_pooled_where_the_model_pools_it() -> None:
    model, x = vgg(), inputs_for("vgg", 100)
    conversion = convert(model, x, correct="bias", maxpool="current", **OPTIONS)
    wanted, found = answers(model, conversion, fitted_on(x, OPTIONS["seed"]))
    assert relative(found.mean(axis=0), wanted.mean(axis=0)) < 2e-2


def test_higher_spikes_are_nearer_still() -> None:
    assert error(resnet, correct="bias,weights", levels=2) < 0.8 * error(
        resnet, correct="bias,weights"
    )


@pytest.mark.parametrize("maxpool", ["accumulate", "current"])
@pytest.mark.parametrize("build", [resnet, vgg])
def test_a_fixed_batch_is_simulated_step_by_step_with_the_same_answer(
    build: Any, maxpool: MaxPool
) -> None:
    name = build.__name__
    free = build()
    fixed = onnx.ModelProto()
    fixed.CopyFrom(free)
    fixed.graph.input[0].type.tensor_type.shape.dim[
        0
    ].dim_value = 9  # does not divide the 90 samples less the rest
    x, new = inputs_for(name, 100), inputs_for(name, 90, seed=7)
    found = []
    for model in (fixed, free):
        conversion = convert(model, x, correct="bias", maxpool=maxpool, **OPTIONS)
        session = SpikingSession(conversion.model)
        found.append(
            np.concatenate(
                [session.run(None, {"input": new[i : i + 9]})[0] for i in range(0, 90, 9)]
            )
        )
    assert relative(*found) < 2e-2


@pytest.mark.parametrize("maxpool", ["accumulate", "current"])
def test_time_steps_in_blocks_give_what_all_at_once_give(
    maxpool: MaxPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = []
    for most in (2**22, 1):
        monkeypatch.setattr("onnx2snn.correct.layer_simulation.MOST_AT_ONCE", most)
        models.append(
            convert(vgg(), inputs_for("vgg", 60), correct="bias", maxpool=maxpool, **OPTIONS).model
        )
    weights = [[numpy_helper.to_array(t) for t in model.graph.initializer] for model in models]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def uncorrected_and_corrected(model: onnx.ModelProto, x: Array) -> list[float]:
    """Relative L2 errors of the answers to the very samples that corrections are fitted on."""
    (wanted, *_) = ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})
    errors = []
    for correct in ("none", "bias,weights"):
        (found, *_) = SpikingSession(convert(model, x, correct=correct, **OPTIONS).model).run(
            None, {"input": x}
        )
        errors.append(relative(found, wanted))
    return errors


def rows_of(shape: list[int], perm: list[int] | None) -> onnx.ModelProto:
    """Input [batch,4,8], its axes changed, three fully connected layers over the last one."""
    b = Net(3)
    x = b.input("input", ["batch", 4, 8])
    x = (
        b.node("Transpose", x, perm=perm)
        if perm
        else b.node("Reshape", x, b.const(shape, np.int64))
    )
    for cin, cout in ((8, 16), (16, 16)):
        x = b.node("Relu", b.dense(x, cin, cout))
    x = b.dense(x, 16, 3)
    b.name_output(x, "output")
    return b.model({"output": ["rows", *([None] if perm else []), 3]})


def test_several_rows_a_sample_are_kept_together() -> None:
    model, x = (
        rows_of([-1, 8], None),
        np.random.default_rng(1).standard_normal((100, 4, 8)).astype(np.float32),
    )
    before, after = uncorrected_and_corrected(model, x)
    assert after < 0.95 * before


def test_samples_that_are_not_along_the_first_axis_are_refused_by_name() -> None:
    model, x = (
        rows_of([], [1, 0, 2]),
        np.random.default_rng(1).standard_normal((60, 4, 8)).astype(np.float32),
    )
    convert(model, x, correct="none", **OPTIONS)
    with pytest.raises(
        UsageError, match=r"does not hold its samples one after another along axis 0.*--rounds 8"
    ):
        convert(model, x, correct="bias", **OPTIONS)
    convert(model, x, correct="bias", rounds=2, **OPTIONS)


def test_what_is_no_number_before_the_first_spike_is_not_learnt_from() -> None:
    b = Net(5)
    y = b.node("Relu", b.dense(b.input("input", ["batch", 8]), 8, 12))
    y = b.node("Div", y, b.node("ReduceSum", y, b.const([1], np.int64)))
    b.name_output(b.dense(b.node("Relu", b.dense(y, 12, 12)), 12, 3), "output")
    model, x = (
        b.model({"output": ["batch", 3]}),
        np.random.default_rng(1).standard_normal((100, 8)).astype(np.float32),
    )
    before, after = uncorrected_and_corrected(model, x)
    assert after < before


def test_large_layers_take_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def count(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))

    monkeypatch.setattr("onnx2snn.correct.layerwise.MOST_VALUES", 5 * 8 * 16 * 16 * T)
    conversion = convert(
        resnet(), inputs_for("resnet", 100), progress=count, correct="bias", **OPTIONS
    )
    assert conversion.report.agreement["samples"] == 10
    sites = len(conversion.report.sites)
    assert [done for what, done, _ in seen if what == "corrections"] == list(range(1, sites + 2))
    assert MOST_SAMPLES > 5


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_corrections_serve_every_topology(name: str) -> None:
    model = TOPOLOGIES[name]()
    x = inputs_of(model, 30)
    (wanted, *_) = ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})
    errors = []
    for correct in ("none", "bias,weights"):
        conversion = convert(model, x, correct=correct, **OPTIONS | {"timesteps": 8})
        (found, *_) = SpikingSession(conversion.model).run(None, {"input": x})
        errors.append(relative(found, wanted))
        unfitted = [row["node"] for row in conversion.report.unfitted]
        assert len(unfitted) == len(set(unfitted))
    assert errors[1] < 1.05 * errors[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_corrected(name: str) -> None:
    conversion = convert(
        NETWORKS[name](), inputs_for(name, 60), correct="bias,potential,weights", **OPTIONS
    )
    assert conversion.report.settings["correct"] == "bias,potential,weights"


def converted_bytes(build: Any, **options: Any) -> bytes:
    x = inputs_for(build.__name__, 30)
    corrections = {"correct": "bias,potential,weights", "delay": 1}
    model = convert(build(), x, **OPTIONS | corrections | options).model
    found: bytes = model.SerializeToString(deterministic=True)
    return found


@pytest.mark.parametrize("build", [resnet, vgg])
def test_what_memory_should_not_hold_waits_in_files_to_the_same_bytes(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = converted_bytes(build)
    monkeypatch.setattr("onnx2snn.correct.shelf.BOUND", 2**14)
    assert converted_bytes(build) == held


@pytest.mark.parametrize("levels", [1, 2])
def test_a_layer_computed_in_parts_of_its_neurons_and_steps_sends_the_same(
    levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"correct": "bias", "levels": levels}
    whole = converted_bytes(resnet, **options)
    monkeypatch.setattr("onnx2snn.correct.firing.CACHED_STEPS", 2**9)
    monkeypatch.setattr("onnx2snn.correct.layer_simulation.MOST_AT_ONCE", 2**9)
    assert converted_bytes(resnet, **options) == whole


@pytest.mark.parametrize("bound", [2**27, 0])
def test_threads_change_nothing(bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # what waits lies in memory, and in files
    monkeypatch.setattr("onnx2snn.correct.shelf.BOUND", bound)
    model, x = mobilenet(), inputs_for("mobilenet", 60)
    options = OPTIONS | {"correct": "bias,potential,weights"}
    one, three = (convert(model, x, threads=threads, **options) for threads in (1, 3))
    assert one.model == three.model
