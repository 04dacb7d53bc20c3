"""Every option of a conversion: one table for the Python keywords and the command line.

Imports nothing heavy: `onnx2snn --help` is made of it.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from onnx2snn.aliases import Delay
from onnx2snn.errors import UsageError

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
}
"""What an option is where it is not given, by preset."""


def _option(default: Any, help_: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help_, **more})


def parse_timesteps(text: str) -> int | str:
    """A number, or "auto"; anything else is left to the check of time-steps."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def parse_delay(text: str) -> int | str:
    """A number where it is one; any other text is left to the check of delays."""
    return int(text) if text.removeprefix("-").isdecimal() else text


@dataclass(frozen=True)
class Settings:
    """The options of `convert`. Raises UsageError for a value that makes no sense."""

    preset: str = _option(
        "paper", "a set of defaults; single options override it", choices=tuple(PRESETS)
    )
    timesteps: int | str = _option(
        32,
        "time-steps T the model is converted and scored for; auto: the fewest that keep within --max-drop",
        type=parse_timesteps,
        metavar="T|auto",
    )
    delay: int | str | None = _option(
        None,
        "steps left out of the answer: a number, half (T/2) or auto (first-spike times); default: half, low-latency 0",
        type=parse_delay,
        metavar="D|auto|half",
    )
    method: str | None = _option(
        None,
        "how thresholds are found: local threshold balancing, a percentile or the maximum of the activations, or the "
        "least squared error at T; default: local, low-latency mmse, without calibration data max",
        choices=METHODS,
    )
    percentile: float = _option(99.0, "the percentile of --method percentile", metavar="P")
    granularity: str = _option(
        "channel", "one threshold per channel, or one per layer", choices=("channel", "layer")
    )
    maxpool: str = _option(
        "accumulate",
        "max-pools between neurons pool the accumulated input (exact), or each step's current (the paper's rule)",
        choices=("accumulate", "current"),
    )
    neuron: str | None = _option(
        None,
        "integrate-and-fire, or signed: it also takes back spikes it fired too early; default: if, low-latency signed",
        choices=("if", "signed"),
    )
    levels: int | None = _option(
        None,
        "the most thresholds one spike is high (1: binary spikes); default: 1, low-latency 2",
        metavar="N",
    )
    correct: str | None = _option(
        None,
        "what is corrected with the SNN's own answers on the calibration data: none, or a list of bias, potential and "
        "weights; default: none, low-latency weights",
        metavar="bias,potential,weights",
    )
    rounds: int = _option(
        0,
        "correct all layers at once, in N rounds (not weights); 0: layer by layer, in one simulation",
        metavar="N",
    )
    iterations: int = _option(1000, "mini-batches of local threshold balancing", metavar="N")
    batch_size: int = _option(100, "samples per mini-batch", metavar="N")
    seed: int = _option(0, "seed of every random choice", metavar="N")
    threads: int | None = _option(
        None, "threads onnxruntime uses; default: its own choice", metavar="N"
    )
    save_thresholds: str | None = _option(
        None, "keep the calibration in this file", metavar="FILE.npz"
    )
    thresholds: str | None = _option(
        None, "take the calibration from this file", metavar="FILE.npz"
    )
    max_drop: float | None = _option(
        None,
        "fail (exit code 1) if agreement with the ANN is more than X percentage points below 100",
        metavar="X",
    )
    strict: bool = _option(
        False,
        "fail (exit code 1) if an operator of the spiking part would be analog: telescoped",
        action="store_true",
    )

    def __post_init__(self) -> None:
        """Check every value."""
        for option in fields(self):
            value = getattr(self, option.name)
            if value is None and option.default is not None:
                raise UsageError(
                    f"{option.name} is None; leave it out for the default, {option.default!r}"
                )
            _check_choice(option, value)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value == "auto" and name == "timesteps":
                continue
            if value is not None and (
                not isinstance(value, int) or isinstance(value, bool) or value < least
            ):
                raise UsageError(
                    f"{name} is {value!r}; it has to be a whole number of at least {least}"
                )
        if not isinstance(self.strict, bool):
            raise UsageError(f"strict is {self.strict!r}; it has to be True or False")
        if not 0 < self.percentile <= 100:
            raise UsageError(
                f"percentile is {self.percentile}; it has to be above 0 and at most 100"
            )
        if self.max_drop is not None and not self.max_drop >= 0:
            raise UsageError(
                f"max_drop is {self.max_drop}; it has to be 0 or more percentage points"
            )
        self._check_correct()
        if self.timesteps == "auto":
            self._check_automatic()
        elif self.delay not in (None, "auto", "half") and not (
            isinstance(self.delay, int) and 0 <= self.delay < self.steps
        ):
            raise UsageError(
                f"delay is {self.delay!r}; it has to be 'auto', 'half' or a number from 0 to {self.steps - 1} "
                f"at {self.steps} time-steps"
            )

    def _check_correct(self) -> None:
        unknown = [name for name in self.corrections if name not in CORRECTIONS]
        if unknown:
            raise UsageError(
                f"correct is {self.correct!r}, with '{unknown[0]}'; it has to be none, or a list of "
                f"{', '.join(CORRECTIONS)}, like bias,weights"
            )
        if self.rounds and "weights" in self.corrections:
            raise UsageError(
                "weights are corrected layer by layer; leave rounds out, or take weights out of correct"
            )

    def _check_automatic(self) -> None:
        if self.max_drop is None:
            raise UsageError(
                "timesteps auto needs max_drop: how many points of agreement may be lost"
            )
        if self.delay not in (None, 0, "auto", "half"):
            raise UsageError(
                f"delay is {self.delay!r}; with timesteps auto it has to be 'auto', 'half' or 0"
            )

    @property
    def steps(self) -> int:
        """The number of time-steps, once it is known."""
        assert isinstance(self.timesteps, int)
        return self.timesteps

    @property
    def height(self) -> int:
        """The most thresholds one spike is high."""
        return int(self.chosen("levels"))

    @property
    def asked_delay(self) -> Delay:
        """The delay asked for, or else the preset's."""
        delay: Delay = self.chosen("delay")
        return delay

    @property
    def neuron_kind(self) -> str:
        """The kind of neuron, "if" or "signed"."""
        return str(self.chosen("neuron"))

    @property
    def corrections(self) -> tuple[str, ...]:
        """What is corrected, in order."""
        chosen = str(self.chosen("correct"))
        return () if chosen == "none" else tuple(part.strip() for part in chosen.split(","))

    @classmethod
    def of(cls, options: dict[str, Any]) -> Settings:
        """Settings from keywords; an unknown keyword is a UsageError that lists the known ones."""
        known = [option.name for option in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise UsageError(
                f"there is no option '{unknown[0]}'; the options are {', '.join(known)}"
            )
        return cls(**options)

    def chosen(self, name: str) -> Any:
        """An option as given, or else as the preset has it."""
        given = getattr(self, name)
        return PRESETS[self.preset].get(name) if given is None else given

    def without_data(self) -> Settings:
        """The same where inputs are random: the maximum is the method, and there is nothing to correct with.

        Raises UsageError where something was asked for that takes data.
        """
        if self.thresholds is None and self.method not in (None, "max"):
            raise UsageError(
                f"method '{self.method}' needs calibration data; give --calibration, or use --method max"
            )
        if self.correct is not None and self.corrections:
            raise UsageError(
                f"correcting '{self.correct}' needs calibration data; give --calibration, or use --correct none"
            )
        return replace(self, method="max", correct="none")

    def calibration(self, method: str) -> dict[str, Any]:
        """What decides the thresholds of a method; it is kept with them."""
        more = _DECIDING.get(method, ())
        fitted = (
            {"fitted_timesteps": self.timesteps, "fitted_levels": self.height}
            if method == "mmse"
            else {}
        )
        return (
            {"method": method}
            | {name: getattr(self, name) for name in ("granularity", "seed", *more)}
            | fitted
        )

    def conversion(self) -> dict[str, Any]:
        """What else decides the emitted model."""
        names = ("preset", "timesteps", "maxpool", "neuron", "levels", "correct", "rounds", "delay")
        return {name: self.chosen(name) for name in names}


_LEAST = {
    "timesteps": 1,
    "iterations": 1,
    "batch_size": 1,
    "seed": 0,
    "threads": 1,
    "levels": 1,
    "rounds": 0,
}
"""The smallest value of every whole number."""

_DECIDING = {
    "local": ("iterations", "batch_size"),
    "percentile": ("percentile",),
}
"""The options beside granularity and seed that decide a method's thresholds."""


def _check_choice(option: Field[Any], value: Any) -> None:
    choices = option.metadata.get("choices")
    if choices and value is not None and value not in choices:
        raise UsageError(f"{option.name} is {value!r}; it has to be one of {', '.join(choices)}")
