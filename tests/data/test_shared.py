"""Inputs that all samples share, a scalar or a state, may be given once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder
from helpers.stages import relative
from numpy.typing import NDArray

from onnx2snn import DataError, SpikingSession, evaluate
from onnx2snn.data.samples import open_samples
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.settings import Settings

Array = NDArray[Any]
FLOAT = np.dtype(np.float32)
X = np.random.default_rng(0).standard_normal((20, 12)).astype(np.float32)


def scaled(shape: list[Any]) -> onnx.ModelProto:
    """Hidden currents times an input."""
    b = Builder()
    h = b.node("Mul", b.gemm(b.input("x", ["N", 12]), 12, 10), b.input("s", shape))
    return b.model({b.name_output(b.gemm(b.node("Relu", h), 10, 4), "y"): ["N", 4]})


@pytest.mark.parametrize("preset", [None, "low-latency"])
@pytest.mark.parametrize("shape", [[], [1], [1, 10], ["N", 10]])
def test_one_value_or_one_row_serves_all_samples(shape: list[Any], preset: Any) -> None:
    proto = scaled(shape)
    once = np.full([1 if size == "N" else size for size in shape], 1.5, np.float32)
    data = {"x": X, "s": once}
    settings = Settings(method="max", delay=0, timesteps=32, threads=1)
    if preset is not None:
        settings = Settings(preset=preset, timesteps=16, threads=1)
    model = run_conversion(proto, data, settings).model
    feed = dict(data)
    if shape and shape[0] == "N":
        feed["s"] = np.repeat(once, len(X), axis=0)
    if shape == [1]:
        feed["x"] = X
    wanted = ort.InferenceSession(proto.SerializeToString()).run(None, feed)[0]
    for threads in (1, 2):
        found = SpikingSession(model, threads=threads).run(None, feed, 128, 0)[0]
        assert relative(found, wanted) <= 0.2
    assert evaluate(proto, model, data, timesteps=[8])["samples"] == len(X)


def batches_of_values(*values: float) -> Iterator[dict[str, Array]]:
    for start, value in zip((0, 10), values, strict=True):
        yield {"x": X[start : start + 10], "s": np.array(value, np.float32)}


def test_a_value_is_given_in_files_and_streams(tmp_path: Path) -> None:
    specs = [TensorSpec("x", FLOAT, ("N", 12)), TensorSpec("s", FLOAT, ())]
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "s.npy", np.array(2.0, np.float32))
    np.savez(tmp_path.parent / "both.npz", x=X, s=np.array([2.0]))
    sources = [
        tmp_path,
        tmp_path.parent / "both.npz",
        batches_of_values(2, 2),
        list(batches_of_values(2, 2)),
    ]
    for source in sources:
        with open_samples(source, specs) as samples:
            assert len(samples) == 20
            feed = samples.subset(np.array([3, 12])).batch([1, 0])
            np.testing.assert_array_equal(feed["x"], X[[12, 3]])
            assert feed["s"].shape == ()
            assert feed["s"] == 2
    with (
        pytest.raises(DataError, match="not one value for all of them"),
        open_samples(batches_of_values(2, 3), specs),
    ):
        pass


@pytest.mark.parametrize("bad", [np.zeros(3), np.array(np.nan)])
def test_what_is_no_value_is_refused(bad: Array) -> None:
    specs = [TensorSpec("x", FLOAT, ("N", 12)), TensorSpec("s", FLOAT, ())]
    with pytest.raises(DataError), open_samples({"x": X, "s": bad}, specs):
        pass
