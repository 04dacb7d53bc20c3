"""The fewest time-steps that keep within a given drop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from onnx2snn.errors import GateError

MOST = 256
"""Time-steps tried at most."""

Made = TypeVar("Made")


def fewest_timesteps(
    make: Callable[[int], Made], drop: Callable[[Made], float], max_drop: float
) -> Made:
    """What `make(T)` makes at the smallest T whose `drop`, in percentage points, is at most `max_drop`.

    T doubles until the drop is small enough, then bisection looks between the last two; so where the drop does not fall
    steadily with T, a smaller T may do as well. GateError where `MOST` time-steps are not enough.
    """
    best: Made | None = None
    low, high, least = 0, 1, float("inf")
    while best is None:
        found = make(high)
        least = min(least, drop(found))
        if drop(found) <= max_drop:
            best = found
        elif high == MOST:
            raise GateError(
                f"no number of time-steps up to {MOST} loses at most {max_drop:g} points of agreement with the ANN "
                f"(the least is {least:.2f}); allow a larger --max-drop, or give more typical calibration data"
            )
        else:
            low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        found = make(middle)
        if drop(found) <= max_drop:
            best, high = found, middle
        else:
            low = middle
    return best
