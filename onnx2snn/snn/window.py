"""TODO."""

from __future__ import annotations

from onnx2snn.aliases import Delay
from onnx2snn.errors import UsageError


def resolve_delay(delay: Delay, timesteps: int, stored: int, auto: int) -> int:
    """Steps left out at the start of a run (paper, section 5: delayed evaluation).

    None is the model's own number; a run no longer than that averages from the start, as the step graph does.
    Raises UsageError for a delay that leaves no step.
    """
    if timesteps < 1:
        raise UsageError(f"timesteps is {timesteps}; it has to be 1 or more")
    if delay is None:
        return stored if stored < timesteps else 0
    named = {"half": timesteps // 2, "auto": min(auto, timesteps // 2)}
    steps = named.get(delay, delay) if isinstance(delay, str) else delay
    if not isinstance(steps, int) or not 0 <= steps < timesteps:
        raise UsageError(
            f"delay is {delay!r}; it has to be 'auto', 'half' or a number from 0 to {timesteps - 1} "
            f"at {timesteps} time-steps"
        )
    return steps
