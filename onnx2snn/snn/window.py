"""The evaluation window: the steps that an answer is averaged over (paper, section 5)."""

from __future__ import annotations

from onnx2snn.aliases import Delay
from onnx2snn.errors import UsageError
from onnx2snn.options import MOST
from onnx2snn.snn.format import Metadata, holds_estimates

NAMES = ("half", "auto")
"""Delays that are a share of the steps of a run, whatever their number is."""


def window_delay(metadata: Metadata, delay: Delay, timesteps: int) -> int:
    """Return the number of steps left out at the start of a run of a spiking model.

    Args:
        metadata: The model's description.
        delay: What was asked for; None: the model's own.
        timesteps: Steps of the run, those left out among them.

    Raises:
        UsageError: The delay leaves no step.
    """
    if holds_estimates(metadata) and delay not in (None, 0):
        raise UsageError(
            f"delay is {delay!r}; with neurons in front of weighted operators an answer is the "
            "estimate of its last step, so leave the delay out"
        )
    return resolve_delay(delay, timesteps, own_delay(metadata), metadata["delay_auto"])


def own_delay(metadata: Metadata) -> int | str:
    """Return a model's own delay: the name it was asked for by, else its number.

    The number that stands in the description, and in the graph for hosts, is right for the
    model's own number of time-steps only.
    """
    asked = metadata["settings"].get("delay")
    if isinstance(asked, str) and asked in NAMES:
        return asked
    return metadata["delay"]


def resolve_delay(delay: Delay, timesteps: int, stored: int | str, auto: int) -> int:
    """Return the number of steps left out at the start of a run.

    Args:
        delay: What was asked for. None is the model's own; a run no longer than its number
            averages from the start, as the step graph does.
        timesteps: Steps of the run, those left out among them.
        stored: The model's own: a number, "half" or "auto".
        auto: The number that "auto" stands for, at most half of the steps.

    Raises:
        UsageError: The delay leaves no step.
    """
    if timesteps < 1:
        raise UsageError(f"timesteps is {timesteps}; it has to be 1 or more")
    if timesteps > MOST:
        raise UsageError(f"timesteps is {timesteps}; it has to be at most {MOST}")
    if delay is None:
        delay = stored
        if isinstance(stored, int) and stored >= timesteps:
            delay = 0
    half = timesteps // 2
    named = {"half": half, "auto": min(auto, half)}
    steps = named.get(delay, delay) if isinstance(delay, str) else delay
    if not isinstance(steps, int) or not 0 <= steps < timesteps:
        raise UsageError(
            f"delay is {delay!r}; it has to be 'auto', 'half' or a number from 0 to "
            f"{timesteps - 1} at {timesteps} time-steps"
        )
    return steps
