"""Arguments of the command line that are made of text: numbers of several kinds, and lists."""

from __future__ import annotations

import argparse

from onnx2snn.options import MOST_THREADS

MOST_SECONDS = 1e8
"""Three years: what no system has an alarm for is refused."""


def several_timesteps(text: str) -> list[int]:
    """Return numbers of time-steps from a list like "8,16,32"."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not one number or several, like 4,8,16"
        ) from None


def margin(text: str) -> float | str:
    """Return a margin of early exit, or "auto"."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1, or auto") from None


def thread_count(text: str) -> int:
    """Return a number of threads."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of threads from 1 to {MOST_THREADS:,}"
        )
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return seconds


def points(text: str) -> float:
    """Return a number of percentage points."""
    return _least_zero(text, "number of percentage points")


def percent(text: str) -> float:
    """Return a number of percent."""
    return _least_zero(text, "number of percent")


def amount(text: str) -> float:
    """Return an amount: of operations, or of joules."""
    return _least_zero(text, "number")


def _least_zero(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a {what}, 0 or more")
    return value


def input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Return an input and its shape from a text like "x=1,3,224,224"."""
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape:
        raise argparse.ArgumentTypeError(f"'{text}' is not a shape like input=1,3,224,224")
    return name, shape
