"""The options of a conversion: one table for the Python keywords and the command line.

Imports nothing heavy: `onnx2snn --help` is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from onnx2snn.errors import UsageError
from onnx2snn.option_table import OptionTable
from onnx2snn.options import (
    ACTIVATIONS_ONLY,
    AUTO,
    DIFFERENTIAL_ONLY,
    LASTING,
    PERCENT,
    PRESETS,
    RATE_ONLY,
    STRICT_LASTING,
    TIMESTEPS,
    WEIGHTED_RATE,
    check_coding,
    check_correct,
    check_flags,
    check_given,
    check_keep,
    check_ladder,
    check_max_drop,
    check_max_lasting,
    check_paths,
    check_percentile,
    check_sites,
    check_whole_numbers,
    check_window,
)

if TYPE_CHECKING:
    from onnx2snn.aliases import Delay


@dataclass(frozen=True)
class Settings(OptionTable):
    """The options of `convert`. Raises UsageError for a value that makes no sense."""

    def __post_init__(self) -> None:
        """Check every value."""
        values = {row.name: getattr(self, row.name) for row in fields(self)}
        for row in fields(self):
            check_given(row, values[row.name])
        check_whole_numbers(values)
        check_flags(values)
        check_ladder(self.octaves, self.digits, self.later_digits)
        check_paths(values)
        check_keep(self.keep)
        check_percentile(self.percentile)
        check_max_drop(self.max_drop)
        check_max_lasting(self.max_lasting)
        check_correct(self.correct, self.corrections, self.rounds)
        check_window(self.timesteps, self.delay, self.max_drop)
        check_coding(self.asked_coding, self._asked_of_rate, self._asked_of_differential)
        check_sites(self.sites, self.chosen_coding, self._asked_of_activations)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Return settings from keywords; for an unknown one UsageError lists the known."""
        known = [row.name for row in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise UsageError(
                f"there is no option '{unknown[0]}'; the options are {', '.join(known)}"
            )
        return cls(**options)

    @property
    def _asked_of_rate(self) -> str | None:
        """An option that was given and belongs to rate coding."""
        given = [name for name in RATE_ONLY if getattr(self, name) is not None]
        given += self._of_activations()
        return given[0] if given else None

    @property
    def _asked_of_activations(self) -> str | None:
        """An option that was given and belongs to neurons in place of activations."""
        given = [name for name in ACTIVATIONS_ONLY if getattr(self, name) is not None]
        if self.correct == "none":
            given.remove("correct")
        given += self._of_activations()
        return given[0] if given else None

    def _of_activations(self) -> list[str]:
        """Return options that belong there, and have a default that is not None."""
        others = ("maxpool", "rounds", "iterations")
        given = [name for name in others if getattr(self, name) != _default(name)]
        if self.method == "local":
            given.append("method")
        return given

    @property
    def _asked_of_differential(self) -> str | None:
        """An option that was given and belongs to differential coding."""
        given = [name for name in DIFFERENTIAL_ONLY if getattr(self, name) is not None]
        if self.encode_input and self.sites != "weighted":
            given.append("encode_input")
        return given[0] if given else None

    @property
    def asked_coding(self) -> str | None:
        """The coding asked for by name or by preset; None: it is left open."""
        if self.preset != AUTO:
            return "differential" if self.preset == "differential" else "rate"
        return self.coding

    @property
    def chosen_coding(self) -> str | None:
        """The coding that the options decide; None: the network does."""
        if self.asked_coding is not None:
            return self.asked_coding
        if self._asked_of_differential is not None:
            return "differential"
        if self._asked_of_rate is not None or self.sites is not None:
            return "rate"
        return None

    def coded(self, coding: str) -> Settings:
        """Return the same with a coding, and the preset, sites and time-steps that follow."""
        preset = self.preset
        if preset == AUTO:
            preset = "differential" if coding == "differential" else "paper"
        timesteps = TIMESTEPS[coding] if self.timesteps is None else self.timesteps
        sites = self.sites
        if sites is None:
            sites = "weighted" if coding == "differential" else "activations"
        return replace(self, preset=preset, coding=coding, sites=sites, timesteps=timesteps)

    @property
    def differential(self) -> bool:
        """Whether the coding is differential, once it is known."""
        return self.coding == "differential"

    @property
    def rated_weighted(self) -> bool:
        """Whether neurons in front of weighted operators are rate-coded, once that is known."""
        return self.coding == "rate" and self.sites == "weighted"

    @property
    def octave_count(self) -> int:
        """Powers of two that a spike of differential coding can have."""
        return int(self._chosen("octaves"))

    @property
    def digit_count(self) -> int:
        """Spikes that a neuron of differential coding may send in the first step."""
        return int(self._chosen("digits"))

    @property
    def later_digit_count(self) -> int:
        """Spikes that it may send in each later step: as many, where only those are given."""
        if self.later_digits is None and self.digits is not None:
            return self.digits
        return int(self._chosen("later_digits"))

    @property
    def tells_at_once(self) -> bool:
        """Whether neurons of what is constant in time tell all of it in the first step."""
        return self.digits is None and self.later_digits is None

    @property
    def starts_at_mean(self) -> bool:
        """Whether estimates of differential coding start at the mean."""
        return bool(self._chosen("start") == "mean")

    @property
    def lasting_limit(self) -> float:
        """Percent that outputs may be off without coming nearer with T."""
        if self.max_lasting is not None:
            return self.max_lasting
        return STRICT_LASTING if self.strict else LASTING

    @property
    def percent(self) -> float:
        """The percentile of method "percentile"."""
        if self.percentile is not None:
            return self.percentile
        return PERCENT[self.sites or "activations"]

    @property
    def steps(self) -> int:
        """The number of time-steps, once it is known."""
        assert isinstance(self.timesteps, int)
        return self.timesteps

    @property
    def threshold_method(self) -> str:
        """The method by which thresholds are found."""
        return str(self._chosen("method"))

    @property
    def neuron_kind(self) -> str:
        """The kind of neuron, "if" or "signed"."""
        return str(self._chosen("neuron"))

    @property
    def height(self) -> int:
        """The most thresholds one spike is high."""
        return int(self._chosen("levels"))

    @property
    def asked_delay(self) -> Delay:
        """The delay asked for, or else the preset's."""
        delay: Delay = self._chosen("delay")
        return delay

    @property
    def corrections(self) -> tuple[str, ...]:
        """The corrections, in order."""
        chosen = self._chosen("correct")
        if chosen == "none":
            return ()
        return tuple(name.strip() for name in str(chosen).split(","))

    def _chosen(self, name: str) -> Any:
        """Return an option as it was given, or else as the preset has it."""
        given = getattr(self, name)
        if given is None and self.rated_weighted and name in WEIGHTED_RATE:
            return WEIGHTED_RATE[name]
        preset = "paper" if self.preset == AUTO else self.preset
        return PRESETS[preset].get(name) if given is None else given

    def without_data(self) -> Settings:
        """Return the same for random inputs: the maximum is the method, and nothing is corrected.

        Raises:
            UsageError: Something was asked for that takes data.
        """
        if self.thresholds is None and self.method not in (None, "max"):
            raise UsageError(
                f"method '{self.method}' needs calibration data; "
                "give --calibration, or use --method max"
            )
        if self.correct is not None and self.corrections:
            raise UsageError(
                f"correcting '{self.correct}' needs calibration data; "
                "give --calibration, or use --correct none"
            )
        if self.differential:
            return self
        return replace(self, method="max", correct="none")

    def calibration(self, method: str) -> dict[str, Any]:
        """Return the options that decide the thresholds of a method; they are kept with them."""
        names = ("granularity", "seed", *_DECIDING.get(method, ()))
        kept = {"method": method} | {name: getattr(self, name) for name in names}
        if method == "percentile":
            kept["percentile"] = self.percent
        if self.differential:
            kept |= {"fitted_octaves": self.octave_count, "start": self._chosen("start")}
            if method == "mmse":
                # of the first step: whatever T
                kept |= {"percentile": self.percent, "fitted_digits": self.digit_count}
            return kept
        if method == "mmse":
            kept |= {"fitted_timesteps": self.timesteps, "fitted_levels": self.height}
        return kept

    def conversion(self) -> dict[str, Any]:
        """Return the options that decide the emitted model beside those, for its metadata."""
        names: tuple[str, ...] = (
            "preset",
            "timesteps",
            "maxpool",
            "neuron",
            "levels",
            "correct",
            "rounds",
            "delay",
        )
        if self.differential:
            names = ("preset", "coding", "timesteps", "octaves", "digits", "start", "encode_input")
        elif self.rated_weighted:
            names = ("preset", "coding", "sites", "timesteps", "levels", "encode_input")
        decided = {name: self._chosen(name) for name in names}
        if self.differential:
            decided["later_digits"] = self.later_digit_count
        if self.keep:
            decided["keep"] = list(self.keep)
        return decided


_DECIDING = {
    "local": ("iterations", "batch_size"),
}
"""The options beside granularity and seed that decide a method's thresholds."""


def _default(name: str) -> object:
    (found,) = [row.default for row in fields(Settings) if row.name == name]
    return found
