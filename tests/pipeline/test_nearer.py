"""Errors that do not fall with T: the site to blame, and the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import NETWORKS, Builder, inputs_for
from numpy.typing import NDArray

from onnx2snn.errors import GateError
from onnx2snn.options import Coding
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.pipeline.nearer import Nearness, OutputError, blamed
from onnx2snn.pipeline.site_errors import SiteError
from onnx2snn.settings import Settings

Array = NDArray[Any]
SETTINGS = Settings(preset="paper", method="max", delay=0, timesteps=16, threads=1)
DATA = np.random.default_rng(0).standard_normal((90, 10)).astype(np.float32)
Stage = Callable[[Builder, str], str]


def wave(b: Builder, x: str) -> str:
    """A sine that turns a thousand times."""
    return b.node("Sin", b.node("Mul", x, b.const(1000.0)))


def parity(b: Builder, x: str) -> str:
    """The sign of such a cosine."""
    return b.node("Sign", b.node("Cos", b.node("Mul", x, b.const(1000.0))))


def remainder(b: Builder, x: str) -> str:
    """The digits of x behind the second one."""
    x = b.node("Mul", x, b.const(100.0))
    return b.node("Sub", b.node("Sub", x, b.node("Floor", x)), b.const(0.5))


def network(stage: Stage) -> onnx.ModelProto:
    b = Builder()
    h = b.node("Relu", b.gemm(b.input("x", ["N", 10]), 10, 8), name="first")
    h = b.node("Relu", b.gemm(h, 8, 8), name="second")
    y = stage(b, b.gemm(h, 8, 4))
    return b.model({b.name_output(y, "y"): ["N", 4]})


@pytest.mark.parametrize("name", ["mlp", "resnet", "vgg"])
def test_errors_of_rounding_fall_with_t(name: str) -> None:
    report = run_conversion(NETWORKS[name](), inputs_for(name, 90), SETTINGS).report
    assert report.nearness is not None
    assert report.nearness.after < 0.8 * report.nearness.before
    assert not any("does not fall" in warning for warning in report.warnings)
    told = report.to_dict()["nearness"]
    assert (told["quarter"], told["timesteps"]) == (4, 16)


@pytest.mark.parametrize("stage", [wave, parity, remainder])
def test_spikes_that_are_magnified_end_in_a_gate_that_names_their_site(stage: Stage) -> None:
    with pytest.raises(GateError, match=r"does not fall with T: .* site '.*' is to blame.*--keep"):
        run_conversion(network(stage), DATA, SETTINGS)


@pytest.mark.parametrize("coding", ["rate", "differential"])
def test_neurons_before_weighted_operators_are_measured_too(coding: Coding) -> None:
    settings = Settings(coding=coding, sites="weighted", timesteps=16, threads=1)
    report = run_conversion(NETWORKS["mlp"](), inputs_for("mlp", 90), settings).report
    assert report.nearness is not None
    assert report.nearness.after < 0.1


def warned(settings: Settings, proto: onnx.ModelProto, data: Array) -> list[str]:
    said = run_conversion(proto, data, settings).report.warnings
    return [text for text in said if "does not fall" in text]


def test_an_error_that_stays_is_allowed_as_far_as_the_user_says() -> None:
    (said,) = warned(replace(SETTINGS, max_lasting=200.0), network(wave), DATA)
    assert "is to blame" in said
    with pytest.raises(GateError, match="--max-lasting 20 forbids it"):
        run_conversion(network(wave), DATA, replace(SETTINGS, max_lasting=20.0))


def test_clipping_is_blamed_on_the_site_that_clips() -> None:
    low = replace(SETTINGS, method="percentile", percentile=60.0, max_lasting=200.0)
    (said,) = warned(low, NETWORKS["mlp"](), inputs_for("mlp", 90))
    assert "off by itself: give more typical calibration data" in said


def test_answers_that_agree_all_the_same_pass_by_default_and_not_strictly() -> None:
    """All logits are clipped to a part of their size, and the largest stays the largest."""
    b = Builder()
    h = b.node("Relu", b.node("Gemm", b.input("x", ["N", 3]), b.const(10.0 * np.eye(3))))
    y = b.node("Gemm", h, b.const(np.eye(3)))
    proto = b.model({b.name_output(y, "y"): ["N", 3]})
    data = np.eye(3, dtype=np.float32)[np.arange(90) % 3]
    data[:80] *= 0.2
    low = replace(SETTINGS, method="percentile", percentile=75.0, granularity="layer")
    assert len(warned(low, proto, data)) == 1
    with pytest.raises(GateError, match="--max-lasting 10 forbids it"):
        run_conversion(proto, data, replace(low, strict=True))


def site(name: str, total: float, own: float) -> SiteError:
    return SiteError(name, total, own, total - own, 0.1)


@pytest.mark.parametrize(
    ("own", "words"),
    [(0.5, "site 'b' is to blame, 50.0% off by itself"), (0.1, "site 'a' is to blame, whose")],
)
def test_the_first_site_whose_error_stays_is_blamed(own: float, words: str) -> None:
    before = [site("a", 0.4, 0.4), site("b", 0.6, own), site("c", 0.9, 0.1)]
    after = [site("a", 0.08, 0.08), site("b", 0.6, own), site("c", 0.9, 0.1)]
    assert words in blamed(before, after)


def test_an_error_that_shows_in_the_outputs_alone_is_blamed_on_the_site_furthest_off() -> None:
    before = [site("a", 0.4, 0.4), site("b", 0.2, 0.1)]
    after = [site("a", 0.05, 0.05), site("b", 0.04, 0.02)]
    assert "site 'a' is to blame, whose spikes reach the outputs magnified" in blamed(before, after)
    assert blamed([], []) == "no site is to blame"


@pytest.mark.parametrize(
    ("before", "after", "fails", "fails_strictly"),
    [
        (0.6, 0.55, True, True),
        (1.0, 0.6, False, False),
        (0.3, 0.3, False, True),
        (0.05, 0.05, False, False),
    ],
)
def test_the_gate_fails_on_large_errors_that_stay(
    before: float, after: float, fails: bool, fails_strictly: bool
) -> None:
    found = Nearness(8, 32, before, after, "")
    for strict, expected in ((False, fails), (True, fails_strictly)):
        limit = Settings(strict=strict).lasting_limit
        if expected:
            with pytest.raises(GateError, match="does not fall"):
                found.check(limit)
        else:
            found.check(limit)


def test_nothing_is_measured_on_random_inputs_few_time_steps_and_few_samples() -> None:
    proto = NETWORKS["mlp"]()
    assert run_conversion(proto, None, SETTINGS).report.nearness is None
    few = replace(SETTINGS, timesteps=4)
    assert run_conversion(proto, inputs_for("mlp", 90), few).report.nearness is None
    assert run_conversion(proto, inputs_for("mlp", 70), SETTINGS).report.nearness is None


def test_the_largest_relative_error_of_outputs_counts() -> None:
    error = OutputError(4)
    wanted = [np.array([3.0, 4.0]), np.array([1]), np.zeros(2), np.array([-np.inf, 1.0])]
    error.add([np.array([3.0, 4.5]), np.array([9]), np.array([0.0, 0.1]), wanted[3]], wanted)
    assert error.relative() == pytest.approx(0.1)
    error.add([np.array([3.0, 5.5]), np.array([9]), np.array([0.0, 0.1]), wanted[3]], wanted)
    assert error.relative() == pytest.approx(np.sqrt((0.25 + 2.25) / 50))
