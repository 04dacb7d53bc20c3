"""Behaviour of calibrate.settling: balancing ends when thresholds have settled, and says when."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from helpers.networks import NETWORKS, inputs_for
from helpers.stages import job_of, network

from onnx2snn import convert
from onnx2snn.aliases import silent_progress
from onnx2snn.calibrate import settling
from onnx2snn.calibrate.calibrator import Calibrator
from onnx2snn.calibrate.settling import SETTLED, Estimate, Settling


def balancing(name: str, samples: int = 30, **settings: Any) -> Calibrator:
    return Calibrator(job_of(network(name), inputs_for(name, samples), **settings))


@pytest.mark.parametrize(
    ("name", "granularity"),
    [("mlp", "channel"), ("mlp", "layer"), ("vgg", "channel"), ("resnet", "channel")],
)
def test_thresholds_are_those_of_as_many_mini_batches_as_it_took(
    name: str, granularity: str
) -> None:
    settings: dict[str, Any] = {"batch_size": 15, "granularity": granularity}
    run = balancing(name, **settings)
    found = run.local(None, 0, silent_progress)
    taken = run.balanced
    assert settling.LEAST < taken < settling.MOST
    asked = balancing(name, **settings).local(taken, 0, silent_progress)
    for theta, other in zip(found, asked, strict=True):
        np.testing.assert_array_equal(theta, other)
    # and they grow by little in the last fifth of them
    before = balancing(name, **settings).local(round(0.8 * taken), 0, silent_progress)
    for theta, earlier in zip(found, before, strict=True):
        grown = 1.0 - earlier[theta > 0] / theta[theta > 0]
        assert grown.mean() <= SETTLED * 1.05


def test_a_number_of_mini_batches_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "SETTLED", np.inf)
    run = balancing("mlp")
    run.local(140, 0, silent_progress)
    assert run.balanced == 140


def test_thresholds_that_grow_on_end_at_the_papers_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "SETTLED", 0.0)
    monkeypatch.setattr(settling, "MOST", 130)
    run = balancing("mlp")
    run.local(None, 0, silent_progress)
    assert run.balanced == 130


def test_what_is_silent_has_settled() -> None:
    """Sites without spikes, without channels at all, and one that keeps growing."""
    quiet = [np.zeros(3), np.zeros(0)]
    growing = Settling()
    still = Settling()
    ends = [t for t in range(1, 400) if still.settled(t, [*quiet, np.ones(2)])]
    assert ends[0] == round(settling.LEAST / 0.8)
    assert not any(growing.settled(t, [*quiet, np.array([1.5, t**0.5])]) for t in range(1, 400))


def test_a_network_without_sites_ends_at_once() -> None:
    assert [t for t in range(1, 200) if Settling().settled(t, [])] == []
    empty = Settling()
    assert any(empty.settled(t, []) for t in range(1, 200))


def test_mini_batches_are_no_larger_than_the_data() -> None:
    assert balancing("mlp", samples=7, batch_size=100).passes.batch == 7


def test_the_number_is_in_the_report_and_kept_with_the_thresholds(tmp_path: Any) -> None:
    model, data = NETWORKS["mlp"](), inputs_for("mlp", 120)
    kept = tmp_path / "kept.npz"
    done: list[tuple[str, int, int]] = []

    def progress(stage: str, now: int, total: int) -> None:
        done.append((stage, now, total))

    made = convert(
        model, data, preset="paper", timesteps=32, progress=progress, save_thresholds=kept
    )
    taken = made.report.settings["iterations"]
    assert settling.LEAST < taken < settling.MOST
    assert ("local threshold balancing", taken, taken) in done
    assert made.report.cost is not None and made.report.cost["balancing"] > 0
    again = convert(model, data, preset="paper", timesteps=32, iterations=taken)
    assert again.to_bytes() == made.to_bytes()
    reused = convert(model, data, preset="paper", timesteps=32, thresholds=kept)
    assert reused.report.settings["iterations"] == taken


@pytest.mark.parametrize(("given", "words"), [(None, "at most"), (1000, "about")])
def test_work_of_some_length_is_estimated_before_it_starts(
    given: int | None, words: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "WORTH_A_NOTE", 0.0)
    monkeypatch.setattr(settling, "MOST", 1000)
    caplog.set_level(logging.INFO, "onnx2snn")
    estimate = Estimate(given or settling.MOST, 100, at_most=given is None)
    for done in (1, 2, 3):
        estimate.tell(done)
    (said,) = caplog.messages
    assert said.startswith("local threshold balancing takes ")
    assert words in said
    assert "1000 mini-batches of 100 samples" in said


def test_short_work_is_not_estimated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "onnx2snn")
    balancing("mlp").local(5, 0, silent_progress)
    assert caplog.messages == []
