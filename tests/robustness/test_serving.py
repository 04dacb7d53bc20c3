"""A session in a server: it survives failed runs, mixes no states and keeps to its memory."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from helpers.networks import inputs_for, mlp

from onnx2snn import SpikingSession, convert
from onnx2snn.errors import DataError, UsageError
from onnx2snn.runtime.plan import Schedule
from robustness.snn_cases import OPTIONS, spiking
from robustness.soak import held, soaked

WAY = "onnx2snn.runtime.time_loop._side_by_side"
WHOLE = "onnx2snn.runtime.whole._run"
PASS = "onnxruntime.InferenceSession.run_with_iobinding"
RUN = ort.InferenceSession.run_with_iobinding


@pytest.mark.parametrize("schedule", ["auto", "stepped"])
@pytest.mark.parametrize("coding", ["rate", "differential"])
def test_a_session_answers_right_after_failed_runs(
    coding: str, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SpikingSession(spiking(coding), threads=1, schedule=schedule)
    good = {"input": inputs_for("mlp", 3)}
    (expected,) = session.run(None, good)
    for bad in ({"input": np.zeros((3, 11), np.float32)}, {}, {"other": good["input"]}):
        with pytest.raises(DataError):
            session.run(None, bad)
        assert np.array_equal(session.run(None, good)[0], expected)
    for error in (KeyboardInterrupt, MemoryError):
        with monkeypatch.context() as patch:
            patch.setattr(WAY, _raising(error))
            patch.setattr(WHOLE, _raising(error))
            with pytest.raises(error):
                session.run(None, good)
        assert np.array_equal(session.run(None, good)[0], expected)


def test_a_stream_goes_on_from_the_last_whole_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    session = SpikingSession(spiking("differential"), threads=1)
    frames = [{"input": inputs_for("mlp", 1, seed=seed)} for seed in range(4)]
    expected = list(session.stream(frames))
    session.reset()
    stream = session.stream(frames)
    found = [next(stream), next(stream)]
    with monkeypatch.context() as patch:
        patch.setattr(WAY, _raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            next(stream)
    # it is over: it does not go on from a frame half done
    assert list(stream) == []
    found += session.stream(frames[2:], reset=False)
    for (answer,), (wanted,) in zip(found, expected, strict=True):
        assert np.array_equal(answer, wanted)


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("schedule", ["auto", "stepped", "batched"])
@pytest.mark.parametrize("coding", ["rate", "differential"])
def test_states_of_an_interrupted_run_are_refused(
    coding: str, schedule: Schedule, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SpikingSession(spiking(coding), threads=2, schedule=schedule)
    feed = {"input": inputs_for("mlp", batch)}
    (expected,) = session.run(None, feed, 8)
    steps = session.steps(feed, 8)
    next(steps)
    with monkeypatch.context() as patch:
        patch.setattr(PASS, _raising_after(1))
        with pytest.raises(KeyboardInterrupt):
            next(steps)
    for ask in (lambda: session.run(None, feed, reset=False), session.potentials):
        with pytest.raises(UsageError, match="interrupted"):
            ask()
    assert np.array_equal(session.run(None, feed, 8)[0], expected)
    session.run(None, feed, 8, reset=False)


@pytest.mark.parametrize("coding", ["rate", "differential"])
def test_an_interrupted_run_in_one_pass_leaves_the_run_before(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, other = (SpikingSession(spiking(coding), threads=1) for _ in range(2))
    feed, next_feed = ({"input": inputs_for("mlp", 3, seed=seed)} for seed in range(2))
    for each in (session, other):
        each.run(None, feed, 2)
    with monkeypatch.context() as patch:
        patch.setattr(WHOLE, _raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            session.run(None, next_feed, 2)
    found, wanted = (each.run(None, feed, 2, reset=False) for each in (session, other))
    assert np.array_equal(found[0], wanted[0])


def _raising_after(count: int) -> Any:
    """Let the pass of a session be the last one, its work done."""
    passes = [count]

    def last(session: Any, *arguments: Any) -> None:
        RUN(session, *arguments)
        passes[0] -= 1
        if passes[0] <= 0:
            raise KeyboardInterrupt

    return last


def _raising(error: type[BaseException]) -> Any:
    def fails(*_: object) -> None:
        raise error

    return fails


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
@pytest.mark.parametrize("coding", ["rate", "differential"])
def test_runs_of_changing_batch_size_keep_memory_flat(coding: str) -> None:
    session = SpikingSession(spiking(coding), threads=1)
    inputs = inputs_for("mlp", 16)

    def runs(count: int) -> None:
        for number in range(count):
            session.run(None, {"input": inputs[: 1 + number % 16]}, timesteps=2)

    runs(200)
    before = held()
    runs(1000)
    after = held()
    assert after[0] < 1.05 * before[0]
    assert after[1] == before[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
@pytest.mark.parametrize("coding", ["rate", "differential"])
def test_conversions_keep_memory_flat(coding: str) -> None:
    def conversions(count: int) -> None:
        for _ in range(count):
            convert(mlp(), inputs_for("mlp", 20), **OPTIONS[coding])

    conversions(8)
    before = held()
    conversions(20)
    after = held()
    assert after[0] < 1.05 * before[0]
    assert after[1] == before[1]


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
def test_a_soak_tells_memory_that_grows() -> None:
    kept: list[mmap.mmap] = []
    page = b"x" * 2**20

    def hoard() -> None:
        # memory of its own: the allocator may have room for what is asked of it
        piece = mmap.mmap(-1, len(page), flags=mmap.MAP_PRIVATE)
        piece.write(page)
        kept.append(piece)

    found = soaked("hoarding", 100, iter(hoard, 0))
    assert found.count == len(kept) == 100
    assert not found.flat
    assert found.most - found.warm > 60 * 2**20
    for piece in kept:
        piece.close()
    assert soaked("nothing", 100, iter(lambda: None, 0)).flat


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and signals as Linux has them")
def test_a_killed_conversion_leaves_each_result_absent_or_whole() -> None:
    here = Path(__file__).parents[1]
    paths = os.pathsep.join([str(here), str(here.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "robustness.kills", "6"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
