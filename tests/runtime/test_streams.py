"""Streams: runs without a reset on frames that resemble each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for
from numpy.typing import NDArray

from onnx2snn import SpikingSession
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings

Array = NDArray[Any]
FRAMES, FIRST = 24, 8
PRESETS: dict[str, dict[str, Any]] = {
    "if": {"method": "max"},
    "signed": {"method": "max", "neuron": "signed"},
    "graded": {"method": "max", "levels": 2},
}


def dense() -> onnx.ModelProto:
    b = Builder(seed=3)
    x = b.input("input", ["N", 12])
    h = b.node("Relu", b.gemm(x, 12, 32))
    h = b.node("Relu", b.gemm(h, 32, 32))
    return b.model({b.name_output(b.gemm(h, 32, 4), "y"): ["N", 4]})


def network(name: str) -> tuple[onnx.ModelProto, Array]:
    """A network and data for it."""
    if name == "dense":
        samples = np.random.default_rng(1).standard_normal((200, 12)).astype(np.float32)
        return dense(), samples
    return NETWORKS[name](), inputs_for(name, 100)


def frames_like(samples: Array, correlation: float) -> list[dict[str, Array]]:
    """Frames x' = c x + sqrt(1 - c²) noise, with the samples' mean and deviation."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4, *samples.shape[1:]))
    frames = []
    for _ in range(FRAMES):
        fresh = rng.standard_normal(noise.shape)
        noise = correlation * noise + np.sqrt(1 - correlation**2) * fresh
        frame = samples.mean(0) + samples.std(0) * noise
        frames.append({"input": frame.astype(np.float32)})
    return frames


def error_of(
    session: SpikingSession, frames: list[Any], answers: list[Array], reset: bool
) -> float:
    """The mean distance of a stream's answers from the ANN's, less its beginning."""
    errors = []
    for frame, wanted in zip(frames, answers, strict=True):
        (found,) = session.run(None, frame, reset=reset)
        errors.append(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    return float(np.mean(errors[FIRST:]))


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("name", ["dense", "mlp", "vgg", "resnet"])
def test_a_stream_is_answered_as_well_as_frames_on_their_own(name: str, preset: str) -> None:
    proto, samples = network(name)
    ann = ort.InferenceSession(proto.SerializeToString())
    ratios = []
    for timesteps in (8, 32):
        settings = Settings(delay=0, timesteps=timesteps, threads=1, **PRESETS[preset])
        session = SpikingSession(run_conversion(proto, samples, settings).model, threads=1)
        for correlation in (0.99, 0.9):
            frames = frames_like(samples, correlation)
            answers = [ann.run(None, frame)[0] for frame in frames]
            alone = error_of(session, frames, answers, reset=True)
            session.reset()
            stream = error_of(session, frames, answers, reset=False)
            ratios.append(stream / alone)
    assert max(ratios) <= 1.15, ratios
    assert np.exp(np.mean(np.log(ratios))) <= 1.05, ratios


def test_a_debt_does_not_silence_the_next_frame() -> None:
    """A neuron inhibited for a long time fires at once when the input turns round."""
    b = Builder()
    x = b.input("input", ["N", 2])
    h = b.node("Relu", b.node("MatMul", x, b.const(np.eye(2))))
    y = b.node("MatMul", h, b.const(np.eye(2)))
    proto = b.model({b.name_output(y, "y"): ["N", 2]})
    samples = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    settings = Settings(method="max", delay=0, timesteps=64)
    session = SpikingSession(run_conversion(proto, samples, settings).model)
    low = np.full((1, 2), -0.9, np.float32)
    session.run(None, {"input": low})
    (found,) = session.run(None, {"input": -low}, reset=False)
    np.testing.assert_allclose(found, -low, atol=0.05)
    # the same memory with another frame in it is another frame
    frame = -low
    session.run(None, {"input": frame}, reset=False)
    frame[:] = 0.25
    (found,) = session.run(None, {"input": frame}, reset=False)
    np.testing.assert_allclose(found, frame, atol=0.05)


def test_the_same_input_goes_on_as_one_run() -> None:
    proto, samples = network("dense")
    settings = Settings(method="max", delay=0, timesteps=8, neuron="signed")
    session = SpikingSession(run_conversion(proto, samples, settings).model)
    feed = {"input": samples[:3]}
    parts = [session.run(None, feed, timesteps=4, reset=fresh)[0] for fresh in (True, False, False)]
    (whole,) = session.run(None, feed, timesteps=12)
    np.testing.assert_allclose(np.mean(parts, axis=0), whole, rtol=1e-4, atol=1e-5)
