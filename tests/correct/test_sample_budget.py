"""Behaviour of correct.layerwise: how many samples corrections simulate."""

from __future__ import annotations

from io import StringIO

import pytest
from helpers.networks import inputs_for, mlp
from helpers.stages import job_of, staged
from rich.console import Console

from onnx2snn import convert
from onnx2snn.correct import layerwise
from onnx2snn.correct.layerwise import simulated_samples
from onnx2snn.display.report_tables import report_tables

pytestmark = pytest.mark.filterwarnings("ignore:agreement with the ANN")


@pytest.mark.parametrize(
    ("available", "steps", "simulated"),
    [
        # n / N of the samples cost n / N (6 T + 12) passes: no more than 15
        (100, 1, 83),
        (100, 4, 41),
        (100, 8, 25),
        (200, 16, 27),
        # no fewer than 16, where there are as many
        (50, 32, 16),
        (10, 32, 10),
        # and no more than 200
        (1000, 8, 200),
        (1000, 32, 73),
    ],
)
def test_as_many_samples_are_simulated_as_some_passes_pay_for(
    available: int, steps: int, simulated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layerwise, "LEAST_WORK", 0)
    job = job_of(staged(mlp()), inputs_for("mlp", available), timesteps=steps)
    assert simulated_samples(job) == simulated


def test_no_fewer_are_simulated_than_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(staged(mlp()), inputs_for("mlp", 50), timesteps=32)
    neurons = sum(site.neurons for site in job.sites)
    monkeypatch.setattr(layerwise, "LEAST_WORK", 32 * neurons * 41)
    assert simulated_samples(job) == 41


def test_fewer_are_simulated_where_their_spikes_would_be_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_of(staged(mlp()), inputs_for("mlp", 50), timesteps=4)
    largest = max(site.neurons for site in job.sites)
    monkeypatch.setattr(layerwise, "MOST_VALUES", 4 * largest * 7)
    assert simulated_samples(job) == 7
    monkeypatch.setattr(layerwise, "MOST_VALUES", 1)
    assert simulated_samples(job) == 1


def test_the_report_says_how_many_were_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layerwise, "LEAST_WORK", 0)
    x = inputs_for("mlp", 100)
    report = convert(mlp(), x, preset="low-latency", timesteps=8).report
    # a tenth of them is held back
    assert report.corrected_on == 90 * 15 // 60
    shown = StringIO()
    console = Console(file=shown, width=200)
    for table in report_tables(report):
        console.print(table)
    assert f"corrected on {report.corrected_on} samples" in shown.getvalue()
    assert convert(mlp(), x, method="max", coding="rate").report.corrected_on is None
