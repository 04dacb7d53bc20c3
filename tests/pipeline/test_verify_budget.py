"""The comparison of SNN and ANN takes a bounded time, whatever the network and the data are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from helpers.networks import inputs_for, mlp

from onnx2snn import convert
from onnx2snn.pipeline import verify
from onnx2snn.pipeline.verify import BUDGET, LEAST_SAMPLES, affordable_samples


def sites(*neurons: int) -> list[Any]:
    return [SimpleNamespace(neurons=count) for count in neurons]


@pytest.mark.parametrize(
    ("available", "timesteps", "neurons", "wanted"),
    [
        (256, 32, (16_000,), 256),  # a small network is compared on all samples
        (256, 32, (5_000_000,), BUDGET // (32 * 5_000_000)),
        (256, 128, (1_000_000, 500_000), BUDGET // (128 * 1_500_000)),
        (256, 512, (20_000_000,), LEAST_SAMPLES),
        (5, 512, (20_000_000,), 5),
    ],
)
def test_the_samples_are_those_the_budget_pays_for(
    available: int, timesteps: int, neurons: tuple[int, ...], wanted: int
) -> None:
    assert affordable_samples(available, timesteps, sites(*neurons)) == wanted


@pytest.mark.parametrize("batch", ["batch", 4])
def test_the_report_says_how_many_samples_were_compared(
    batch: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "BUDGET", 1)
    model = mlp()
    for value in [*model.graph.input, *model.graph.output]:
        first = value.type.tensor_type.shape.dim[0]
        if isinstance(batch, int):
            first.dim_value = batch
        else:
            first.dim_param = batch
    made = convert(model, {"input": inputs_for("mlp", 400)}, method="max", timesteps=64)
    agreement = made.report.agreement
    assert agreement["samples"] == LEAST_SAMPLES
    assert 0.0 <= agreement["value"] <= 1.0
    interval = agreement["interval"]
    assert interval is not None
    low, high = interval
    assert low <= agreement["value"] <= high
