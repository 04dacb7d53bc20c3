"""Streams of models in differential coding: exact sums after any frame, no drift, fewer spikes."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import Builder
from numpy.typing import NDArray
from onnx import numpy_helper

from onnx2snn import DataError, SpikingSession, UsageError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos.sessions import open_session
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.settings import Settings

Array = NDArray[Any]
WIDTH = 6


def gated(inputs: int = 1) -> onnx.ModelProto:
    """Three dense layers with a gate, so that no ReLU helps; sums over its inputs."""
    b = Builder(seed=7)
    names = [b.input(f"x{index}", ["N", WIDTH]) for index in range(inputs)]
    h = names[0] if inputs == 1 else b.node("Sum", *names)
    h = b.gemm(h, WIDTH, 10)
    h = b.node("Mul", h, b.node("Sigmoid", h))
    h = b.gemm(h, 10, 8)
    h = b.node("Mul", h, b.node("Sigmoid", h))
    return b.model({b.name_output(b.gemm(h, 8, 3), "y"): ["N", 3]})


def walk(count: int, step: float = 0.05) -> Array:
    """Frames that change a little each: a random walk that is drawn back to 0."""
    rng = np.random.default_rng(2)
    frames = np.zeros((count, WIDTH), np.float32)
    x = rng.standard_normal(WIDTH)
    for index in range(count):
        x = (1 - step**2 / 2) * x + step * rng.standard_normal(WIDTH)
        frames[index] = x
    return frames


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    samples = np.random.default_rng(0).standard_normal((100, WIDTH)).astype(np.float32)
    settings = Settings(preset="differential", threads=1, timesteps=4)
    return run_conversion(gated(), {"x0": samples}, settings).model


def sums_and_products(simulation: Simulation) -> list[tuple[Array, Array]]:
    """Z as the session holds it, and λW R in double precision, of each layer of the network."""
    step = simulation.model
    weights = {t.name: numpy_helper.to_array(t) for t in step.proto.graph.initializer}
    sent = simulation.sent()
    by_spikes = {neuron["spikes"]: sent[neuron["name"]] for neuron in simulation.neurons}
    by_output = {state.output: state.input for state in step.states}
    run = simulation._runs.last()
    assert run is not None
    found = []
    for node in step.proto.graph.node:
        if node.op_type not in ("Gemm", "MatMul") or node.input[0] not in by_spikes:
            continue
        assert len(node.input) == 2
        kernel = weights[node.input[1]].astype(np.float64)
        if any(a.name == "transB" and a.i for a in node.attribute):
            kernel = kernel.T
        (total,) = [
            other.output[0]
            for other in step.proto.graph.node
            if node.output[0] in other.input and other.output[0] in by_output
        ]
        product = by_spikes[node.input[0]].astype(np.float64) @ kernel
        found.append((run.value(by_output[total]), product))
    return found


def relative(found: Array, wanted: Array) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("schedule", ["stepped", "batched"])
def test_sums_are_the_weights_times_what_was_sent_after_any_frame(
    model: onnx.ModelProto, schedule: Any
) -> None:
    simulation = Simulation(model, schedule=schedule)
    feeds = ({"x0": frame[None]} for frame in walk(30, step=0.5))
    for _ in simulation.stream(feeds, 3, reset=True):
        pairs = sums_and_products(simulation)
        assert len(pairs) == 2
        for total, product in pairs:
            np.testing.assert_allclose(total, product, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_long_streams_do_not_drift(model: onnx.ModelProto, count: int) -> None:
    """The answer stays as near to the ANN's as that of a fresh run, and sums stay exact."""
    frames = walk(count)
    (wanted,) = open_session(gated(), 1).run(None, {"x0": frames})
    simulation = Simulation(model)
    feeds = ({"x0": frame[None]} for frame in frames)
    stream = simulation.stream(feeds, 2, reset=True)
    answers = np.concatenate([answer for (answer,) in stream])
    for total, product in sums_and_products(simulation):
        # at most 20,000 additions in float32, each off by 6e-8 at most
        assert relative(total, product) < 1e-4
    early = relative(answers[100:600], wanted[100:600])
    late = relative(answers[-500:], wanted[-500:])
    (fresh,) = simulation.run({"x0": frames[-500:]}, 8)
    alone = relative(fresh, wanted[-500:])
    assert late < 1.5 * max(early, alone), (early, late, alone)


def test_a_frame_costs_its_differences(model: onnx.ModelProto) -> None:
    session = SpikingSession(model, count_activity=True)

    def spikes() -> float:
        return float(sum(counts.sum() for counts in session.activity().values()))

    frames = walk(20, step=0.02)
    alone = []
    for frame in frames:
        session.run(None, {"x0": frame[None]})
        alone.append(spikes())
    together = [spikes() for _ in session.stream(frames)]
    assert together[0] == alone[0]
    assert np.mean(together[1:]) < 0.5 * np.mean(alone[1:])
    # what stands still is told once
    still = np.repeat(frames[:1], 6, axis=0)
    counts = [spikes() for _ in session.stream(still, 6)]
    assert counts[-1] == 0


def test_a_stream_is_the_runs_without_a_reset(model: onnx.ModelProto) -> None:
    session = SpikingSession(model)
    frames = walk(6, step=0.3)
    wanted = [session.run(None, {"x0": frame[None]}, 3, reset=False) for frame in frames]
    found = list(session.stream(frames, 3))
    np.testing.assert_array_equal(found, wanted)
    # batches, by name or not, from anything that yields them
    batches = (frame[None] for frame in frames)
    np.testing.assert_array_equal(list(session.stream(batches, 3)), wanted)
    named = ({"x0": frame[None]} for frame in frames)
    np.testing.assert_array_equal(list(session.stream(named, 3)), wanted)
    np.testing.assert_array_equal(list(session.stream({"x0": frames}, 3)), wanted)
    # a later stream may go on
    first = list(session.stream(frames[:4], 3))
    rest = list(session.stream(frames[4:], 3, reset=False))
    np.testing.assert_array_equal(first + rest, wanted)


def test_streams_take_turns_and_never_have_to_end(model: onnx.ModelProto) -> None:
    session = SpikingSession(model)
    frames = walk(6, step=0.3)
    wanted = list(session.stream(frames, 2))

    def for_ever() -> Any:
        while True:
            yield from frames[:, None]

    streams = [session.stream(for_ever(), 2) for _ in range(2)]
    turns = [[next(stream) for stream in streams] for _ in frames]
    for index, answers in enumerate(turns):
        for answer in answers:
            np.testing.assert_array_equal(answer, wanted[index])
    assert len(list(islice(streams[0], 3))) == 3


def test_what_is_no_stream_is_refused() -> None:
    samples = np.random.default_rng(0).standard_normal((50, WIDTH)).astype(np.float32)
    data = {"x0": samples, "x1": samples}
    settings = Settings(preset="differential", threads=1)
    session = SpikingSession(run_conversion(gated(2), data, settings).model)
    with pytest.raises(UsageError, match="2 inputs: give the frames by name"):
        session.stream(samples)
    with pytest.raises(DataError, match="hold 49 and 50 frames"):
        session.stream({"x0": samples, "x1": samples[1:]})
    with pytest.raises(UsageError, match="timesteps is 0"):
        session.stream(data, 0)
    assert len(list(session.stream(data, 1))) == 50
    shapes = iter([{"x0": samples[:2], "x1": samples[:2]}, {"x0": samples[:3], "x1": samples[:3]}])
    stream = session.stream(shapes, 1)
    next(stream)
    with pytest.raises(DataError, match="cannot go on"):
        next(stream)
    b = Builder()
    h = b.node("Relu", b.gemm(b.input("x0", ["N", WIDTH]), WIDTH, 4))
    plain = b.model({b.name_output(b.gemm(h, 4, 2), "y"): ["N", 2]})
    rate = run_conversion(plain, samples, Settings(preset="low-latency", threads=1)).model
    with pytest.raises(UsageError, match="streams need a spiking model of differential coding"):
        SpikingSession(rate).stream(samples)
