"""Behaviour of onnx2snn.graph.bounds: constant bounds of Clips, and activations that can fire."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.networks import Builder

from onnx2snn.graph.bounds import clip_bounds, scalar_bounds, upper_bound
from onnx2snn.graph.editing import to_graph
from onnx2snn.graph.types import Node

INFINITY = math.inf
LARGEST = float(np.finfo(np.float32).max)


def single(op: str, *bounds: object, domain: str = "") -> Node:
    """One node behind an input; None: a bound that is left out, "x": one computed at run time."""
    b = Builder()
    x = b.input("input", ["batch", 3])
    names = []
    for bound in bounds:
        if bound is None:
            names.append("")
        elif bound == "x":
            names.append(b.input("bound", []))
        else:
            names.append(b.const(bound))
    out = b.node(op, x, *names, domain=domain)
    return to_graph(b.model({out: ["batch", 3]})).nodes[0]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((0.0, 6.0), (0.0, 6.0)),
        ((), (-INFINITY, INFINITY)),
        ((1.0,), (1.0, INFINITY)),
        ((None, 1.0), (-INFINITY, 1.0)),
        ((0.0, LARGEST), (0.0, INFINITY)),
        ((-LARGEST, 0.0), (-INFINITY, 0.0)),
        (([0.0], [6.0]), (0.0, 6.0)),
        ((2.0, 1.0), None),
        ((1.0, 1.0), None),
        (([0.0, 1.0], 6.0), None),
        ((0.0, "x"), None),
        (("x", 6.0), None),
    ],
)
def test_bounds_are_read_from_constants(
    given: tuple[object, ...], found: tuple[float, float] | None
) -> None:
    assert scalar_bounds(single("Clip", *given)) == found


def test_a_bound_computed_at_run_time_is_not_known() -> None:
    low, high = clip_bounds(single("Clip", 0.0, "x"))
    assert low is not None and low.item() == 0
    assert high is None


@pytest.mark.parametrize(
    ("op", "given", "upper"),
    [
        ("Relu", (), INFINITY),
        ("Clip", (0.0, 6.0), 6.0),
        ("Clip", (0.0,), None),
        ("Clip", (1.0, 6.0), None),
        ("Clip", (-1.0, 0.0), None),
        ("Clip", (0.0, "x"), None),
        ("Sigmoid", (), None),
    ],
)
def test_what_fires_has_an_upper_bound(
    op: str, given: tuple[object, ...], upper: float | None
) -> None:
    assert upper_bound(single(op, *given)) == upper


def test_operators_of_other_domains_do_not_fire() -> None:
    assert upper_bound(single("Relu", domain="com.example")) is None
