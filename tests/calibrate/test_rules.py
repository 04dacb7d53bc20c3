"""Behaviour of onnx2snn.calibrate.rules: statistics become thresholds."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from helpers.stages import Array, stable
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnx2snn.calibrate.rules import (
    MMSE_CANDIDATES,
    SILENT_BELOW,
    local_update,
    mmse,
    percentile,
    settle,
)


def test_it_needs_numpy_alone() -> None:
    """Checked in a fresh interpreter, the package itself left out."""
    code = (
        "import importlib.util, sys\n"
        "import onnx2snn\n"
        "path = onnx2snn.__path__[0] + '/calibrate/rules.py'\n"
        "ours = ('onnx', 'onnxruntime', 'onnx2snn')\n"
        "loaded = [n for n in sys.modules if n.split('.')[0] in ours]\n"
        "for name in loaded: del sys.modules[name]\n"
        "spec = importlib.util.spec_from_file_location('balance', path)\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['balance'] = module\n"
        "spec.loader.exec_module(module)\n"
        "assert not [n for n in sys.modules if n.split('.')[0] in ('onnx', 'onnxruntime')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Local threshold balancing.


def test_a_step_is_the_gradient_step_of_the_paper() -> None:
    """Loss E[(relu(z) - clip(z, 0, θ))²]: its derivative to θ is -2 E[(z - θ)[z > θ]]."""
    z, theta, rate = np.random.default_rng(0).normal(1, 2, 10_000), 0.7, 0.25

    def loss(at: float) -> float:
        return float(np.mean((np.maximum(z, 0) - np.clip(z, 0, at)) ** 2))

    slope = (loss(theta + 1e-5) - loss(theta - 1e-5)) / 2e-5
    g = np.mean((z - theta) * (z > theta))
    found = local_update(np.array([theta]), np.array([g]), rate, float("inf"))
    np.testing.assert_allclose(found, theta - rate * slope, rtol=1e-5)


def test_a_threshold_stays_within_the_bound_of_its_activation() -> None:
    found = local_update(np.array([5.0, 1.0]), np.array([1.0, 1.0]), 1.0, 6.0)
    assert found.tolist() == [6.0, 3.0]


# Silent channels.


def test_silent_channels_take_the_median_of_the_others() -> None:
    theta = np.array([2.0, 0.0, 4.0, 1e-6, 3.0]).reshape(1, 5, 1, 1)
    found = settle(theta)
    assert found.values.ravel().tolist() == [2.0, 2.5, 4.0, 2.5, 3.0]
    assert found.values.shape == theta.shape
    assert found.silent == (1, 3)
    assert not found.all_silent


@pytest.mark.parametrize(("share", "silent"), [(0.99, (0,)), (1.01, ())])
def test_silent_means_below_one_ten_thousandth_of_the_median_positive_threshold(
    share: float, silent: tuple[int, ...]
) -> None:
    assert SILENT_BELOW == 1e-4
    assert settle(np.array([share * SILENT_BELOW * 3.0, 3.0, 3.0, 0.0])).silent == (*silent, 3)


def test_a_site_silent_altogether_takes_one() -> None:
    found = settle(np.zeros((1, 3)))
    assert found.values.tolist() == [[1.0, 1.0, 1.0]]
    assert found.silent == (0, 1, 2)
    assert found.all_silent


@given(arrays.arrays(np.float64, (1, 7), elements=st.one_of(st.just(0.0), st.floats(1e-8, 1e4))))
@stable(60)
def test_no_threshold_is_left_at_zero_and_active_channels_keep_theirs(theta: Array) -> None:
    found = settle(theta)
    assert np.all(found.values > 0)
    assert found.all_silent == (not theta.any())
    awake = [c for c in range(7) if c not in found.silent]
    assert np.array_equal(found.values[0, awake], theta[0, awake])


# Percentiles.


def histogram(values: Array, bins: int) -> tuple[Array, Array]:
    """Rows of values in equal bins from 0 to each row's maximum, as the calibrator counts them."""
    maxima = values.max(axis=1)
    index = np.minimum(
        (values / np.where(maxima > 0, maxima, 1)[:, None] * bins).astype(int), bins - 1
    )
    return np.stack([np.bincount(row, minlength=bins) for row in index]).astype(np.float64), maxima


@given(
    arrays.arrays(
        np.float64, st.tuples(st.integers(1, 3), st.integers(1, 60)), elements=st.floats(0, 10)
    ),
    st.floats(1, 100),
    st.sampled_from([8, 64, 512]),
)
@stable(150)
def test_a_percentile_is_numpys_within_one_bin(values: Array, percent: float, bins: int) -> None:
    counts, maxima = histogram(values, bins)
    found = percentile(counts, maxima, percent)
    assert found.shape == maxima.shape
    assert np.all(np.abs(found - np.percentile(values, percent, axis=1)) <= maxima / bins + 1e-9)


def test_a_channel_active_more_rarely_than_the_percentile_has_a_percentile_of_zero() -> None:
    """So it counts as silent and takes the median, not a threshold of one bin."""
    values = np.zeros((2, 1000))
    values[0, :5] = 7.0
    values[1] = np.linspace(0, 3, 1000)
    counts, maxima = histogram(values, 2048)
    found = percentile(counts, maxima, 99.0)
    assert found[0] == 0.0
    assert settle(found).silent == (0,)


def test_the_hundredth_percentile_is_the_maximum() -> None:
    counts, maxima = histogram(np.random.default_rng(0).exponential(size=(3, 500)), 256)
    np.testing.assert_allclose(percentile(counts, maxima, 100.0), maxima)


@pytest.mark.parametrize("timesteps", [1, 2, 4, 8, 32])
def test_an_mmse_threshold_is_the_best_of_its_candidates(timesteps: int) -> None:
    values = np.maximum(
        np.random.default_rng(2).standard_normal((3, 4000)) * [[1.0], [3.0], [0.2]], 0
    )
    maxima, bins = values.max(axis=1), 2048
    counts = np.stack(
        [np.histogram(v, bins, (0, maximum))[0] for v, maximum in zip(values, maxima, strict=True)]
    ).astype(float)
    for found, row, maximum in zip(mmse(counts, maxima, timesteps), values, maxima, strict=True):
        thetas = MMSE_CANDIDATES[:, None] * maximum
        answers = (
            thetas / timesteps * np.clip(np.floor(row * timesteps / thetas + 0.5), 0, timesteps)
        )
        errors = np.square(row - answers).mean(axis=1)
        chosen = errors[np.argmin(np.abs(thetas[:, 0] - found))]
        assert chosen <= errors.min() * 1.01


def test_an_mmse_threshold_of_a_dead_channel_is_zero_and_of_a_constant_one_answers_it_exactly() -> (
    None
):
    counts = np.zeros((2, 64))
    counts[0, 0] = counts[1, 63] = 100.0
    dead, constant = mmse(counts, np.array([0.0, 2.0]), 4)
    assert dead == 0
    assert constant / 4 * np.clip(np.floor(2.0 * 4 / constant + 0.5), 0, 4) == pytest.approx(
        2.0, rel=0.02
    )


def test_more_time_steps_raise_the_mmse_threshold() -> None:
    values = np.maximum(np.random.default_rng(0).standard_normal(20_000), 0)
    counts = np.histogram(values, 2048, (0, values.max()))[0][None].astype(float)
    found = [mmse(counts, np.array([values.max()]), t)[0] for t in (2, 8, 64)]
    assert found == sorted(found) and found[0] < found[-1]
