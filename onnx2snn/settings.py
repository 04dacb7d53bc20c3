"""The options of a conversion: one table for the Python keywords and the command line.

Imports nothing heavy: `onnx2snn --help` is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from onnx2snn.errors import UsageError
from onnx2snn.options import (
    METHODS,
    PRESETS,
    check_correct,
    check_given,
    check_keep,
    check_max_drop,
    check_paths,
    check_percentile,
    check_strict,
    check_whole_numbers,
    check_window,
    option,
    parse_delay,
    parse_timesteps,
)

if TYPE_CHECKING:
    from onnx2snn.aliases import Delay


@dataclass(frozen=True)
class Settings:
    """The options of `convert`. Raises UsageError for a value that makes no sense."""

    preset: str = option(
        "paper", "a set of defaults; single options override it", choices=tuple(PRESETS)
    )
    timesteps: int | str = option(
        32,
        "time-steps T the model is converted and scored for; "
        "auto: the fewest that keep within --max-drop",
        type=parse_timesteps,
        metavar="T|auto",
    )
    delay: int | str | None = option(
        None,
        "steps left out of the answer: a number, half (T/2) or auto (first-spike times); "
        "default: half, low-latency 0",
        type=parse_delay,
        metavar="D|auto|half",
    )
    method: str | None = option(
        None,
        "how thresholds are found: local threshold balancing, a percentile or the maximum of the "
        "activations, or the least squared error at T; default: local, low-latency mmse, "
        "without calibration data max",
        choices=METHODS,
    )
    percentile: float = option(99.0, "the percentile of --method percentile", metavar="P")
    granularity: str = option(
        "channel", "one threshold per channel, or one per layer", choices=("channel", "layer")
    )
    maxpool: str = option(
        "accumulate",
        "max-pools between neurons pool the accumulated input (exact), or each step's current "
        "(the paper's rule)",
        choices=("accumulate", "current"),
    )
    neuron: str | None = option(
        None,
        "integrate-and-fire, or signed: it also takes back spikes it fired too early; "
        "default: if, low-latency signed",
        choices=("if", "signed"),
    )
    levels: int | None = option(
        None,
        "the most thresholds one spike is high (1: binary spikes); default: 1, low-latency 2",
        metavar="N",
    )
    correct: str | None = option(
        None,
        "what is corrected with the SNN's own answers on the calibration data: none, or a list of "
        "bias, potential and weights; default: none, low-latency weights",
        metavar="bias,potential,weights",
    )
    rounds: int = option(
        0,
        "correct all layers at once, in N rounds (not weights); 0: layer by layer, in one "
        "simulation",
        metavar="N",
    )
    keep: Sequence[str] | None = option(
        None,
        "leave an activation as it is: it becomes no neurons, what lies around it does; "
        "may be given several times",
        action="append",
        metavar="NODE",
    )
    iterations: int = option(1000, "mini-batches of local threshold balancing", metavar="N")
    batch_size: int = option(100, "samples per mini-batch", metavar="N")
    seed: int = option(0, "seed of every random choice", metavar="N")
    threads: int | None = option(
        None, "threads onnxruntime uses; default: its own choice", metavar="N"
    )
    save_thresholds: str | None = option(
        None, "keep the calibration in this file", metavar="FILE.npz"
    )
    thresholds: str | None = option(None, "take the calibration from this file", metavar="FILE.npz")
    max_drop: float | None = option(
        None,
        "fail (exit code 1) if agreement with the ANN is more than X percentage points below 100",
        metavar="X",
    )
    strict: bool = option(
        False,
        "fail (exit code 1) if an operator of the spiking part would be analog: telescoped",
        action="store_true",
    )

    def __post_init__(self) -> None:
        """Check every value."""
        values = {row.name: getattr(self, row.name) for row in fields(self)}
        for row in fields(self):
            check_given(row, values[row.name])
        check_whole_numbers(values)
        check_strict(self.strict)
        check_paths(values)
        check_keep(self.keep)
        check_percentile(self.percentile)
        check_max_drop(self.max_drop)
        check_correct(self.correct, self.corrections, self.rounds)
        check_window(self.timesteps, self.delay, self.max_drop)

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
        return PRESETS[self.preset].get(name) if given is None else given

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
        return replace(self, method="max", correct="none")

    def calibration(self, method: str) -> dict[str, Any]:
        """Return the options that decide the thresholds of a method; they are kept with them."""
        names = ("granularity", "seed", *_DECIDING.get(method, ()))
        kept = {"method": method} | {name: getattr(self, name) for name in names}
        if method == "mmse":
            kept |= {"fitted_timesteps": self.timesteps, "fitted_levels": self.height}
        return kept

    def conversion(self) -> dict[str, Any]:
        """Return the options that decide the emitted model beside those, for its metadata."""
        names = (
            "preset",
            "timesteps",
            "maxpool",
            "neuron",
            "levels",
            "correct",
            "rounds",
            "delay",
        )
        decided = {name: self._chosen(name) for name in names}
        if self.keep:
            decided["keep"] = list(self.keep)
        return decided


_DECIDING = {
    "local": ("iterations", "batch_size"),
    "percentile": ("percentile",),
}
"""The options beside granularity and seed that decide a method's thresholds."""
