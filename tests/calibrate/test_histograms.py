"""Behaviour of calibrate.histograms: counts are those of NumPy, in the smallest type for them."""

from __future__ import annotations

import numpy as np
import pytest

from onnx2snn.calibrate import histograms
from onnx2snn.calibrate.histograms import Counter, Histogram

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("rows", "bins", "each", "batches", "dtype"),
    [
        (1, 16, 3, 2, np.uint8),  # one threshold a layer
        (40, 64, 5, 1, np.uint8),  # fewer numbers than bins
        (40, 64, 255, 1, np.uint8),
        (3, 8, 200, 2, np.uint16),  # the second batch needs a larger type
        (3, 2, 66_000, 1, np.uint32),
    ],
)
def test_counts_are_numpys(
    rows: int, bins: int, each: int, batches: int, dtype: type[np.generic]
) -> None:
    counter = Counter((1, rows), bins)
    wanted = np.zeros(rows * bins, np.int64)
    for _ in range(batches):
        numbers = RNG.integers(0, bins, (each, rows))
        counter.add(numbers.astype(np.uint16))
        wanted += np.bincount((numbers + np.arange(rows) * bins).ravel(), minlength=rows * bins)
    assert counter.counts.dtype == dtype
    np.testing.assert_array_equal(counter.counts, wanted.reshape(rows, bins))


def test_all_of_a_rows_activations_may_lie_in_one_bin() -> None:
    counter = Counter((2, 1), 4)
    for _ in range(3):
        counter.add(np.repeat(np.array([[1], [3]], np.uint16), 100, axis=1))
    assert counter.counts.dtype == np.uint16
    np.testing.assert_array_equal(counter.counts, [[0, 300, 0, 0], [0, 0, 0, 300]])


@pytest.mark.parametrize("rows", [1, 5, 12])
def test_rules_see_every_row_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histograms, "ROWS", 5)
    counts = RNG.integers(0, 9, (rows, 7)).astype(np.uint8)
    maxima = RNG.random(rows)
    found = Histogram(counts, maxima).by_row(lambda some, largest: some.sum(axis=1) * largest)
    np.testing.assert_allclose(found, counts.sum(axis=1) * maxima)
