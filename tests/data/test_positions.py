"""Behaviour of onnx2snn.data.positions."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from onnx2snn.data.positions import spread_step


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("size", [12, 14, 16, 24, 27, 28, 30, 32, 36, 56, 64, 112, 225, 256])
@pytest.mark.parametrize("turned", [False, True])
def test_positions_of_a_plane_meet_every_phase(size: int, stride: int, turned: bool) -> None:
    sizes = (size + 4, size) if turned else (size, size)
    positions = np.arange(0, size * sizes[0], spread_step(sizes, 49))
    count = len(positions)
    assert 0.8 * 49 <= count <= 1.75 * 49 + 1 or count == size * sizes[0] < 4 * 49
    rows, columns = np.unravel_index(positions, sizes)
    phases = (rows % stride) * stride + columns % stride
    met = np.bincount(phases, minlength=stride**2)
    assert met.min() >= 1
    assert met.max() <= 2.5 * count / stride**2
    # every quarter of the map, too
    quarters = (rows * 2 // sizes[0]) * 2 + columns * 2 // sizes[1]
    assert np.bincount(quarters, minlength=4).min() >= 6


@pytest.mark.parametrize("sizes", [(480,), (16000,), (1, 480), (480, 1), (8, 8, 8), (5, 7, 96)])
@pytest.mark.parametrize("stride", [2, 3])
def test_positions_of_lines_and_volumes_meet_every_phase(
    sizes: tuple[int, ...], stride: int
) -> None:
    every = np.arange(0, prod(sizes), spread_step(sizes, 160))
    positions = np.unravel_index(every, sizes)
    splits = tuple(min(stride, size) for size in sizes)
    phases = np.ravel_multi_index(
        tuple(at % split for at, split in zip(positions, splits, strict=True)), splits
    )
    assert np.bincount(phases, minlength=prod(splits)).min() >= 1


def test_a_small_map_is_met_whole_and_positions_are_the_same_each_time() -> None:
    assert spread_step((3, 4), 12) == 1
    assert spread_step((3, 4), 48) == 1
    first = spread_step((20, 21), 50)
    spread_step.cache_clear()
    assert spread_step((20, 21), 50) == first
