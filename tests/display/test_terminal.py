"""Behaviour of onnx2snn.display.terminal where stderr is no terminal."""

from __future__ import annotations

import pytest

from onnx2snn.display import terminal


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 4), (30.0, 0)], ids=["time is up", "not yet"])
def test_long_work_says_how_far_it_is(
    seconds: float,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", seconds)
    with terminal.progress_bar(quiet=False) as progress:
        for done in range(1, 4):
            progress("balancing", done, 8)
        progress("verifying", 1, 2)
    said = [line for line in capsys.readouterr().err.splitlines() if " s of about " in line]
    assert len(said) == lines
    if lines:
        assert said[1].startswith("balancing: 2 of 8, ")
        assert said[3].startswith("verifying: 1 of 2, ")


def test_quiet_work_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    with terminal.progress_bar(quiet=True) as progress:
        progress("balancing", 1, 8)
    assert capsys.readouterr().err == ""
