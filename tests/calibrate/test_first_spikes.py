"""Behaviour of calibrate.first_spikes: the time the first spikes take to cross a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from helpers.networks import Builder
from helpers.stages import Array, Staged, network, staged

from onnx2snn.calibrate.first_spikes import automatic_delay


def two_paths() -> Staged:
    """first -> (long -> longer, or short) -> last."""
    b = Builder()
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 3]), 3, 2), name="first")
    y = b.node("Relu", b.gemm(x, 2, 2), name="long")
    y = b.node("Relu", b.gemm(y, 2, 2), name="longer")
    x = b.node("Add", y, b.node("Relu", b.gemm(x, 2, 2), name="short"))
    x = b.node("Relu", x, name="last")
    b.name_output(b.gemm(x, 2, 2), "output")
    return staged(b.model({"output": ["batch", 2]}))


def delay(
    model: Staged, thetas: Mapping[str, Sequence[float]], means: Mapping[str, Sequence[float]]
) -> int:
    def arrays(values: Mapping[str, Sequence[float]]) -> list[Array]:
        return [np.array([values[site.name]]) for site in model.parts.sites]

    return automatic_delay(model.arranged, model.parts.sites, arrays(thetas), arrays(means))


ONES = dict.fromkeys(("first", "long", "longer", "short", "last"), (1.0, 1.0))


def times(**steps: float) -> Mapping[str, Sequence[float]]:
    """Mean activations whose first spike comes after these steps, at thresholds of 1; never: 0."""
    return {name: (0.5 / steps[name] if steps[name] else 0.0, 0.0) for name in ONES}


@pytest.mark.parametrize(
    ("means", "wanted"),
    [
        (times(first=2, long=3, longer=4, short=5, last=1), 2 + 3 + 4 + 1),
        (times(first=2, long=3, longer=4, short=9, last=1), 2 + 9 + 1),
        (times(first=2, long=3, longer=0, short=2, last=1), 2 + 3 + 1),
        (times(first=1.3, long=0.4, longer=0.4, short=0.1, last=1), 3),
        (times(first=0, long=0, longer=0, short=0, last=0), 0),
    ],
)
def test_it_is_the_sum_over_the_slowest_path(
    means: Mapping[str, Sequence[float]], wanted: int
) -> None:
    assert delay(two_paths(), ONES, means) == wanted


def test_a_layers_first_spike_is_that_of_its_fastest_channel() -> None:
    """first: min(4/2/0.5, 1/2/0.1) = 4; the other layers at once (1/2/5 = 0.1 each)."""
    thetas = ONES | {"first": (4.0, 1.0)}
    means = dict.fromkeys(ONES, (5.0, 5.0)) | {"first": (0.5, 0.1)}
    assert delay(two_paths(), thetas, means) == round(4 + 3 * 0.1)


def test_a_tail_that_is_no_site_adds_nothing() -> None:
    model = network("mlp")
    thetas = [np.full(site.threshold_shape("layer"), 2.0) for site in model.parts.sites]
    means = [np.full_like(theta, 0.25) for theta in thetas]
    assert automatic_delay(model.arranged, model.parts.sites, thetas, means) == 4 + 4
