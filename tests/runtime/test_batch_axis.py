"""Where the batch axis is: batches are divided along it, and outputs joined, or stay whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from numpy.typing import NDArray

from onnx2snn import SpikingSession
from onnx2snn.cli.commands import main
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos.batch_axis import batch_axis
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.settings import Settings

Array = NDArray[Any]
FLOAT = np.dtype(np.float32)
FRAMES = 5


@pytest.mark.parametrize(
    ("leading", "shape", "axis"),
    [
        ("N", ("N", 4), 0),
        ("N", (12, "N", 5), 1),
        ("N", ("W", "N"), 1),
        ("N", ("N",), 0),
        ("N", ("N", "N"), None),
        ("N", (12, 5), None),
        ("N", (), None),
        ("N", None, None),
        ("N", (None, 5), 0),
        (None, (None, 5), 0),
        (None, (3, None), None),
        (4, (4, 5), 0),
        (4, (12, 4), None),
    ],
)
def test_the_batch_axis_is_told_by_names_and_sizes(
    leading: Any, shape: Any, axis: int | None
) -> None:
    assert batch_axis(shape, [TensorSpec("x", FLOAT, (leading, 3))]) == axis


def scores(batch: Any) -> onnx.ModelProto:
    """A score a sample, [N], that the core hands out, beside an output [N,4]."""
    b = Builder()
    h = b.node("Relu", b.gemm(b.input("input", [batch, 12]), 12, 10))
    axis = b.const([1], np.int64)
    score = b.node("ReduceMean", h, axis, keepdims=0)
    h = b.node("Relu", b.gemm(b.node("Unsqueeze", score, axis), 1, 8))
    y = b.name_output(b.gemm(h, 8, 4), "y")
    return b.model({b.name_output(score, "score"): [batch], y: [batch, 4]})


def frames(batch: Any) -> onnx.ModelProto:
    """Layers over [N,F,8] folded to [N F,8], and back."""
    b = Builder()
    x = b.node("Reshape", b.input("input", [batch, FRAMES, 8]), b.const([-1, 8], np.int64))
    h = b.node("Relu", b.gemm(x, 8, 6))
    h = b.node("Relu", b.gemm(h, 6, 6))
    h = b.node("Reshape", h, b.const([-1, FRAMES, 6], np.int64))
    h = b.node("ReduceMean", h, b.const([1], np.int64), keepdims=0)
    h = b.node("Relu", b.gemm(h, 6, 6))
    return b.model({b.name_output(b.gemm(h, 6, 3), "y"): [batch, 3]})


def reader(batch: Any) -> onnx.ModelProto:
    """Columns first, as readers of text have it: [12,N,5]."""
    b = Builder()
    h = b.node("Relu", b.gemm(b.input("input", [batch, 12]), 12, 12 * 6))
    h = b.node("Reshape", h, b.const([-1, 12, 6], np.int64))
    h = b.node("Transpose", h, perm=[1, 0, 2])
    y = b.node("MatMul", h, b.const(b.rng.standard_normal((6, 5))))
    return b.model({b.name_output(y, "y"): [12, batch, 5]})


def columns(batch: Any) -> onnx.ModelProto:
    """Neurons whose batch is on axis 1."""
    b = Builder()
    x = b.node("Transpose", b.input("input", [batch, 6, 8]), perm=[1, 0, 2])
    h = b.node("Relu", b.node("MatMul", x, b.const(b.rng.standard_normal((8, 7)))))
    h = b.node("Relu", b.node("MatMul", h, b.const(b.rng.standard_normal((7, 7)) / 2)))
    y = b.node("MatMul", h, b.const(b.rng.standard_normal((7, 3))))
    return b.model({b.name_output(y, "y"): [6, batch, 3]})


SHAPES = {scores: (12,), frames: (FRAMES, 8), reader: (12,), columns: (6, 8)}


def data_for(network: Callable[..., Any], count: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *SHAPES[network])).astype(np.float32)


@pytest.mark.parametrize("batch", ["N", None])
@pytest.mark.parametrize("network", list(SHAPES))
def test_threads_change_no_answer(network: Callable[..., Any], batch: Any) -> None:
    proto = network(batch)
    settings = Settings(method="max", delay=0, timesteps=64, threads=2)
    model = run_conversion(proto, data_for(network, 24), settings).model
    ann = ort.InferenceSession(proto.SerializeToString())
    # 5 and 6 are sizes of other axes, too
    for count in (1, 2, 5, 6, 7):
        feed = {"input": data_for(network, count, seed=count)}
        one, two = (SpikingSession(model, threads=threads, count_spikes=True) for threads in (1, 2))
        for found, wanted in zip(two.run(None, feed), one.run(None, feed), strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, atol=0.1)
        for found, wanted in zip(two.run(None, feed), ann.run(None, feed), strict=True):
            assert found.shape == wanted.shape
        for site, counts in one.spike_counts().items():
            assert two.spike_counts()[site].shape == counts.shape
        two.run(None, feed, reset=False)


@pytest.mark.parametrize("count", [130, 200])
@pytest.mark.parametrize("network", [scores, frames, reader, columns])
def test_outputs_of_all_samples_are_joined_along_the_batch_axis(
    network: Callable[..., Any], count: int, tmp_path: Path
) -> None:
    proto = network("N")
    data = data_for(network, count)
    model = run_conversion(
        proto, data[:20], Settings(method="max", delay=0, timesteps=8, threads=1)
    ).model
    onnx.save(model, tmp_path / "snn.onnx")
    np.savez(tmp_path / "x.npz", input=data)
    command = ["run", "snn.onnx", "--inputs", "x.npz", "-o", "o.npz", "--quiet", "--threads", "1"]
    files = ("snn.onnx", "x.npz", "o.npz")
    assert main([str(tmp_path / a) if a in files else a for a in command]) == 0
    wanted = SpikingSession(model, threads=1).run(None, {"input": data})
    with np.load(tmp_path / "o.npz") as found:
        for spec, values in zip(proto.graph.output, wanted, strict=True):
            np.testing.assert_allclose(found[spec.name], values, atol=0.3)


def test_outputs_without_a_batch_axis_are_not_joined(tmp_path: Path) -> None:
    b = Builder()
    h = b.node("Relu", b.gemm(b.input("input", ["N", 12]), 12, 10))
    y = b.node("ReduceMean", b.gemm(h, 10, 4), b.const([0], np.int64), keepdims=0)
    proto = b.model({b.name_output(y, "y"): [4]})
    data = np.random.default_rng(0).standard_normal((200, 12)).astype(np.float32)
    settings = Settings(method="max", delay=0, timesteps=8, threads=1)
    onnx.save(run_conversion(proto, data[:20], settings).model, tmp_path / "snn.onnx")
    for count, code in ((200, 2), (100, 0)):
        np.savez(tmp_path / "x.npz", input=data[:count])
        paths = [str(tmp_path / name) for name in ("snn.onnx", "x.npz", "o.npz")]
        assert main(["run", paths[0], "--inputs", paths[1], "-o", paths[2], "--quiet"]) == code
