"""One session, several threads: each call has its own run, each thread its own last run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import NETWORKS, inputs_for
from numpy.typing import NDArray

from onnx2snn import DataError, SpikingSession
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos.sessions import shared_out, usable_cores
from onnx2snn.runtime.parts import Opening
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.runtime.time_batched import batched_core
from onnx2snn.settings import Settings

Array = NDArray[Any]
THREADS, ROUNDS, STEPS = 6, 8, 6


@pytest.fixture(scope="module", params=["mlp", "vgg"])
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    settings = Settings(method="max", timesteps=STEPS)
    data = inputs_for(request.param, 20)
    converted = run_conversion(NETWORKS[request.param](), data, settings).model
    converted.doc_string = request.param
    return converted


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def feeds_for(model: onnx.ModelProto) -> list[dict[str, Array]]:
    """A feed for each thread; two have the same shape."""
    sizes = [1 + index // 2 for index in range(THREADS)]
    return [
        {"input": inputs_for(model.doc_string, size, seed=index)}
        for index, size in enumerate(sizes)
    ]


def together(work: Callable[[int], None]) -> None:
    """Run work(0), work(1), ... in a thread each; raise what one of them raised."""
    errors: list[BaseException] = []
    begin = threading.Barrier(THREADS)

    def guarded(index: int) -> None:
        try:
            begin.wait()
            for _ in range(ROUNDS):
                work(index)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("schedule", ["stepped", "auto"])
@pytest.mark.parametrize("workers", [1, 2])
def test_each_thread_gets_the_answer_to_its_own_question(
    schedule: Any, workers: int, model: onnx.ModelProto
) -> None:
    session = SpikingSession(model, threads=workers, schedule=schedule)
    feeds = feeds_for(model)
    alone = [session.run(None, feed, delay=2)[0] for feed in feeds]

    def ask(index: int) -> None:
        (found,) = session.run(None, feeds[index], delay=2)
        np.testing.assert_allclose(found, alone[index], atol=1e-4)

    together(ask)


@pytest.mark.usefixtures("quick_switches")
def test_each_thread_reads_its_own_last_run(model: onnx.ModelProto) -> None:
    session = SpikingSession(model, threads=1, count_spikes=True, count_activity=True)
    feeds = feeds_for(model)

    def told() -> list[dict[str, Array]]:
        return [session.potentials(), session.spike_counts(), session.activity()]

    alone = []
    for feed in feeds:
        session.run(None, feed)
        alone.append(told())

    def ask(index: int) -> None:
        session.run(None, feeds[index])
        for found, wanted in zip(told(), alone[index], strict=True):
            for site, values in wanted.items():
                np.testing.assert_allclose(found[site], values, atol=1e-4)

    together(ask)


@pytest.mark.usefixtures("quick_switches")
def test_each_thread_reads_its_own_steps(model: onnx.ModelProto) -> None:
    session = SpikingSession(model, threads=1)
    feeds = feeds_for(model)
    alone = [[step.spikes for step in session.steps(feed)] for feed in feeds]

    def ask(index: int) -> None:
        for step, wanted in zip(session.steps(feeds[index]), alone[index], strict=True):
            for site, spikes in step.spikes.items():
                assert np.array_equal(spikes, wanted[site])

    together(ask)


@pytest.mark.usefixtures("quick_switches")
def test_sessions_are_opened_once_however_many_threads_need_them(model: onnx.ModelProto) -> None:
    session = SpikingSession(model, threads=2)
    feeds = feeds_for(model)
    parts = session._simulation._parts
    opened = []

    def ask(index: int) -> None:
        next(session.steps(feeds[index], timesteps=1))
        session.run(None, feeds[index])
        opened.append((parts.core, parts.observer, parts.batched_core))

    together(ask)
    assert len({tuple(map(id, sessions)) for sessions in opened}) == 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[onnx.ModelProto | str]:
    """The cores of many time-steps that are made."""
    found = []

    def counted(*values: Any, **named: Any) -> onnx.ModelProto | str:
        found.append(batched_core(*values, **named))
        return found[-1]

    monkeypatch.setattr("onnx2snn.runtime.parts.batched_core", counted)
    return found


def test_very_many_layers_of_neurons_are_run_step_by_step(
    model: onnx.ModelProto, made: list[onnx.ModelProto | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # onnxruntime opens a core of many Scans in a time that grows faster than their number
    monkeypatch.setattr("onnx2snn.runtime.plan.MOST_SCANS", 1)
    simulation = Simulation(model, Opening(threads=1))
    simulation.run({"input": inputs_for(model.doc_string, 2)}, STEPS)
    assert not made


def test_the_core_of_many_steps_is_made_once_for_the_question_and_the_run(
    model: onnx.ModelProto, made: list[onnx.ModelProto | str]
) -> None:
    simulation = Simulation(model, Opening(threads=2))
    # chunks side by side, which have a session of their own
    simulation.run({"input": inputs_for(model.doc_string, 4)}, STEPS)
    assert len(made) == 1


def test_a_thread_that_ran_nothing_reads_the_latest_run(model: onnx.ModelProto) -> None:
    session = SpikingSession(model, threads=1)
    feed = feeds_for(model)[0]
    elsewhere = threading.Thread(target=session.run, args=(None, feed))
    elsewhere.start()
    elsewhere.join()
    assert session.potentials()
    session.reset()
    assert session.potentials() == {}


def test_an_interrupted_run_leaves_the_last_one_whole(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SpikingSession(model, threads=1, schedule="stepped")
    small, large = feeds_for(model)[0], feeds_for(model)[-1]
    session.run(None, small)
    before = session.potentials()

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("onnx2snn.runtime.time_loop._side_by_side", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.run(None, large)
    after = session.potentials()
    for site, values in before.items():
        assert np.array_equal(after[site], values)
    with pytest.raises(DataError, match="cannot go on"):
        session.run(None, large, reset=False)
    session.run(None, small, reset=False)


def test_cores_are_counted_where_the_system_tells_no_affinity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert usable_cores() == Opening().workers == 3
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.parametrize("schedule", ["stepped", "auto", "batched"])
def test_an_empty_batch_gives_empty_answers(schedule: Any, model: onnx.ModelProto) -> None:
    session = SpikingSession(model, threads=2, schedule=schedule, count_spikes=True)
    none = {"input": inputs_for(model.doc_string, 1)[:0]}
    one = {"input": inputs_for(model.doc_string, 1)}
    (wanted,) = session.run(None, one)
    for delay in (0, 2):
        (found,) = session.run(None, none, delay=delay)
        assert found.shape == (0, *wanted.shape[1:])
        assert found.dtype == wanted.dtype
    for values in [*session.spike_counts().values(), *session.potentials().values()]:
        assert len(values) == 0
    outputs = [step.outputs[0].shape for step in session.steps(none, timesteps=2)]
    assert outputs == [found.shape] * 2
    (again,) = session.run(None, one)
    np.testing.assert_allclose(again, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("threads", "shared"), [(1, (1, 1)), (2, (2, 1)), (7, (7, 1)), (8, (8, 1)), (64, (8, 8))]
)
def test_threads_are_shared_out_among_runs_side_by_side(
    threads: int, shared: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared_out(threads) == shared
    monkeypatch.setattr("onnx2snn.protos.sessions.usable_cores", lambda: threads)
    assert shared_out(None) == shared
