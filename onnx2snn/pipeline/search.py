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
    """Return the result of `make(T)` at the smallest T whose drop is small enough.

    T doubles until the drop is small enough, then bisection looks between the last two; so where
    the drop does not fall steadily with T, a smaller T may do as well.

    Args:
        make: Makes something for a number of time-steps.
        drop: Percentage points lost by what was made.
        max_drop: The most points that may be lost.

    Raises:
        GateError: `MOST` time-steps are not enough.
    """
    best, low, high = _first_enough(make, drop, max_drop)
    while high - low > 1:
        middle = (low + high) // 2
        found = make(middle)
        if drop(found) <= max_drop:
            best, high = found, middle
        else:
            low = middle
    return best


def _first_enough(
    make: Callable[[int], Made], drop: Callable[[Made], float], max_drop: float
) -> tuple[Made, int, int]:
    """Double T until the drop is small enough: (the result, the last T too small, T)."""
    low, high, least = 0, 1, float("inf")
    while True:
        found = make(high)
        lost = drop(found)
        least = min(least, lost)
        if lost <= max_drop:
            return found, low, high
        if high == MOST:
            raise GateError(
                f"no number of time-steps up to {MOST} loses at most {max_drop:g} points of "
                f"agreement with the ANN (the least is {least:.2f}); allow a larger --max-drop, "
                "or give more typical calibration data"
            )
        low, high = high, 2 * high
