"""Behaviour of SpikingSession, held against a plain onnxruntime loop and against NumPy."""

from __future__ import annotations

import inspect
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, Builder, assemble, inputs_for, mlp, resnet, segmenter
from helpers.neurons import neurons_in
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx2snn import DataError, SpikingSession, UsageError, convert
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.runtime import plan
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.settings import Settings
from onnx2snn.snn.format import describe, metadata_of

Array = NDArray[Any]
SAMPLES, STEPS = 200, 32


def plain_loop(
    model: bytes, feed: Mapping[str, Array], timesteps: int
) -> Iterator[dict[str, Array]]:
    """All that a host without onnx2snn has to do; yields every output by name, step after step."""
    import json

    import numpy as np
    import onnxruntime as ort

    session = ort.InferenceSession(model)
    names = [output.name for output in session.get_outputs()]
    states = json.loads(session.get_modelmeta().custom_metadata_map["onnx2snn"])["states"]
    values = {state["input"]: np.zeros([1] * state["rank"], np.float32) for state in states}
    for _ in range(timesteps):
        found = dict(zip(names, session.run(None, {**feed, **values}), strict=True))
        values = {state["input"]: found[state["output"]] for state in states}
        yield found


def spiking(name: str, **options: Any) -> onnx.ModelProto:
    """One of the networks, converted with matching data."""
    options = {"iterations": 150, "batch_size": 50} | options
    return run_conversion(NETWORKS[name](), inputs_for(name, SAMPLES), Settings(**options)).model


@pytest.fixture(scope="module")
def models() -> dict[str, onnx.ModelProto]:
    return {name: spiking(name) for name in NETWORKS}


@pytest.fixture(scope="module")
def delayed() -> onnx.ModelProto:
    """An MLP converted for 8 steps, the first 4 of which are left out of the answer."""
    return spiking("mlp", timesteps=8, delay="half")


def with_spikes(model: onnx.ModelProto) -> bytes:
    """The step graph with every spike tensor as one more output."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for neuron in SpikingSession(model).neurons:
        dims = [None] * len(neuron["shape"])
        model.graph.output.append(
            helper.make_tensor_value_info(neuron["spikes"], TensorProto.FLOAT, dims)
        )
    return bytes(model.SerializeToString())


def assert_statistically_equal(found: Array, wanted: Array) -> None:
    """What float32 allows after 32 steps, where one flipped spike cascades (DESIGN.md, Folding)."""
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    worst = np.abs(found - wanted).reshape(len(found), -1).max(axis=1)
    assert np.mean(worst <= 1e-4) >= 0.8
    assert np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)) >= 0.99


def assert_nearly_all_equal(found: Array, wanted: Array) -> None:
    """Spikes: a rounding difference may flip one now and then."""
    assert found.shape == wanted.shape
    assert np.mean(found == wanted) >= 0.999


# --- schedules ---


@pytest.mark.parametrize("name", NETWORKS)
def test_schedules_agree(name: str, models: dict[str, onnx.ModelProto]) -> None:
    feed = {"input": inputs_for(name, SAMPLES, seed=2)}
    stepped, batched = (
        SpikingSession(models[name], schedule=schedule, count_spikes=True)
        for schedule in ("stepped", "batched")
    )
    assert_statistically_equal(
        *(session.run(None, feed, STEPS)[0] for session in (batched, stepped))
    )
    counts = [session.spike_counts() for session in (stepped, batched)]
    for site, count in counts[0].items():
        assert abs(counts[1][site].mean() - count.mean()) / STEPS <= 1e-3


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_in_chunks_is_the_batch(
    threads: int, models: dict[str, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = {"input": inputs_for("vgg", 7, seed=2)}
    whole, cut = (
        SpikingSession(models["vgg"], threads=threads, count_spikes=True) for _ in range(2)
    )
    monkeypatch.setattr(plan, "STEPS_TOGETHER", 1)
    wanted = [whole.run(None, feed, t, reset=t == 6)[0] for t in (6, 5)]
    monkeypatch.setattr(plan, "NEURON_STEPS", 6 * neurons_in(cut))
    monkeypatch.setattr(plan, "STEPS_TOGETHER", 3)
    found = [cut.run(None, feed, t, reset=t == 6)[0] for t in (6, 5)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for site, count in whole.spike_counts().items():
        np.testing.assert_array_equal(cut.spike_counts()[site], count)


def test_a_run_goes_on_in_another_schedule(models: dict[str, onnx.ModelProto]) -> None:
    feed = {"input": inputs_for("resnet", 5, seed=2)}
    session, stepped = (
        SpikingSession(models["resnet"]),
        SpikingSession(models["resnet"], schedule="stepped"),
    )
    for other in (session, stepped):
        for _ in other.steps(feed, 6):
            pass
    for other in (session, stepped):
        other.run(None, feed, 6, reset=False)
    for site, potential in stepped.potentials().items():
        np.testing.assert_allclose(session.potentials()[site], potential, atol=1e-5)


def test_a_schedule_the_network_does_not_allow_is_a_usage_error() -> None:
    x = np.random.default_rng(0).standard_normal((20, 2, 6, 5)).astype(np.float32)
    model = run_conversion(assemble(["einsum"]), x, Settings(method="max")).model
    with pytest.raises(UsageError, match="Einsum may mix samples"):
        SpikingSession(model, schedule="batched")
    assert SpikingSession(model).run(None, {"input": x}, 4)[0].shape == (20, 3)


def test_a_session_shows_what_is_documented() -> None:
    shown = {name for name in dir(SpikingSession) if not name.startswith("_")}
    assert shown == {
        *("run", "steps", "stream", "reset", "exit_steps"),
        *("inputs", "outputs", "metadata", "neurons"),
        *("spike_counts", "activity", "potentials", "exit_steps"),
    }


def test_an_unknown_schedule_is_a_usage_error(models: dict[str, onnx.ModelProto]) -> None:
    with pytest.raises(UsageError, match="stepped"):
        SpikingSession(models["mlp"], schedule="fast")  # type: ignore[arg-type]


# --- against the plain loop ---


@pytest.fixture(scope="module")
def looped(
    models: dict[str, onnx.ModelProto], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Array]:
    """The outputs of two plain loops, "<network>/<0|1>" [T, N, ...].

    They are made where onnx2snn cannot be imported.
    """
    folder = tmp_path_factory.mktemp("plain")
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
        np.save(folder / f"{name}.npy", inputs_for(name, SAMPLES, seed=2))
    source = inspect.getsource(plain_loop)
    source = source.replace("Mapping[str, Array]", "dict")
    source = source.replace("Iterator[dict[str, Array]]", "object")
    script = f"""
import sys
from pathlib import Path
import numpy as np
sys.modules["onnx2snn"] = None  # importing it fails from here on
{source}
found = {{}}
for path in sorted(Path({str(folder)!r}).glob("*.onnx")):
    feed = {{"input": np.load(path.with_suffix(".npy"))}}
    for turn in range(2):
        steps = plain_loop(path.read_bytes(), feed, {STEPS})
        answers = [next(iter(step.values())) for step in steps]
        found[f"{{path.stem}}/{{turn}}"] = np.stack(answers)
try:
    import onnx2snn
except ImportError:
    np.savez(sys.stdout.buffer, **found)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    with np.load(io.BytesIO(done.stdout)) as file:
        return dict(file)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plain_onnxruntime_loop_reproduces_every_step(
    name: str, models: dict[str, onnx.ModelProto], looped: dict[str, Array]
) -> None:
    feed = {"input": inputs_for(name, SAMPLES, seed=2)}
    steps = [step.outputs[0] for step in SpikingSession(models[name]).steps(feed, timesteps=STEPS)]
    assert len(steps) == STEPS
    for t in (0, 1, 7, STEPS - 1):
        assert_statistically_equal(steps[t], looped[f"{name}/0"][t])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_plain_loop_is_exactly_repeatable(name: str, looped: dict[str, Array]) -> None:
    assert np.array_equal(looped[f"{name}/0"], looped[f"{name}/1"])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_session_is_exactly_repeatable(name: str, models: dict[str, onnx.ModelProto]) -> None:
    feed = {"input": inputs_for(name, 20, seed=2)}
    session = SpikingSession(models[name])
    first, second = (session.run(None, feed, timesteps=STEPS)[0] for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", NETWORKS)
def test_state_inputs_declare_type_and_rank_only(
    name: str, models: dict[str, onnx.ModelProto]
) -> None:
    graph, session = models[name].graph, SpikingSession(models[name])
    states = {s["input"]: s for s in session.metadata["states"]}
    declared = {v.name: v.type.tensor_type for v in graph.input if v.name in states}
    assert set(declared) == set(states) == {v.name for v in graph.input} - {"input"}
    for state_input, tensor in declared.items():
        assert tensor.elem_type == TensorProto.FLOAT
        assert len(tensor.shape.dim) == states[state_input]["rank"]
        assert not any(d.HasField("dim_value") or d.dim_param for d in tensor.shape.dim)


@pytest.mark.parametrize("name", NETWORKS)
def test_spikes_are_those_of_the_plain_loop(name: str, models: dict[str, onnx.ModelProto]) -> None:
    feed = {"input": inputs_for(name, 30, seed=2)}
    session = SpikingSession(models[name])
    tensors = {n["name"]: n["spikes"] for n in session.neurons}
    loop = plain_loop(with_spikes(models[name]), feed, 8)
    for step, found in zip(session.steps(feed, timesteps=8), loop, strict=True):
        assert set(step.spikes) == set(tensors)
        for site, spikes in step.spikes.items():
            assert set(np.unique(spikes)) <= {0.0, 1.0}
            assert_nearly_all_equal(spikes, found[tensors[site]])


def test_rates_are_those_of_the_plain_loop(models: dict[str, onnx.ModelProto]) -> None:
    feed = {"input": inputs_for("resnet", SAMPLES, seed=2)}
    session = SpikingSession(models["resnet"], count_spikes=True)
    session.run(None, feed, timesteps=STEPS)
    loop = list(plain_loop(with_spikes(models["resnet"]), feed, STEPS))
    for neuron in session.neurons:
        rate = np.mean([found[neuron["spikes"]] for found in loop], axis=0)
        assert abs(np.mean(session.spike_counts()[neuron["name"]] / STEPS - rate)) <= 1e-3


# --- against NumPy ---


def weights(model: onnx.ModelProto) -> list[tuple[Array, Array]]:
    """Weight [out, in] and bias of each Gemm, in float64."""
    values = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    return [
        (values[n.input[1]], values[n.input[2]]) for n in model.graph.node if n.op_type == "Gemm"
    ]


def scales(model: onnx.ModelProto) -> list[Array]:
    """Each neuron's thresholds in the ANN's units."""
    nodes = [n for n in model.graph.node if n.op_type == "IF"]
    return [
        numpy_helper.to_array(a.t).astype(np.float64)
        for n in nodes
        for a in n.attribute
        if a.name == "scale"
    ]


def simulate(x: Array, model: onnx.ModelProto, timesteps: int) -> list[Array]:
    """The paper's equations 2-4 in the ANN's units: the logits of each step for an MLP."""
    *hidden, (w_out, b_out) = weights(mlp())
    v = [theta / 2 for theta in scales(model)]
    logits = []
    for _ in range(timesteps):
        a = x.astype(np.float64)
        for layer, ((w, b), theta) in enumerate(zip(hidden, scales(model), strict=True)):
            m = v[layer] + a @ w.T + b
            a = theta * (m >= theta)
            v[layer] = m - a
        logits.append(a @ w_out.T + b_out)
    return logits


def test_an_mlp_spikes_as_the_papers_equations_say(models: dict[str, onnx.ModelProto]) -> None:
    x = inputs_for("mlp", SAMPLES, seed=3)
    logits = simulate(x, models["mlp"], STEPS)
    (found,) = SpikingSession(models["mlp"]).run(None, {"input": x}, timesteps=STEPS, delay=0)
    assert_statistically_equal(found, np.mean(logits, axis=0).astype(np.float32))


@pytest.mark.parametrize("delay", [0, 1, 4, 7])
def test_every_answer_so_far_is_the_mean_since_the_delay(
    delay: int, delayed: onnx.ModelProto
) -> None:
    x = inputs_for("mlp", 40, seed=3)
    (w, b), theta = weights(mlp())[-1], scales(delayed)[-1]
    spikes: list[Array] = []
    for step in SpikingSession(delayed).steps({"input": x}, timesteps=8, delay=delay):
        spikes.append(step.spikes["h2"])
        window = spikes[delay:] if step.t > delay else spikes
        expected = theta * np.mean(window, axis=0) @ w.T + b
        np.testing.assert_allclose(step.outputs[0], expected, rtol=1e-4, atol=1e-5)


def test_the_step_graph_answers_with_its_baked_in_delay(delayed: onnx.ModelProto) -> None:
    feed = {"input": inputs_for("mlp", SAMPLES, seed=3)}
    loop = plain_loop(
        delayed.SerializeToString(), feed, 12
    )  # also beyond the 8 steps it was made for
    steps = SpikingSession(delayed).steps(feed, timesteps=12, delay=4)
    for step, found in zip(steps, loop, strict=True):
        assert_statistically_equal(step.outputs[0], found["logits"])


# --- time-steps and delays ---


@pytest.mark.parametrize(
    ("delay", "timesteps", "same_as"),
    [
        (None, 8, 4),  # as stored
        (None, None, 4),
        (None, 12, 6),  # half of the steps that are run, not of those it was made for
        (None, 4, 2),
        (None, 3, 1),
        (None, 5, 2),
        (None, 1, 0),
        ("half", 8, 4),
        ("half", 9, 4),
        ("half", 1, 0),
        ("auto", 32, "auto"),
        ("auto", 4, 2),
    ],
)
def test_delays_by_name(
    delay: int | str | None, timesteps: int | None, same_as: int | str, delayed: onnx.ModelProto
) -> None:
    session = SpikingSession(delayed)
    automatic = session.metadata["delay_auto"]
    assert 2 <= automatic <= 16
    steps = automatic if same_as == "auto" else same_as
    feed = {"input": inputs_for("mlp", 20)}
    (found,) = session.run(None, feed, timesteps, delay)
    (wanted,) = session.run(None, feed, timesteps or 8, steps)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize(
    ("asked", "timesteps", "same_as"),
    [
        (3, 12, 3),  # a number stays a number
        (3, 8, 3),
        (3, 3, 0),  # a run no longer than it averages from the start
        ("auto", 64, "auto"),
        ("auto", 4, 2),
        ("auto", 2, 1),
    ],
)
def test_a_models_own_delay_is_the_one_it_was_made_with(
    asked: int | str, timesteps: int, same_as: int | str
) -> None:
    session = SpikingSession(spiking("mlp", timesteps=8, delay=asked))
    steps = session.metadata["delay_auto"] if same_as == "auto" else same_as
    feed = {"input": inputs_for("mlp", 20)}
    (found,) = session.run(None, feed, timesteps)
    (wanted,) = session.run(None, feed, timesteps, steps)
    assert np.array_equal(found, wanted)


def test_a_file_that_names_no_delay_has_its_number() -> None:
    """As readers of format 1 take it: the options are for people."""
    model = spiking("mlp", timesteps=8, delay="half")
    about = json.loads(metadata_of(model) or "")
    del about["settings"]["delay"]
    describe(model, about)
    session, feed = SpikingSession(model), {"input": inputs_for("mlp", 20)}
    for timesteps, steps in ((12, 4), (8, 4), (4, 0)):
        (found,) = session.run(None, feed, timesteps)
        (wanted,) = session.run(None, feed, timesteps, steps)
        assert np.array_equal(found, wanted)


def test_several_times_in_one_simulation_equal_separate_runs(
    models: dict[str, onnx.ModelProto],
) -> None:
    session, feed = Simulation(models["vgg"]), {"input": inputs_for("vgg", 10)}
    together = session.run_at(feed, [(t, "half") for t in (16, 4, 7, 4)])
    for timesteps, found in zip([16, 4, 7, 4], together, strict=True):
        assert np.array_equal(found[0], session.run(feed, timesteps, "half")[0])


def test_windows_are_answered_as_time_gets_there(models: dict[str, onnx.ModelProto]) -> None:
    session, feed = (
        Simulation(models["vgg"], count_activity=True),
        {"input": inputs_for("vgg", 5)},
    )
    asked: list[tuple[int, Any]] = [(9, 3), (4, 0), (9, "half"), (2, 1)]
    wanted = session.run_at(feed, asked)
    told = []
    for index, outputs in session.answers(feed, asked):
        told.append((index, sum(count.sum() for count in session.activity().values())))
        assert np.array_equal(outputs[0], wanted[index][0])
    assert [index for index, _ in told] == [3, 1, 0, 2]
    spikes = [count for _, count in told]
    assert spikes == sorted(spikes)
    assert len(set(spikes)) == 3  # two of them end at once


@pytest.mark.parametrize(
    ("timesteps", "delay"), [(0, None), (-3, None), (8, 8), (8, -1), (8, "third"), (8, 2.5)]
)
def test_impossible_steps_and_delays_are_usage_errors(
    timesteps: int, delay: Any, models: dict[str, onnx.ModelProto]
) -> None:
    session, feed = SpikingSession(models["mlp"]), {"input": inputs_for("mlp", 2)}
    named = str(timesteps) if timesteps < 1 else repr(delay)
    with pytest.raises(UsageError, match=f"is {named};"):
        session.run(None, feed, timesteps, delay)
    with pytest.raises(UsageError, match=f"is {named};"):
        next(session.steps(feed, timesteps, delay))


def test_no_number_of_time_steps_is_a_usage_error(models: dict[str, onnx.ModelProto]) -> None:
    with pytest.raises(UsageError, match="at least one"):
        Simulation(models["mlp"]).run_at({"input": inputs_for("mlp", 2)}, [])


# --- batches and shapes ---


@pytest.mark.parametrize("name", NETWORKS)
def test_one_session_takes_batches_of_any_size(
    name: str, models: dict[str, onnx.ModelProto]
) -> None:
    session, x = SpikingSession(models[name]), inputs_for(name, 40, seed=2)
    (whole,) = session.run(None, {"input": x}, timesteps=16)
    cuts = [0, 1, 17, 20, 40]
    parts = [session.run(None, {"input": x[a:b]}, timesteps=16)[0] for a, b in pairwise(cuts)]
    assert_statistically_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("size", [(8, 12), (16, 10)])
def test_one_file_runs_at_several_resolutions(
    size: tuple[int, int], models: dict[str, onnx.ModelProto]
) -> None:
    feed = {"input": np.random.default_rng(5).standard_normal((12, 1, *size)).astype(np.float32)}
    (found,) = SpikingSession(models["segmenter"]).run(None, feed, timesteps=STEPS)
    (wanted,) = ort.InferenceSession(segmenter().SerializeToString()).run(None, feed)
    assert found.shape == wanted.shape == (12, 3, *size)
    assert np.mean(found.argmax(axis=1) == wanted.argmax(axis=1)) >= 0.85
    *_, last = plain_loop(models["segmenter"].SerializeToString(), feed, STEPS)
    assert np.mean(np.abs(found - last["classes"]) <= 1e-4) >= 0.8


def test_a_model_of_fixed_batch_runs_sample_by_sample() -> None:
    x = inputs_for("resnet", SAMPLES)
    fixed, free = (convert(resnet(batch=size), x, method="max").model for size in (1, "batch"))
    session = SpikingSession(fixed)
    one_by_one = np.concatenate([session.run(None, {"input": x[i : i + 1]})[0] for i in range(20)])
    (together,) = SpikingSession(free).run(None, {"input": x[:20]})
    assert_statistically_equal(one_by_one, together)
    with pytest.raises(DataError, match="input float32"):
        session.run(None, {"input": x[:2]})


# --- state ---


def test_without_reset_membranes_go_on_and_the_mean_starts_afresh(
    models: dict[str, onnx.ModelProto],
) -> None:
    feed = {"input": inputs_for("vgg", SAMPLES, seed=2)}
    session = SpikingSession(models["vgg"])
    (w, b), theta = (
        weights(models["vgg"])[-1],
        1.0,
    )  # the threshold is folded into the emitted weights
    session.run(None, feed, timesteps=5)
    (second,) = session.run(None, feed, timesteps=6, delay=0, reset=False)
    loop = list(plain_loop(with_spikes(models["vgg"]), feed, 11))
    last = next(n["spikes"] for n in session.neurons if n["name"] == "d1")
    expected = theta * np.mean([found[last] for found in loop[5:]], axis=0) @ w.T + b
    assert_statistically_equal(second, expected.astype(np.float32))


def test_without_reset_each_run_goes_on_from_the_one_before(
    models: dict[str, onnx.ModelProto],
) -> None:
    feed = {"input": inputs_for("mlp", 20)}
    session, whole = SpikingSession(models["mlp"]), SpikingSession(models["mlp"])
    for count in (3, 1, 4):
        session.run(None, feed, timesteps=count, reset=False)
    whole.run(None, feed, timesteps=8)
    for site, potential in whole.potentials().items():
        np.testing.assert_allclose(session.potentials()[site], potential, atol=1e-5)


@pytest.mark.parametrize("how", ["reset() before", "reset=True"])
def test_reset_forgets_everything(how: str, models: dict[str, onnx.ModelProto]) -> None:
    feed = {"input": inputs_for("vgg", 10)}
    session = SpikingSession(models["vgg"])
    (first,) = session.run(None, feed, timesteps=5)
    if how == "reset() before":
        session.reset()
    (again,) = session.run(None, feed, timesteps=5, reset=how == "reset=True")
    assert np.array_equal(first, again)


@pytest.mark.parametrize(("before", "after"), [(2, 3), (1, 3), (4, 8)])
@pytest.mark.parametrize("schedule", ["stepped", "batched"])
def test_going_on_with_another_batch_size_is_a_data_error(
    schedule: Any, before: int, after: int, models: dict[str, onnx.ModelProto]
) -> None:
    session = SpikingSession(models["mlp"], threads=2, schedule=schedule)
    session.run(None, {"input": inputs_for("mlp", before)}, timesteps=3)
    with pytest.raises(DataError, match="input float32"):
        session.run(None, {"input": inputs_for("mlp", after)}, timesteps=3, reset=False)
    session.run(None, {"input": inputs_for("mlp", before)}, timesteps=3, reset=False)


@pytest.mark.parametrize("name", ["resnet", "mlp"])
def test_spike_counts_are_the_sums_of_the_steps_spikes(
    name: str, models: dict[str, onnx.ModelProto]
) -> None:
    session, feed = SpikingSession(models[name], count_spikes=True), {"input": inputs_for(name, 20)}
    for _ in range(2):  # counts start afresh with each run
        steps = [step.spikes for step in session.steps(feed, timesteps=10)]
        counts = session.spike_counts()
        assert set(counts) == {n["name"] for n in session.neurons}
        for site, count in counts.items():
            assert_nearly_all_equal(count, np.sum([spikes[site] for spikes in steps], axis=0))


@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_activity_counts_spikes_whatever_their_sign(neuron: str) -> None:
    session = SpikingSession(
        spiking("resnet", neuron=neuron), count_spikes=True, count_activity=True
    )
    steps = [
        step.spikes for step in session.steps({"input": inputs_for("resnet", 20)}, timesteps=10)
    ]
    for site, activity in session.activity().items():
        assert_nearly_all_equal(
            activity, np.sum([np.abs(spikes[site]) for spikes in steps], axis=0)
        )
        sums = np.sum([spikes[site] for spikes in steps], axis=0)
        assert_nearly_all_equal(session.spike_counts()[site], sums)
    taken_back = any(
        (session.spike_counts()[site] < sent).any() for site, sent in session.activity().items()
    )
    assert taken_back == (neuron == "signed")


def test_counting_adds_no_state_unless_asked_for(models: dict[str, onnx.ModelProto]) -> None:
    plain, counting = (Simulation(models["mlp"], count_activity=on) for on in (False, True))
    assert len(counting.states.carried) == len(plain.states.carried) + len(plain.neurons)
    plain.run({"input": inputs_for("mlp", 2)}, timesteps=2)
    with pytest.raises(UsageError, match="count_activity=True"):
        plain.activity()


def test_spike_counts_stay_as_they_were_read(models: dict[str, onnx.ModelProto]) -> None:
    session, feed = (
        SpikingSession(models["mlp"], count_spikes=True),
        {"input": inputs_for("mlp", 20)},
    )
    read = [session.spike_counts()["h1"] for _ in session.steps(feed, timesteps=6)]
    totals = [count.sum() for count in read]
    assert totals == sorted(totals)
    assert totals[0] < totals[-1]


def test_spike_counts_have_to_be_asked_for(models: dict[str, onnx.ModelProto]) -> None:
    session = SpikingSession(models["mlp"])
    session.run(None, {"input": inputs_for("mlp", 2)}, timesteps=2)
    with pytest.raises(UsageError, match="count_spikes=True"):
        session.spike_counts()


# --- reading steps ---


@pytest.mark.parametrize("what", ["outputs", "spikes"])
def test_a_step_can_be_read_until_the_next_one(
    what: str, models: dict[str, onnx.ModelProto]
) -> None:
    session, feed = SpikingSession(models["mlp"]), {"input": inputs_for("mlp", 2)}
    steps = session.steps(feed, timesteps=3)
    first, second = next(steps), next(steps)
    with pytest.raises(UsageError, match="step 1 is over"):
        getattr(first, what)
    kept = getattr(second, what)
    third = next(steps)
    assert getattr(second, what) is kept  # what was read in time stays
    with pytest.raises(StopIteration):
        next(steps)
    assert getattr(third, what) is not None  # the last step has no next one


@pytest.mark.parametrize("after", ["another run", "another steps", "reset"])
@pytest.mark.parametrize("what", ["outputs", "spikes"])
def test_a_step_of_an_earlier_run_is_over(
    what: str, after: str, models: dict[str, onnx.ModelProto]
) -> None:
    session, feed = SpikingSession(models["mlp"]), {"input": inputs_for("mlp", 2)}
    step = next(session.steps(feed, timesteps=1))
    if after == "another run":
        session.run(None, {"input": inputs_for("mlp", 3, seed=9)}, timesteps=1)
    elif after == "another steps":
        next(session.steps({"input": inputs_for("mlp", 3, seed=9)}, timesteps=1))
    else:
        session.reset()
    with pytest.raises(UsageError, match="step 1 is over"):
        getattr(step, what)


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_runs_that_take_turns_do_not_disturb_each_other(
    name: str, models: dict[str, onnx.ModelProto]
) -> None:
    session = SpikingSession(models[name])
    feeds = [{"input": inputs_for(name, count, seed=count)} for count in (3, 5)]
    one, other = (session.steps(feed, timesteps=6) for feed in feeds)
    for _ in range(6):
        next(one)
        spikes = next(other).spikes
    *_, alone = SpikingSession(models[name]).steps(feeds[1], timesteps=6)
    for site, found in alone.spikes.items():
        assert np.array_equal(found, spikes[site])


# --- names, types and errors ---


def test_outputs_come_in_the_order_asked_for(models: dict[str, onnx.ModelProto]) -> None:
    session, feed = SpikingSession(models["mlp"]), {"input": inputs_for("mlp", 2)}
    assert len(session.run(["logits", "logits"], feed, timesteps=2)) == 2
    with pytest.raises(UsageError, match="no output 'probs'; it has logits"):
        session.run(["probs"], feed, timesteps=2)


WRONG_FEEDS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({}, "'input' is missing"),
    "unknown": ({"input": inputs_for("mlp", 2), "other": np.zeros(2)}, "no input 'other'"),
    "float64": ({"input": np.zeros((2, 10))}, "float64"),
    "int64": ({"input": np.zeros((2, 10), np.int64)}, "int64"),
    "shape": ({"input": np.zeros((2, 9), np.float32)}, "9"),
    "rank": ({"input": np.zeros(10, np.float32)}, "10"),
}


@pytest.mark.parametrize("kind", WRONG_FEEDS)
def test_inputs_that_do_not_fit_are_data_errors(
    kind: str, models: dict[str, onnx.ModelProto]
) -> None:
    feed, named = WRONG_FEEDS[kind]
    with pytest.raises(DataError, match=named) as caught:
        SpikingSession(models["mlp"]).run(None, feed, timesteps=2)
    assert "the model takes input float32[batch,10]" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_input_the_network_cannot_compute_with_is_a_data_error(
    models: dict[str, onnx.ModelProto],
) -> None:
    odd = np.zeros((2, 1, 7, 7), np.float32)  # its halves do not add up again
    with pytest.raises(DataError, match=r"input float32\[batch,1,height,width\]"):
        SpikingSession(models["segmenter"]).run(None, {"input": odd}, timesteps=2)


def test_lists_and_strided_arrays_are_taken(models: dict[str, onnx.ModelProto]) -> None:
    session, x = SpikingSession(models["mlp"]), inputs_for("mlp", 8)
    (found,) = session.run(None, {"input": np.asfortranarray(x)[::2]}, timesteps=4)
    (wanted,) = session.run(None, {"input": x[::2].copy()}, timesteps=4)
    assert np.array_equal(found, wanted)


def test_session_options_and_providers_reach_onnxruntime(
    models: dict[str, onnx.ModelProto], tmp_path: Path
) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = SpikingSession(models["mlp"], options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": inputs_for("mlp", 4)}, timesteps=4)
    assert found.shape == (4, 3)
    assert list(tmp_path.glob("profile*"))


@pytest.mark.parametrize("given", ["path", "string", "bytes", "proto"])
def test_a_model_is_given_as_path_bytes_or_proto(
    given: str, models: dict[str, onnx.ModelProto], tmp_path: Path
) -> None:
    path = tmp_path / "mlp.snn.onnx"
    onnx.save(models["mlp"], path)
    source: Any = {
        "path": path,
        "string": str(path),
        "bytes": path.read_bytes(),
        "proto": models["mlp"],
    }[given]
    session = SpikingSession(source)
    assert [str(s) for s in session.inputs] == ["input float32[batch,10]"]
    assert [str(s) for s in session.outputs] == ["logits float32[batch,3]"]
    assert [n["name"] for n in session.neurons] == ["h1", "h2"]


# --- several inputs and outputs ---


def branching() -> onnx.ModelProto:
    """Outputs of the encoder, of neurons and of the readout (a softmax and a class).

    A second input comes late.
    """
    b = Builder(3)
    x, bias = b.input("input", ["batch", 10]), b.input("prior", ["batch", 4])
    b.name_output(b.gemm(x, 10, 16), "encoded")
    b.name_output(b.node("Relu", "encoded", name="h1"), "features")
    y = b.gemm(b.node("Relu", b.gemm("features", 16, 12), name="h2"), 12, 4)
    b.name_output(b.node("Softmax", b.node("Add", y, bias), axis=1), "probs")
    b.name_output(b.node("ArgMax", "probs", axis=1, keepdims=0), "class")
    model = b.model({"encoded": ["batch", 16], "features": ["batch", 16], "probs": ["batch", 4]})
    model.graph.output.append(helper.make_tensor_value_info("class", TensorProto.INT64, ["batch"]))
    onnx.checker.check_model(model, full_check=True)
    return model


def test_outputs_of_every_part_and_late_inputs_are_right() -> None:
    rng = np.random.default_rng(4)
    sizes = {"input": 10, "prior": 4}
    feed = {
        name: rng.standard_normal((SAMPLES, size)).astype(np.float32)
        for name, size in sizes.items()
    }
    model = convert(branching(), feed, method="max", delay=0).model
    session = SpikingSession(model)
    names = ["encoded", "features", "probs", "class"]
    assert [s.name for s in session.outputs] == names
    found = session.run(None, feed, timesteps=STEPS, delay=0)
    *_, last = plain_loop(with_spikes(model), feed, STEPS)
    for value, name in zip(found, names, strict=True):
        assert value.shape == last[name].shape
        assert value.dtype == last[name].dtype
        close = np.abs(value - last[name]).reshape(SAMPLES, -1).max(axis=1) <= 1e-4
        assert np.mean(close) >= 0.8, name
    encoded, _, probs, label = found
    (wanted,) = ort.InferenceSession(branching().SerializeToString()).run(["encoded"], feed)
    np.testing.assert_allclose(encoded, wanted, atol=1e-4)  # constant in time
    np.testing.assert_allclose(
        probs.sum(axis=1), 1, atol=1e-5
    )  # the softmax of the mean, not the mean of softmaxes
    assert label.dtype == np.int64
    assert np.array_equal(label, probs.argmax(axis=1))


def test_more_steps_come_closer_to_the_ann() -> None:
    feed = {"input": inputs_for("resnet", 50, seed=2)}
    session = Simulation(spiking("resnet", method="max"))
    (wanted,) = ort.InferenceSession(resnet().SerializeToString()).run(None, feed)
    errors = [
        float(np.linalg.norm(found[0] - wanted) / np.linalg.norm(wanted))
        for found in session.run_at(feed, [(t, "half") for t in (16, 64, 256, 1024)])
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


def test_as_many_samples_run_together_as_memory_allows(
    models: dict[str, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, one = Simulation(models["mlp"]), {"input": inputs_for("mlp", 1)}
    session.run(one, timesteps=1)
    size = session.state_size()
    assert size >= neurons_in(session)
    for limit, expected in ((3 * size, 3), (4 * size - 1, 3), (size - 1, 1), (10**9, 50)):
        monkeypatch.setattr("onnx2snn.runtime.memory.NUMBERS_AT_ONCE", limit)
        assert affordable_batch(session, one, 50) == expected
