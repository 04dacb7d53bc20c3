"""Behaviour of onnx2snn.settings: the one table of options."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from onnx2snn import UsageError
from onnx2snn.calibrate import settling
from onnx2snn.cli.parsers import convert_parser
from onnx2snn.settings import Settings


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"timesteps": 0}, "timesteps is 0"),
        ({"timesteps": -4}, "timesteps is -4"),
        ({"timesteps": 2.5}, "timesteps is 2.5"),
        ({"timesteps": True}, "timesteps is True"),
        ({"timesteps": "many"}, "timesteps is 'many'"),
        ({"iterations": 0}, "iterations is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"threads": 0}, "threads is 0"),
        ({"percentile": 0}, "percentile is 0"),
        ({"percentile": 100.5}, "percentile is 100.5"),
        ({"percentile": float("nan")}, "percentile is nan"),
        ({"max_drop": -1}, "max_drop is -1"),
        ({"max_drop": float("nan")}, "max_drop is nan"),
        ({"max_lasting": -1}, "max_lasting is -1"),
        ({"max_lasting": float("nan")}, "max_lasting is nan"),
        ({"delay": -1}, "delay is -1"),
        ({"delay": 32}, "delay is 32; .* from 0 to 31 at 32 time-steps"),
        ({"delay": 4, "timesteps": 4}, "delay is 4; .* from 0 to 3 at 4 time-steps"),
        ({"delay": "third"}, "delay is 'third'"),
        ({"delay": 1.5}, "delay is 1.5"),
        ({"preset": "fast"}, "preset is 'fast'; it has to be one of auto, paper"),
        ({"preset": None}, "preset is None"),
        ({"method": "guess"}, "method is 'guess'; it has to be one of local, percentile, max"),
        ({"granularity": "neuron"}, "granularity is 'neuron'; it has to be one of channel, layer"),
        ({"granularity": None}, "granularity is None"),
        ({"maxpool": "none"}, "maxpool is 'none'; it has to be one of accumulate, current"),
        ({"maxpool": None}, "maxpool is None"),
        ({"strict": 1}, "strict is 1; it has to be True or False"),
        ({"strict": None}, "strict is None"),
        ({"levels": 0}, "levels is 0"),
        ({"rounds": -1}, "rounds is -1"),
        (
            {"correct": "bias,threshold"},
            "with 'threshold'; it has to be none, or a list of bias, potential, weights",
        ),
        ({"correct": ""}, "with ''; it has to be none"),
        ({"correct": "bias,weights", "rounds": 4}, "weights are corrected layer by layer"),
        ({"preset": "low-latency", "rounds": 4}, "weights are corrected layer by layer"),
        ({"keep": 5}, "keep is 5; it has to be a list of names"),
        ({"keep": "relu"}, "keep is 'relu'; it has to be a list of names"),
        ({"keep": [5]}, "keep is .5.; it has to be a list of names"),
        ({"timesteps": "auto"}, "timesteps auto needs max_drop"),
        ({"timesteps": "auto", "max_drop": 1, "delay": 4}, "delay is 4; with timesteps auto"),
        (
            {"time_steps": 8},
            "no option 'time_steps'; the options are preset, coding",
        ),
    ],
)
def test_values_that_make_no_sense_are_usage_errors(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Settings.of(options)


@pytest.mark.parametrize(
    "options",
    [
        {"timesteps": 1, "delay": 0},
        {"delay": "auto"},
        {"delay": "half", "timesteps": 1},
        {"delay": 31},
        {"method": "percentile", "percentile": 100},
        {"max_drop": 0},
        {"max_lasting": 0},
        {"strict": True},
        {"keep": ["relu", "relu2"]},
        {"keep": None},
        {"levels": 1, "rounds": 0},
        {"correct": "bias, potential", "rounds": 1},
        {"timesteps": "auto", "max_drop": 0, "delay": 0},
        {"threads": 1, "seed": 0, "iterations": 1, "batch_size": 1},
        {"method": None, "threads": None, "max_drop": None, "levels": None},
    ],
)
def test_the_ends_of_every_range_are_taken(options: dict[str, Any]) -> None:
    assert {name: getattr(Settings.of(options), name) for name in options} == options


def test_the_defaults_of_rate_coding_are_the_papers() -> None:
    settings = Settings().coded("rate")
    most = settings.iterations or settling.MOST
    assert (settings.preset, settings.timesteps, most, settings.batch_size) == (
        "paper",
        32,
        1000,
        100,
    )
    assert (settings.granularity, settings.maxpool, settings.percent) == (
        "channel",
        "accumulate",
        99.0,
    )


def test_the_defaults_of_differential_coding_are_four_steps_of_one_spike_but_three_first() -> None:
    settings = Settings().coded("differential")
    assert (settings.preset, settings.timesteps) == ("differential", 4)
    assert (settings.digit_count, settings.later_digit_count) == (3, 1)
    assert settings.starts_at_mean
    assert settings.percent == 99.9


@pytest.mark.parametrize(
    ("options", "coding"),
    [
        ({}, None),
        ({"preset": "paper"}, "rate"),
        ({"preset": "low-latency"}, "rate"),
        ({"preset": "differential"}, "differential"),
        ({"coding": "rate"}, "rate"),
        ({"octaves": 6}, "differential"),
        ({"encode_input": True}, "differential"),
        ({"neuron": "signed"}, "rate"),
        ({"iterations": 10}, "rate"),
        ({"delay": 0}, "rate"),
    ],
)
def test_an_option_of_one_coding_chooses_it(options: dict[str, Any], coding: str | None) -> None:
    assert Settings(**options).chosen_coding == coding


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "paper", "octaves": 6},
        {"preset": "differential", "levels": 2},
        {"coding": "differential", "delay": 2},
        {"octaves": 6, "neuron": "signed"},
        {"octaves": 17},
        {"digits": 0},
        {"later_digits": 0},
        {"later_digits": 4},
        {"digits": 2, "later_digits": 3},
        {"preset": "paper", "later_digits": 1},
    ],
)
def test_options_of_two_codings_are_refused_together(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Settings(**options)


@pytest.mark.parametrize(
    ("options", "digits"),
    [
        ({"digits": 1}, (1, 1)),
        ({"digits": 2}, (2, 2)),
        ({"digits": 2, "later_digits": 1}, (2, 1)),
        ({"later_digits": 2}, (3, 2)),
    ],
)
def test_later_steps_have_the_digits_of_the_first_unless_told(
    options: dict[str, Any], digits: tuple[int, int]
) -> None:
    settings = Settings(**options).coded("differential")
    assert (settings.digit_count, settings.later_digit_count) == digits
    told = settings.conversion()
    assert (told["digits"], told["later_digits"]) == digits


def test_spikes_are_as_high_as_the_preset_says_unless_told_otherwise() -> None:
    assert [Settings(preset=preset).height for preset in ("paper", "low-latency")] == [1, 2]
    assert [Settings(preset=preset, levels=3).height for preset in ("paper", "low-latency")] == [
        3,
        3,
    ]


@pytest.mark.parametrize("timesteps", [1, 8, 16, 17, 32, 512])
def test_half_of_the_steps_are_left_out_unless_told_otherwise(timesteps: int) -> None:
    assert Settings(timesteps=timesteps).conversion()["delay"] == "half"
    for delay in (0, "auto", "half", timesteps - 1):
        assert Settings(timesteps=timesteps, delay=delay).conversion()["delay"] == delay


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("local", {"iterations", "batch_size"}),
        ("percentile", {"percentile"}),
        ("max", set()),
        ("mmse", {"fitted_timesteps", "fitted_levels"}),
    ],
)
def test_metadata_holds_what_decides_the_model_and_no_more(method: str, more: set[str]) -> None:
    always = {
        "preset",
        "timesteps",
        "delay",
        "granularity",
        "maxpool",
        "seed",
        "method",
        "neuron",
        "levels",
    }
    always |= {"correct", "rounds"}
    settings = Settings(threads=2, save_thresholds="t.npz", max_drop=3.0)
    assert {*settings.conversion(), *settings.calibration(method)} == always | more


def test_every_option_is_a_command_line_option_with_the_same_default_and_a_help() -> None:
    actions = {action.dest: action for action in convert_parser()._actions}
    for option in fields(Settings):
        action = actions[option.name]
        assert action.option_strings == [f"--{option.name.replace('_', '-')}"]
        assert action.default == option.default
        assert action.help


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("--delay half", "half"),
        ("--delay 3", 3),
        ("--timesteps 3", 3),
        ("--timesteps auto", "auto"),
        ("--levels 2", 2),
        ("--rounds 8", 8),
        ("--correct bias,weights", "bias,weights"),
        ("--percentile 99.9", 99.9),
        ("--threads 2", 2),
        ("--max-drop 1", 1.0),
        ("--strict", True),
    ],
)
def test_command_line_values_have_the_types_of_the_keywords(text: str, value: Any) -> None:
    given = convert_parser().parse_args(["model.onnx", "-o", "out.onnx", *text.split()])
    found = getattr(given, text.split()[0].removeprefix("--").replace("-", "_"))
    assert found == value
    assert type(found) is type(value)
