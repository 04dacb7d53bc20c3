"""Presets, choices and checks: the parts of the table of options (`settings.Settings`).

Imports nothing heavy: `onnx2snn --help` is made of the table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, field
from typing import Any, Literal, TypeGuard

from onnx2snn.errors import UsageError

Preset = Literal["auto", "paper", "low-latency", "differential"]
Coding = Literal["rate", "differential"]
Start = Literal["mean", "zero"]
Method = Literal["local", "percentile", "max", "mmse"]
Granularity = Literal["channel", "layer"]
MaxPool = Literal["accumulate", "current"]
NeuronKind = Literal["if", "signed"]
Sites = Literal["activations", "weighted"]

METHODS = ("local", "percentile", "max", "mmse")
CORRECTIONS = ("bias", "potential", "weights")

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"method": "local", "neuron": "if", "levels": 1, "correct": "none", "delay": "half"},
    "low-latency": {
        "method": "mmse",
        "neuron": "signed",
        "levels": 2,
        "correct": "weights",
        "delay": 0,
    },
    "differential": {
        "method": "mmse",
        "octaves": 8,
        "digits": 3,
        "later_digits": 1,
        "start": "mean",
        "correct": "none",
        "delay": 0,
    },
}
"""The values of options that are not given, by preset."""

AUTO = "auto"
"""The preset that the network decides: the paper's, or differential coding."""

TIMESTEPS = {"rate": 32, "differential": 4}
"""Time-steps unless told, by coding."""

PERCENT = {"activations": 99.0, "weighted": 99.9}
"""The percentile of method "percentile" unless told, by sites."""

WEIGHTED_RATE = {"method": "mmse", "neuron": "signed", "correct": "none", "delay": 0}
"""The values of options that are not given in rate coding of weighted sites, whatever preset."""

LASTING = 50.0
"""Percent that outputs may be off without coming nearer with T, unless told ..."""

STRICT_LASTING = 10.0
"""... and with `strict`."""

MOST_OCTAVES = 16
MOST_DIGITS = 8

RATE_ONLY = ("delay", "neuron", "levels", "correct", "keep")
"""Options that belong to rate coding, None where they are not given."""

ACTIVATIONS_ONLY = ("delay", "neuron", "correct", "keep")
"""Those that belong to neurons in place of activations."""

DIFFERENTIAL_ONLY = ("octaves", "digits", "later_digits", "start")
"""Options that belong to differential coding, None where they are not given."""

LEAST = {
    "timesteps": 1,
    "iterations": 1,
    "batch_size": 1,
    "seed": 0,
    "threads": 1,
    "levels": 1,
    "rounds": 0,
    "octaves": 1,
    "digits": 1,
    "later_digits": 1,
}
"""The smallest value of every whole number."""

MOST = 2**31 - 1
"""The largest value of every whole number but the seed; hosts count time-steps in 32 bits."""

MOST_THREADS = 1024
"""The largest number of threads: the stacks of a million would take all memory."""

PATHS = ("save_thresholds", "thresholds")
"""The options that name a file."""


def option(default: Any, help_: str, **more: Any) -> Any:
    """Return a row of the table: a field with its help, and more keywords for argparse."""
    return field(default=default, metadata={"help": help_, **more})


def parse_timesteps(text: str) -> int | str:
    """Return a number where the text is one; "auto", and any mistake, is left to the check."""
    return _number_or_text(text)


def parse_delay(text: str) -> int | str:
    """Return a number where the text is one; a name, and any mistake, is left to the check."""
    return _number_or_text(text)


def _number_or_text(text: str) -> int | str:
    return int(text) if text.removeprefix("-").isdecimal() else text


def check_given(row: Field[Any], value: object) -> None:
    """Raise UsageError for a value that is none of the choices, or None where no preset has one."""
    if value is None and row.default is not None:
        raise UsageError(f"{row.name} is None; leave it out for the default, {row.default!r}")
    choices = row.metadata.get("choices")
    if choices and value is not None and value not in choices:
        raise UsageError(f"{row.name} is {value!r}; it has to be one of {', '.join(choices)}")


def check_whole_numbers(values: Mapping[str, object]) -> None:
    """Raise UsageError for a whole number of another type, or below its least."""
    for name, least in LEAST.items():
        value = values[name]
        if value is None or (name == "timesteps" and value == AUTO):
            continue
        if not is_whole(value) or value < least:
            raise UsageError(
                f"{name} is {value!r}; it has to be a whole number of at least {least}"
            )
        most = MOST_THREADS if name == "threads" else MOST
        if name != "seed" and value > most:
            raise UsageError(f"{name} is {value!r}; it has to be at most {most}")


def check_ladder(octaves: int | None, digits: int | None, later_digits: int | None) -> None:
    """Raise UsageError for more octaves or digits than a spike or a step can have."""
    first = PRESETS["differential"]["digits"] if digits is None else digits
    for name, value, most in (
        ("octaves", octaves, MOST_OCTAVES),
        ("digits", digits, MOST_DIGITS),
        ("later_digits", later_digits, first),
    ):
        if value is not None and value > most:
            beyond = ", the digits of the first step" if name == "later_digits" else ""
            raise UsageError(f"{name} is {value}; it has to be at most {most}{beyond}")


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number (a bool is none)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number (a bool is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_paths(values: Mapping[str, object]) -> None:
    """Raise UsageError for a path that is no path."""
    for name in PATHS:
        value = values[name]
        if value is not None and not isinstance(value, str | os.PathLike):
            raise UsageError(f"{name} is {value!r}; it has to be the path of a file")


def check_keep(value: object) -> None:
    """Raise UsageError for names of nodes that are no list of texts."""
    if value is None:
        return
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"keep is {value!r}; it has to be a list of names of nodes")


def check_percentile(value: Any) -> None:
    """Raise UsageError for a percentile outside 0 to 100."""
    if value is None:
        return
    if not is_number(value) or not 0 < value <= 100:
        raise UsageError(f"percentile is {value}; it has to be above 0 and at most 100")


def check_max_drop(value: Any) -> None:
    """Raise UsageError for a drop that is no number, or below 0."""
    if value is not None and (not is_number(value) or not value >= 0):
        raise UsageError(f"max_drop is {value}; it has to be 0 or more percentage points")


def check_max_lasting(value: Any) -> None:
    """Raise UsageError for a lasting error that is no number, or below 0."""
    if value is not None and (not is_number(value) or not value >= 0):
        raise UsageError(f"max_lasting is {value}; it has to be 0 or more percent")


def check_flags(values: Mapping[str, object]) -> None:
    """Raise UsageError for a flag that is neither True nor False."""
    for name in ("strict", "encode_input", "inline"):
        value = values[name]
        if not isinstance(value, bool):
            raise UsageError(f"{name} is {value!r}; it has to be True or False")


def check_correct(correct: object, corrections: tuple[str, ...], rounds: int) -> None:
    """Raise UsageError for an unknown correction, or one that rounds cannot make.

    Args:
        correct: The option as it was given.
        corrections: The corrections it names.
        rounds: In how many rounds they are to be made; 0: layer by layer.
    """
    unknown = [name for name in corrections if name not in CORRECTIONS]
    if unknown:
        raise UsageError(
            f"correct is {correct!r}, with '{unknown[0]}'; it has to be none, or a list of "
            f"{', '.join(CORRECTIONS)}, like bias,weights"
        )
    if rounds and "weights" in corrections:
        raise UsageError(
            "weights are corrected layer by layer; leave rounds out, or take weights out of correct"
        )


def check_window(timesteps: int | str | None, delay: object, max_drop: float | None) -> None:
    """Raise UsageError for a delay that leaves no time-step, or an automatic T without a gate."""
    if timesteps == "auto":
        if max_drop is None:
            raise UsageError(
                "timesteps auto needs max_drop: how many points of agreement may be lost"
            )
        if delay not in (None, 0, "auto", "half"):
            raise UsageError(
                f"delay is {delay!r}; with timesteps auto it has to be 'auto', 'half' or 0"
            )
        return
    if delay in (None, "auto", "half"):
        return
    if timesteps is None:
        timesteps = TIMESTEPS["rate"]
    if not isinstance(timesteps, int) or not isinstance(delay, int) or not 0 <= delay < timesteps:
        raise UsageError(
            f"delay is {delay!r}; it has to be 'auto', 'half' or a number from 0 to "
            f"{int(timesteps) - 1} at {timesteps} time-steps"
        )


def check_coding(coding: str | None, of_rate: str | None, of_differential: str | None) -> None:
    """Raise UsageError for an option that belongs to the other coding.

    Args:
        coding: The coding asked for, if any.
        of_rate: An option that was given and belongs to rate coding, if any.
        of_differential: The same of differential coding.
    """
    if coding == "differential" and of_rate is not None:
        raise UsageError(f"{of_rate} is an option of rate coding; leave it out, or the coding")
    if coding == "rate" and of_differential is not None:
        raise UsageError(
            f"{of_differential} is an option of differential coding; "
            "give --preset differential, or leave it out"
        )
    if of_rate is not None and of_differential is not None:
        raise UsageError(
            f"{of_rate} is an option of rate coding and {of_differential} of differential coding; "
            "leave one of them out"
        )


def check_sites(sites: str | None, coding: str | None, of_activations: str | None) -> None:
    """Raise UsageError for sites that a coding has not, or an option that other sites have.

    Args:
        sites: Where neurons are to stand, if that is said.
        coding: The coding that the options decide, if they do.
        of_activations: An option that was given and belongs to neurons in place of activations.
    """
    if sites == "activations" and coding == "differential":
        raise UsageError(
            "sites is 'activations'; neurons of differential coding stand in front of weighted "
            "operators: leave it out, or give --coding rate"
        )
    if sites == "weighted" and coding == "rate" and of_activations is not None:
        raise UsageError(
            f"{of_activations} is an option of neurons in place of activations; leave it out, or "
            "give --sites activations"
        )
