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

from onnx2snn import SpikingSession, evaluate
from onnx2snn.cli.commands import main
from onnx2snn.errors import UsageError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings

Array = NDArray[Any]
FRAMES = 5


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


def blocks(batch: Any) -> onnx.ModelProto:
    """Frames folded in front of samples: [N,F,8] -> [F N,8], and back."""
    b = Builder()
    x = b.node("Transpose", b.input("input", [batch, FRAMES, 8]), perm=[1, 0, 2])
    h = b.node("Relu", b.gemm(b.node("Reshape", x, b.const([-1, 8], np.int64)), 8, 6))
    h = b.node("Relu", b.gemm(h, 6, 6))
    h = b.node("Reshape", h, b.const([FRAMES, -1, 6], np.int64))
    h = b.node("ReduceMean", h, b.const([0], np.int64), keepdims=0)
    h = b.node("Relu", b.gemm(h, 6, 6))
    return b.model({b.name_output(b.gemm(h, 6, 3), "y"): [batch, 3]})


def table(batch: Any) -> onnx.ModelProto:
    """A table [6,7] of positions that the encoder hands over beside [N,6,7]."""
    b = Builder()
    x = b.input("input", [batch, 6, 8])
    length = b.node("Squeeze", b.node("Shape", x, start=1, end=2))
    steps = b.node("Range", b.const(0, np.int64), length, b.const(1, np.int64))
    positions = b.node("Gather", b.const(b.rng.standard_normal((32, 7)) / 2), steps)
    h = b.node("MatMul", x, b.const(b.rng.standard_normal((8, 7)) / 3))
    h = b.node("Relu", b.node("Add", h, positions))
    h = b.node("MatMul", b.node("Add", h, positions), b.const(b.rng.standard_normal((7, 7)) / 3))
    y = b.node("MatMul", b.node("Relu", h), b.const(b.rng.standard_normal((7, 3))))
    return b.model({b.name_output(y, "y"): [batch, 6, 3]})


def classes_first(batch: Any) -> onnx.ModelProto:
    """Scores [4,N], as many classes as the batch may be long."""
    b = Builder()
    h = b.gemm(b.node("Relu", b.gemm(b.input("input", [batch, 12]), 12, 10)), 10, 4)
    return b.model({b.name_output(b.node("Transpose", h), "y"): [4, batch]})


SHAPES = {
    scores: (12,),
    frames: (FRAMES, 8),
    reader: (12,),
    columns: (6, 8),
    blocks: (FRAMES, 8),
    table: (6, 8),
    classes_first: (12,),
}


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


@pytest.mark.parametrize(("batch", "count"), [("N", 130), ("N", 200), (None, 130), (4, 10)])
@pytest.mark.parametrize("network", [scores, frames, reader, columns, classes_first])
def test_outputs_of_all_samples_are_joined_along_the_batch_axis(
    network: Callable[..., Any], batch: Any, count: int, tmp_path: Path
) -> None:
    proto = network(batch)
    data = data_for(network, count)
    model = run_conversion(
        proto, data[:20], Settings(method="max", delay=0, timesteps=8, threads=1)
    ).model
    onnx.save(model, tmp_path / "snn.onnx")
    np.savez(tmp_path / "x.npz", input=data)
    command = ["run", "snn.onnx", "--inputs", "x.npz", "-o", "o.npz", "--quiet", "--threads", "1"]
    files = ("snn.onnx", "x.npz", "o.npz")
    assert main([str(tmp_path / a) if a in files else a for a in command]) == 0
    if batch == 4:
        free = network("N")
        wanted = ort.InferenceSession(free.SerializeToString()).run(None, {"input": data})
        with np.load(tmp_path / "o.npz") as found:
            assert [found[spec.name].shape for spec in free.graph.output] == [
                values.shape for values in wanted
            ]
        return
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


@pytest.mark.parametrize("network", [columns, blocks, classes_first])
@pytest.mark.parametrize("batch", ["N", 4])
def test_spikes_and_scores_are_those_of_single_samples(
    network: Callable[..., Any], batch: Any
) -> None:
    data = data_for(network, 6)
    proto = network(batch)
    settings = Settings(method="max", delay=0, timesteps=32, threads=1)
    model = run_conversion(proto, data, settings).model
    whole = evaluate(proto, model, {"input": data})["snn"][0]
    single = [evaluate(proto, model, {"input": data[i : i + 1]})["snn"][0] for i in range(6)]
    assert whole["sops"] == pytest.approx(np.mean([row["sops"] for row in single]), rel=0.02)
    if network is not columns:
        assert whole["agreement"] >= 0.8


def test_an_output_with_its_batch_elsewhere_keeps_no_layer_before_it_from_correction() -> None:
    settings = Settings(method="max", delay=0, timesteps=16, threads=1, correct="weights,bias")
    found = run_conversion(reader("N"), data_for(reader, 24), settings).report.to_dict()
    assert [row["reason"] for row in found["unfitted"]] == [
        "its output does not hold samples one after another along axis 0"
    ]
    with pytest.raises(UsageError, match="one after another along axis 0"):
        run_conversion(columns("N"), data_for(columns, 24), settings)
