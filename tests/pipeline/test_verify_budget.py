"""The comparison of SNN and ANN takes a bounded time, whatever the network and the data are."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.networks import NETWORKS, inputs_for, mlp

from onnx2snn import convert
from onnx2snn.pipeline import verify
from onnx2snn.pipeline.verify import BUDGET, LEAST_SAMPLES, affordable_samples
from onnx2snn.runtime import memory
from onnx2snn.runtime.simulation import Simulation


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


@pytest.mark.parametrize("preset", ["paper", "low-latency", "differential"])
def test_the_ann_is_closed_before_the_snn_is_opened(
    preset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of two sessions at once take their size twice."""
    opened: list[Any] = []
    make_ann = verify._with_activations

    def ann(job: Any) -> Any:
        session = make_ann(job)
        opened.append(weakref.ref(session))
        return session

    def snn(*given: Any, **more: Any) -> Any:
        assert [session() for session in opened] == [None]
        return Simulation(*given, **more)

    monkeypatch.setattr(verify, "_with_activations", ann)
    monkeypatch.setattr(verify, "Simulation", snn)
    convert(mlp(), {"input": inputs_for("mlp", 200)}, preset=preset, timesteps=16)
    assert len(opened) == 1


@pytest.mark.parametrize("name", ["mlp", "resnet", "vgg"])
def test_samples_compared_a_few_at_a_time_say_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"method": "max", "preset": "paper", "timesteps": 16, "threads": 1}
    data = inputs_for(name, 100)
    whole = convert(NETWORKS[name](), data, **settings).report
    monkeypatch.setattr(memory, "NUMBERS_AT_ONCE", 1)
    single = convert(NETWORKS[name](), data, **settings).report
    assert single.agreement["value"] == pytest.approx(whole.agreement["value"], rel=1e-3)
    assert single.nearness is not None and whole.nearness is not None
    assert single.nearness.after == pytest.approx(whole.nearness.after, rel=1e-3)
    for one, other in zip(single.sites, whole.sites, strict=True):
        assert one["error"]["total"] == pytest.approx(other["error"]["total"], rel=1e-3)
