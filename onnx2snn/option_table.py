"""The table of options of a conversion: names, defaults and help, for Python and the command line.

Imports nothing heavy: `onnx2snn --help` is made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx2snn.options import AUTO, METHODS, PRESETS, option, parse_delay, parse_timesteps


@dataclass(frozen=True)
class OptionTable:
    """A row an option; None stands for what the preset says, where one has it."""

    preset: str = option(
        AUTO,
        "a set of defaults; single options override it. auto: the paper's method where its neurons "
        "feed every weighted operator behind the first ones, else differential coding",
        choices=(AUTO, *PRESETS),
    )
    coding: str | None = option(
        None,
        "what a spike says: a value is there (rate), or it has changed (differential); "
        "default: by the preset",
        choices=("rate", "differential"),
    )
    sites: str | None = option(
        None,
        "where neurons stand: in place of activations, or in front of weighted operators, whatever "
        "feeds them; default: rate coding activations, differential weighted",
        choices=("activations", "weighted"),
    )
    timesteps: int | str | None = option(
        None,
        "time-steps T the model is converted and scored for; "
        "auto: the fewest that keep within --max-drop; default: 32, differential 4",
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
        "activations, or the least squared error, at T or (differential) after the first step; "
        "default: local, low-latency and weighted sites mmse, without calibration data max",
        choices=METHODS,
    )
    percentile: float | None = option(
        None,
        "the percentile of --method percentile, and of all sizes in differential coding; "
        "default: 99, weighted sites 99.9",
        metavar="P",
    )
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
    octaves: int | None = option(
        None,
        "differential coding: powers of two a spike can have; default: by layer, 8 to 12",
        metavar="N",
    )
    digits: int | None = option(
        None,
        "differential coding: spikes a neuron may send in one step; default: 3 in the first step, "
        "or all that it takes where its input is constant in time",
        metavar="K",
    )
    later_digits: int | None = option(
        None,
        "differential coding: spikes a neuron may send in each step after the first; default: 1, "
        "or as many as --digits says",
        metavar="K",
    )
    start: str | None = option(
        None,
        "differential coding: estimates start at the mean over the calibration data, or at zero; "
        "default: mean",
        choices=("mean", "zero"),
    )
    encode_input: bool = option(
        False,
        "neurons in front of weighted operators: the input arrives as spikes, too",
        action="store_true",
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
    iterations: int | None = option(
        None,
        "mini-batches of local threshold balancing; default: until thresholds have settled, at "
        "most 1,000",
        metavar="N",
    )
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
    max_lasting: float | None = option(
        None,
        "fail (exit code 1) if the outputs are more than X percent off the ANN's, and no nearer at "
        "T than at T/4; default: 50 unless 90 percent of the answers agree, with --strict 10",
        metavar="X",
    )
    inline: bool = option(
        False,
        "write neurons out in standard operators, for runtimes that know no model-local functions",
        action="store_true",
    )
