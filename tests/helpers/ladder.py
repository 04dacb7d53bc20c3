"""The neuron of differential coding in NumPy, from its definition: a ladder of comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def digit(error: Array, octaves: int) -> Array:
    """Q(e) = sign(e) max{2^j : |e| >= 3/4 2^j, 0 <= j < octaves}, or 0."""
    height = np.zeros_like(error)
    for power in range(octaves):
        height = np.where(np.abs(error) >= 0.75 * 2.0**power, 2.0**power, height)
    found: Array = np.sign(error) * height
    return found


def spike(error: Array, octaves: int, digits: int) -> Array:
    """The sum of so many digits, each of what is left."""
    sent = np.zeros_like(error)
    for _ in range(digits):
        sent += digit(error - sent, octaves)
    return sent


def rounded(error: Array, octaves: int, digits: int) -> Array:
    """The nearest number of 2 digits - 1 bits, ties to the even one, then a whole number."""
    size = np.minimum(np.abs(error), 2.0 ** (octaves - 1)).astype(np.float64)
    unit = np.exp2(np.floor(np.log2(np.maximum(size, 1e-30))) - (2 * digits - 2))
    found: Array = np.sign(error) * np.rint(np.rint(size / unit) * unit)
    return found


def alphabet(octaves: int, digits: int) -> set[float]:
    """All heights that a spike can have."""
    powers = [0.0] + [sign * 2.0**j for j in range(octaves) for sign in (1, -1)]
    heights = {0.0}
    for _ in range(digits):
        heights = {a + b for a in heights for b in powers}
    return heights
