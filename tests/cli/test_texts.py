"""Arguments of the command line that are made of text, and those that are none."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Callable
from typing import Any

import pytest

from onnx2snn.cli import texts


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (texts.several_timesteps, "8,16", [8, 16]),
        (texts.margin, "auto", "auto"),
        (texts.margin, "0.5", 0.5),
        (texts.thread_count, "2", 2),
        (texts.seconds, "1.5", 1.5),
        (texts.points, "0", 0.0),
        (texts.percent, "2", 2.0),
        (texts.amount, "4e7", 4e7),
        (texts.input_shape, "a=b=1,3", ("a=b", (1, 3))),
    ],
)
def test_a_text_is_read(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (texts.several_timesteps, "8,"),
        (texts.margin, "wide"),
        (texts.thread_count, "0"),
        (texts.thread_count, "two"),
        (texts.seconds, "0"),
        (texts.seconds, "nan"),
        (texts.seconds, "1e9"),
        (texts.seconds, "soon"),
        (texts.points, "-1"),
        (texts.percent, "nan"),
        (texts.amount, "many"),
        (texts.input_shape, "1,3"),
        (texts.input_shape, "x=1,a"),
    ],
)
def test_a_text_that_is_none_is_named(parse: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not"):
        parse(text)


def test_the_package_runs_as_a_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["onnx2snn", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("onnx2snn", run_name="__main__")
    assert ended.value.code == 0
    assert "onnx2snn" in capsys.readouterr().out
