"""The evaluation window: the steps that an answer is averaged over (paper, section 5)."""

from __future__ import annotations

from onnx2snn.aliases import Delay
from onnx2snn.errors import UsageError


def resolve_delay(delay: Delay, timesteps: int, stored: int, auto: int) -> int:
    """Return the number of steps left out at the start of a run.

    Args:
        delay: What was asked for. None is the model's own number; a run no longer than that
            averages from the start, as the step graph does.
        timesteps: Steps of the run, those left out among them.
        stored: The model's own number.
        auto: The number that "auto" stands for, at most half of the steps.

    Raises:
        UsageError: The delay leaves no step.
    """
    if timesteps < 1:
        raise UsageError(f"timesteps is {timesteps}; it has to be 1 or more")
    if delay is None:
        return stored if stored < timesteps else 0
    half = timesteps // 2
    named = {"half": half, "auto": min(auto, half)}
    steps = named.get(delay, delay) if isinstance(delay, str) else delay
    if not isinstance(steps, int) or not 0 <= steps < timesteps:
        raise UsageError(
            f"delay is {delay!r}; it has to be 'auto', 'half' or a number from 0 to "
            f"{timesteps - 1} at {timesteps} time-steps"
        )
    return steps
