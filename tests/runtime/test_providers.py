"""States on a device of their own: the same numbers as on the host, and nothing crosses unasked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, inputs_for
from numpy.typing import NDArray

from onnx2snn import SpikingSession, UsageError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos import providers
from onnx2snn.protos.providers import usable
from onnx2snn.runtime import plan
from onnx2snn.runtime.device import HOST, Device, device_of
from onnx2snn.runtime.early_exit import run_early, windows_up_to
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.settings import Settings

Array = NDArray[Any]
STEPS = 6


@dataclass(frozen=True)
class Apart(Device):
    """A device made of the host's memory: all that goes there or back is copied and noted."""

    reads: list[tuple[int, ...]] = field(default_factory=list, compare=False)
    puts: list[tuple[int, ...]] = field(default_factory=list, compare=False)

    @property
    def is_host(self) -> bool:
        return False

    def put(self, array: Array) -> ort.OrtValue:
        self.puts.append(array.shape)
        return super().put(np.array(array))

    def read(self, value: ort.OrtValue) -> Array:
        self.reads.append(tuple(value.shape()))
        return np.array(super().read(value))


CASES = (("mlp", "paper"), ("resnet", "paper"), ("resnet", "differential"))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    name, preset = request.param
    method: Any = None if preset == "differential" else "max"
    settings = Settings(preset=preset, method=method, timesteps=STEPS)
    made = run_conversion(NETWORKS[name](), inputs_for(name, 20), settings).model
    made.doc_string = name
    return made


def pair(model: onnx.ModelProto, **options: Any) -> tuple[Simulation, Simulation, Apart]:
    """The same model on the host, and on a device."""
    device = Apart()
    host = Simulation(model, Opening(threads=1), **options)
    there = Simulation(model, Opening(threads=1, memory=device), **options)
    return host, there, device


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(np.array_equal(found[name], wanted[name]) for name in wanted)
    return all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("schedule", ["stepped", "batched", "auto"])
def test_a_device_computes_the_same_bits_as_the_host(schedule: Any, model: onnx.ModelProto) -> None:
    # in differential coding what spikes cost is counted step by step
    costs = schedule != "batched"
    host, there, _ = pair(model, schedule=schedule, count_spikes=True, count_activity=costs)
    for size, reset in ((3, True), (3, False), (5, True), (1, True)):
        feed = {"input": inputs_for(model.doc_string, size, seed=size)}
        windows = [(2, 0), (STEPS, 0)]
        if host.model.coding == "rate":
            windows.append((STEPS, 1))
        wanted = host.run_at(feed, windows, reset=reset)
        for one, other in zip(there.run_at(feed, windows, reset=reset), wanted, strict=True):
            assert same(one, other)
        assert same(there.potentials(), host.potentials())
        assert same(there.spike_counts(), host.spike_counts())
        if costs:
            assert same(there.activity(), host.activity())


def test_steps_and_spikes_are_those_of_the_host(model: onnx.ModelProto) -> None:
    host, there, _ = pair(model)
    feed = {"input": inputs_for(model.doc_string, 2)}
    for step, wanted in zip(there.steps(feed), host.steps(feed), strict=True):
        assert same(step.outputs, wanted.outputs)
        assert same(step.spikes, wanted.spikes)


@pytest.mark.parametrize("schedule", ["stepped", "batched"])
def test_no_state_leaves_the_device_but_what_the_answer_is_made_of(
    schedule: Any, model: onnx.ModelProto
) -> None:
    _, there, device = pair(model, schedule=schedule)
    feed = {"input": inputs_for(model.doc_string, 2)}
    there.run(feed, STEPS, 0)
    first = len(device.reads)
    assert first == len(there.model.taken)
    device.reads.clear()
    device.puts.clear()
    there.run(feed, 4 * STEPS, 0)
    # however long it takes
    assert len(device.reads) == first
    ticks = 1 if schedule == "batched" else 0
    assert len(device.puts) == len(feed) + ticks


def test_a_run_on_the_same_inputs_goes_on_where_its_states_are(model: onnx.ModelProto) -> None:
    host, there, device = pair(model)
    feed = {"input": inputs_for(model.doc_string, 2)}
    there.run(feed, 3, 0)
    host.run(feed, 3, 0)
    device.reads.clear()
    assert same(there.run(feed, 3, 0, reset=False), host.run(feed, 3, 0, reset=False))
    assert len(device.reads) == len(there.model.taken)
    assert same(there.potentials(), host.potentials())


def test_an_unfinished_run_is_gone_on_from_as_it_stands(model: onnx.ModelProto) -> None:
    host, there, _ = pair(model)
    feed = {"input": inputs_for(model.doc_string, 2)}
    answers = []
    for simulation in (host, there):
        steps = simulation.steps(feed, STEPS, 0)
        next(steps)
        next(steps)
        answers.append(simulation.run(feed, 2, 0, reset=False))
        next(steps)
        # the run that was left alone has its own states still
        assert same(simulation.run(feed, STEPS, 0), SpikingSession(model).run(None, feed, STEPS, 0))
    assert same(*answers)


def test_streams_take_turns_on_a_device_and_read_their_answers_alone(
    model: onnx.ModelProto,
) -> None:
    host, there, device = pair(model)
    if model.doc_string != "resnet" or host.model.coding != "differential":
        pytest.skip("a stream needs estimates")
    frames = [
        [{"input": inputs_for("resnet", 1, seed=7 * s + k)} for k in range(4)] for s in (0, 1)
    ]
    wanted = [list(host.stream(frames[s], 2, reset=True)) for s in (0, 1)]
    streams = [there.stream(frames[s], 2, reset=True) for s in (0, 1)]
    for index in range(4):
        device.reads.clear()
        for s in (0, 1):
            assert same(next(streams[s]), wanted[s][index])
        assert len(device.reads) == 2 * len(there.model.taken)


def test_early_exit_is_that_of_the_host(model: onnx.ModelProto) -> None:
    host, there, _ = pair(model)
    feed = {"input": inputs_for(model.doc_string, 4)}
    found = []
    for simulation in (host, there):
        windows = windows_up_to(simulation, STEPS, 0)
        answer, steps = run_early(simulation, feed, windows, 0.1, reset=True)
        found.append([*answer, steps])
    assert same(*found)


def test_threads_share_a_device(model: onnx.ModelProto) -> None:
    host, there, _ = pair(model)
    feeds = [{"input": inputs_for(model.doc_string, 1 + k, seed=k)} for k in range(4)]
    wanted = [host.run(feed) for feed in feeds]
    right = [False] * len(feeds)

    def work(k: int) -> None:
        right[k] = all(same(there.run(feeds[k]), wanted[k]) for _ in range(5))

    threads = [Thread(target=work, args=(k,)) for k in range(len(feeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(right)


def test_a_device_takes_as_many_steps_a_pass_as_its_memory_allows(
    monkeypatch: pytest.MonkeyPatch, model: onnx.ModelProto
) -> None:
    host, there, device = pair(model)
    feed = {"input": inputs_for(model.doc_string, 2)}
    wanted = host.run(feed, STEPS, 0)
    of_sample = plan.neurons_of(host.model)
    assert of_sample is not None
    neurons = 2 * of_sample
    passes = []
    for bound in (STEPS * neurons, 2 * neurons, neurons):
        monkeypatch.setattr(plan, "DEVICE_NEURON_STEPS", bound)
        device.puts.clear()
        (found,) = there.run(feed, STEPS, 0)
        np.testing.assert_allclose(found, wanted[0], rtol=1e-5, atol=1e-6)
        # each pass of several steps is told how many; a single step is told nothing
        passes.append(len(device.puts) - len(feed))
    assert passes == [1, STEPS // 2, 0]


# --- names of providers ---


def test_the_first_provider_says_where_states_stay() -> None:
    assert device_of(["CPUExecutionProvider"]) == HOST
    assert device_of(["OpenVINOExecutionProvider", "CPUExecutionProvider"]) == HOST
    assert device_of(["CUDAExecutionProvider"]) == Device("cuda", 0)
    assert device_of([("TensorrtExecutionProvider", {"device_id": "1"})]) == Device("cuda", 1)
    assert Opening(providers=["CUDAExecutionProvider"]).device == Device("cuda")


@pytest.mark.parametrize("given", [None, [], "cpu", ["CPU"], ["CPUExecutionProvider"]])
def test_a_provider_may_be_named_in_short(given: Any) -> None:
    assert usable(given) == ["CPUExecutionProvider"]


def test_a_number_behind_a_colon_chooses_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_require_start", lambda _: None)
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: there)
    assert usable(["cuda:1", "cpu"]) == [
        ("CUDAExecutionProvider", {"device_id": 1}),
        "CPUExecutionProvider",
    ]
    options = ("cuda", {"device_id": 2, "use_tf32": 0})
    assert usable([options]) == [("CUDAExecutionProvider", options[1])]


def refusals() -> Iterator[tuple[Any, str]]:
    yield ["cuda"], r"no provider 'cuda' here, but .*CPUExecutionProvider; install onnxruntime-gpu"
    yield ["abacus"], r"no provider 'abacus' here, but .*CPUExecutionProvider$"
    yield ["cpu:first"], "behind the colon stands the number"
    yield [7], "provider is 7; it has to be a name"


@pytest.mark.parametrize(("given", "sentence"), list(refusals()))
def test_a_provider_that_is_not_here_is_refused_with_those_that_are(
    given: Any, sentence: str, model: onnx.ModelProto
) -> None:
    with pytest.raises(UsageError, match=sentence):
        SpikingSession(model, providers=given)


def test_a_provider_without_its_device_is_refused(
    monkeypatch: pytest.MonkeyPatch, model: onnx.ModelProto
) -> None:
    session = ort.InferenceSession

    class Fallen:
        """onnxruntime where a driver is missing: it opens a session on the CPU all the same."""

        def __init__(self, proto: bytes, options: Any, **_: Any) -> None:
            self._session = session(proto, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return list(self._session.get_providers())

    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: there)
    monkeypatch.setattr(ort, "InferenceSession", Fallen)
    with pytest.raises(UsageError, match=r"CUDAExecutionProvider does not start here.*there are C"):
        SpikingSession(model, providers=["cuda"])


def failing(model: onnx.ModelProto, at: str, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """A session on a provider that starts, and fails where it is told to."""
    failure = ort.capi.onnxruntime_pybind11_state.Fail("no such kernel")

    def fails(*_: Any, **__: Any) -> Any:
        raise failure

    opening = Opening(providers=[("CPUExecutionProvider", {})], threads=1)
    if at == "load":
        monkeypatch.setattr(ort, "InferenceSession", fails)
    simulation = Simulation(model, opening, schedule="stepped")
    monkeypatch.setattr(simulation._parts.core, "run_with_iobinding", fails)
    return simulation


@pytest.mark.parametrize("at", ["load", "run"])
def test_a_provider_that_fails_on_a_spiking_model_is_to_blame(
    at: str, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"cannot compute this spiking model: leave the provider"):
        failing(model, at, monkeypatch).run({"input": inputs_for(model.doc_string, 1)})
