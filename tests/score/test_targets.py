"""Targets of a regression are told from classes by their labels; a bare logit is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import Builder
from numpy.typing import NDArray

from onnx2snn import DataError, evaluate
from onnx2snn.data.samples import open_samples
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.score.class_metrics import Logit, Top1
from onnx2snn.score.targets import has_fractions
from onnx2snn.settings import Settings

Array = NDArray[Any]
FLOAT = np.dtype(np.float32)
RNG = np.random.default_rng(0)


def regressor(columns: int) -> onnx.ModelProto:
    b = Builder()
    h = b.node("Relu", b.gemm(b.input("input", ["N", 6]), 6, 12))
    return b.model({b.name_output(b.gemm(h, 12, columns), "y"): ["N", columns]})


@pytest.mark.parametrize(
    ("labels", "fractions"),
    [
        (RNG.standard_normal((8, 3)), True),
        (RNG.standard_normal(8), True),
        (np.eye(8, dtype=np.float32), False),
        (np.arange(8.0), False),
        (np.arange(8), False),
        (np.array(["a"] * 8), False),
    ],
)
def test_labels_with_fractions_are_no_classes(labels: Array, fractions: bool) -> None:
    spec = TensorSpec("input", FLOAT, ("N", 6))
    with open_samples({"input": np.zeros((8, 6), np.float32), "labels": labels}, [spec]) as samples:
        assert has_fractions(samples) == fractions


@pytest.mark.parametrize("columns", [1, 3])
def test_a_regression_is_scored_by_its_error(columns: int) -> None:
    """Columns that overlap, whose largest is no class."""
    proto = regressor(columns)
    x = RNG.standard_normal((40, 6)).astype(np.float32)
    labels = RNG.standard_normal((40, columns))
    data = {"input": x, "labels": labels}
    settings = Settings(method="max", timesteps=4, threads=1)
    conversion = run_conversion(proto, data, settings)
    assert "1 - relative error" in str(conversion.report.to_dict()["agreement"])
    assert "mse" in evaluate(proto, conversion.model, data, timesteps=[4])["ann"]
    scored = evaluate(proto, conversion.model, data, timesteps=[4], metric="agreement")["scored"]
    assert "1 - relative error" in scored


def test_a_logit_decides_at_0_where_it_is_named() -> None:
    output = np.array([[-2.0], [0.3], [0.0], [5.0]], np.float32)
    labels = np.array([0, 1, 1, 0])
    for found in (output, output[:, 0]):
        rows = Logit(["y"]).measure([found], [labels])
        np.testing.assert_array_equal(rows[:, 0], [1, 1, 0, 0])
    with pytest.raises(DataError, match="such as logit for one value a sample"):
        Top1(["y"]).measure([output], [labels])
    with pytest.raises(DataError, match="logit needs one value a sample"):
        Logit(["y"]).measure([np.zeros((4, 3), np.float32)], [labels])
    with pytest.raises(DataError, match="classes 0 to 1"):
        Logit(["y"]).measure([output], [labels + 1])
