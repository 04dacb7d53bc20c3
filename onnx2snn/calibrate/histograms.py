"""Histograms of activations: a row of bins for each threshold, counted batch by batch.

A network has some ten thousand rows of 2,048 bins. So counts are kept in the smallest whole numbers
that hold them, and rules get some rows at a time in floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from onnx2snn.aliases import Array

ROWS = 256
"""Rows that a rule gets at once."""

HistogramRule = Callable[[Array, Array], Array]
"""Counts [rows, bins] in floating point and maxima [rows] become a value a row."""


@dataclass(frozen=True)
class Histogram:
    """Counts [rows, bins] of activations in equal bins from 0 to a row's maximum; maxima [rows]."""

    counts: Array
    maxima: Array

    def parts(self) -> Iterator[tuple[slice, Array]]:
        """Yield some rows after others, and their counts in floating point."""
        for start in range(0, len(self.counts), ROWS):
            rows = slice(start, start + ROWS)
            yield rows, self.counts[rows].astype(np.float64)

    def by_row(self, rule: HistogramRule) -> Array:
        """Return what a rule makes of each row."""
        found = [rule(counts, self.maxima[rows]) for rows, counts in self.parts()]
        return np.concatenate(found)


class Counter:
    """Counts the bins of one site, whose thresholds have some shape."""

    def __init__(self, shape: tuple[int, ...], bins: int) -> None:
        """Start with no activation."""
        rows = prod(shape)
        self.counts: Array = np.zeros((rows, bins), np.uint8)
        self.each = 0
        """Activations a row."""
        # rows of bins lie one after another: one call counts in all of them
        self._starts = (np.arange(rows) * bins).reshape(shape)

    def add(self, numbers: Array) -> None:
        """Count activations, each of which is the number of its bin, along the thresholds' axis."""
        places = (numbers + self._starts).reshape(-1)
        self.each += -(-numbers.size // len(self.counts))
        self.counts = self.counts.astype(np.min_scalar_type(self.each), copy=False)
        # in place: a bincount would make 8 bytes of each bin anew
        np.add.at(self.counts.reshape(-1), places, self.counts.dtype.type(1))

    def merge(self, other: Counter) -> None:
        """Take in what another one has counted."""
        self.each += other.each
        self.counts = self.counts.astype(np.min_scalar_type(self.each), copy=False)
        np.add(self.counts, other.counts, out=self.counts, casting="unsafe")
