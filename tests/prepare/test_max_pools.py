"""Behaviour of onnx2snn.prepare.max_pools: max-pools move to the front of their activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import ASSEMBLED_INPUT, BLOCKS, NETWORKS, Builder, assemble
from helpers.stages import (
    Array,
    Staged,
    feed_for,
    network,
    random_networks,
    reference,
    relative,
    samples,
    stable,
    staged,
)
from hypothesis import given

from onnx2snn.graph.editing import maker

POOL: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [1, 1]}


def ops(model: Staged) -> list[str]:
    return [node.op for node in model.arranged.nodes]


def assert_same(model: Staged, feed: dict[str, Array]) -> None:
    for found, wanted in zip(
        reference(model.arranged, feed), reference(model.normalised, feed), strict=True
    ):
        assert relative(found, wanted) <= 1e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_the_same(name: str) -> None:
    assert_same(network(name), samples(name, 3))


@pytest.mark.parametrize("block", [name for name in BLOCKS if "max" in name])
@pytest.mark.parametrize("activation", ["relu", "clip"])
def test_every_pool_computes_the_same(block: str, activation: str) -> None:
    proto = assemble([activation, block, block, activation, block])
    assert_same(staged(proto), feed_for(proto))


@given(random_networks())
@stable(20)
def test_any_network_computes_the_same(proto: onnx.ModelProto) -> None:
    assert_same(staged(proto), feed_for(proto))


class Net(Builder):
    """Conv and an activation; whatever comes next; Conv to the output."""

    def start(self, activation: str = "Relu") -> str:
        x = self.conv(self.input("input", ["batch", *ASSEMBLED_INPUT]), ASSEMBLED_INPUT[0], 3)
        bounds = [self.const(0.0), self.const(6.0)] if activation == "Clip" else []
        return self.node(activation, x, *bounds, name="act")

    def end(self, x: str, channels: int = 3) -> Staged:
        self.name_output(self.conv(x, channels, 2, 1), "output")
        return staged(self.model({"output": ["batch", 2, None, None]}))


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
@pytest.mark.parametrize(
    "pools", [["MaxPool"], ["GlobalMaxPool"], ["MaxPool", "MaxPool"], ["MaxPool", "GlobalMaxPool"]]
)
def test_pools_move_before_the_activation_they_follow(
    activation: str, pools: Sequence[str]
) -> None:
    b = Net()
    x = b.start(activation)
    for number, op in enumerate(pools):
        x = b.node(op, x, name=f"pool{number}", **(POOL if op == "MaxPool" else {}))
    model = b.end(x)
    assert ops(model) == ["Conv", *pools, activation, "Conv"]
    assert model.arrangement.moved_pools == [f"pool{number}" for number in range(len(pools))]
    assert model.arrangement.sources == {}
    assert [(site.name, site.source) for site in model.parts.sites] == [("act", "act")]
    assert_same(model, feed_for(model.source.proto))


def batch_norm(gamma: Sequence[float]) -> Callable[[Net, str], str]:
    """BatchNormalization with these scales."""

    def block(b: Net, x: str) -> str:
        beta, mean = b.rng.standard_normal((2, 3))
        values = (gamma, beta, mean, b.rng.uniform(0.5, 1.5, 3))
        return b.node("BatchNormalization", x, *(b.const(value) for value in values))

    return block


def scaled_and_shifted(b: Net, x: str) -> str:
    scaled = b.node("Div", x, b.const(np.array([2.0, 3.0, 0.5]).reshape(1, 3, 1, 1)))
    return b.node("Sub", scaled, b.const(np.array([0.5, -1.0, 2.0]).reshape(3, 1, 1)))


def shifted_twice(b: Net, x: str) -> str:
    return b.node("Add", b.node("Sub", b.const(2.0), x), b.const([[[0.5]]]))


AFFINE: dict[str, tuple[Callable[[Net, str], str], int]] = {
    "positive": (batch_norm([0.5, 1.5, 2.0]), 0),
    "a scale of 0": (batch_norm([0.5, 0.0, 2.0]), 0),
    "some negative": (batch_norm([0.5, -1.5, -2.0]), 2),
    "all negative": (batch_norm([-0.5, -1.5, -2.0]), 2),
    "written out": (scaled_and_shifted, 0),
    "subtracted": (shifted_twice, 2),
}
"""Affine blocks, and the Muls by signs that stand around the pool then."""


@pytest.mark.parametrize("activation", ["Relu", "Clip", "LeakyRelu"])
@pytest.mark.parametrize("block", AFFINE)
@pytest.mark.parametrize("pool", ["MaxPool", "GlobalMaxPool"])
def test_pools_move_past_channelwise_scales_and_shifts(
    activation: str, block: str, pool: str
) -> None:
    b = Net()
    make, signs = AFFINE[block]
    x = make(b, b.start(activation))
    padded: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    model = b.end(b.node(pool, x, name="pool", **(padded if pool == "MaxPool" else {})))
    found = [node for node in model.arranged.nodes if node.op == pool]
    assert [node.name for node in found] == model.arrangement.moved_pools == ["pool"]
    before = maker(found[0].inputs[0])
    assert before.op == ("Mul" if signs else "Conv")
    turns = [node.name for node in model.arranged.nodes if "/turn" in node.name]
    assert len(turns) == signs
    assert_same(model, feed_for(model.source.proto))


def test_past_a_scale_that_feeds_others_too_the_pool_gets_its_own() -> None:
    b = Net()
    x = batch_norm([0.5, -1.5, 2.0])(b, b.start())
    pooled = b.node("MaxPool", x, name="pool", kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    model = b.end(b.node("Concat", x, pooled, axis=1), 6)
    assert {site.source for site in model.parts.sites} == {"act"}
    assert len(model.parts.sites) == 2
    assert_same(model, feed_for(model.source.proto))


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (1, 3, 1, 4)])
def test_before_a_scale_that_differs_along_positions_a_pool_stays(shape: tuple[int, ...]) -> None:
    b = Net()
    width = ASSEMBLED_INPUT[2]
    factor = b.rng.uniform(0.5, 1.5, (*shape[:3], width))
    x = b.node("Mul", b.start(), b.const(factor))
    model = b.end(b.node("MaxPool", x, name="pool", **POOL))
    assert model.arrangement.moved_pools == []


def test_through_an_activation_that_feeds_others_too_the_pool_gets_its_own() -> None:
    b = Net()
    x = b.start()
    pooled = b.node("MaxPool", x, name="pool", kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    model = b.end(b.node("Concat", x, pooled, axis=1), 6)
    assert sorted(ops(model)) == ["Concat", "Conv", "Conv", "MaxPool", "Relu", "Relu"]
    assert model.arrangement.sources == {"act/pool": "act"}
    assert {(site.name, site.source) for site in model.parts.sites} == {
        ("act", "act"),
        ("act/pool", "act"),
    }
    assert_same(model, feed_for(model.source.proto))


def test_two_pools_of_one_activation_get_one_each() -> None:
    b = Net()
    x = b.start()
    pools = [
        b.node("MaxPool", x, name=f"pool{n}", kernel_shape=[n, n], pads=[n // 2] * 4)
        for n in (1, 3)
    ]
    model = b.end(b.node("Concat", *pools, axis=1), 6)
    assert {site.source for site in model.parts.sites} == {"act"}
    assert len(model.parts.sites) == 2 and len(model.arrangement.moved_pools) == 2
    assert_same(model, feed_for(model.source.proto))


def test_an_activation_that_is_an_output_of_the_model_keeps_its_name_and_value() -> None:
    b = Net()
    b.name_output(b.start(), "hidden")
    b.name_output(b.conv(b.node("MaxPool", "hidden", name="pool", **POOL), 3, 2, 1), "output")
    model = staged(b.model({"hidden": ["batch", 3, 6, 5], "output": ["batch", 2, 5, 4]}))
    assert [t.name for t in model.arranged.outputs] == ["hidden", "output"]
    assert model.arrangement.moved_pools == ["pool"]
    assert_same(model, feed_for(model.source.proto))


def test_a_pool_whose_indices_are_used_stays() -> None:
    b = Net()
    pooled = b.node("MaxPool", b.start(), name="pool", outputs=2, **POOL)
    b.name_output(b.conv(pooled, 3, 2, 1), "output")
    b.name_output(b.node("Cast", "pool_out1", to=1), "where")
    model = staged(b.model({"output": ["batch", 2, 5, 4], "where": ["batch", 3, 5, 4]}))
    assert ops(model)[:3] == ["Conv", "Relu", "MaxPool"]
    assert model.arrangement.moved_pools == []


def test_a_pool_behind_anything_else_stays() -> None:
    b = Net()
    x = b.conv(b.start(), 3, 3)
    model = b.end(b.node("Relu", b.conv(b.node("MaxPool", x, **POOL), 3, 3)))
    assert ops(model) == ["Conv", "Relu", "Conv", "MaxPool", "Conv", "Relu", "Conv"]
    assert model.arrangement.moved_pools == []


def padded(b: Net, x: str) -> str:
    return b.node("Pad", x, b.const([0, 0, 1, 0, 0, 0, 0, 2], np.int64), name="mover")


def reflected(b: Net, x: str) -> str:
    return b.node(
        "Pad", x, b.const([0, 0, 1, 0, 0, 0, 0, 2], np.int64), mode="reflect", name="mover"
    )


def padded_with_ones(b: Net, x: str) -> str:
    return b.node("Pad", x, b.const([0, 0, 1, 0, 0, 0, 0, 2], np.int64), b.const(1.0), name="mover")


def turned(b: Net, x: str) -> str:
    return b.node("Transpose", x, perm=[0, 1, 3, 2], name="mover")


def both(b: Net, x: str) -> str:
    x = b.node("Transpose", x, perm=[0, 1, 3, 2], name="turn")
    return b.node("Pad", x, b.const([0, 0, 1, 0, 0, 0, 0, 2], np.int64), name="mover")


def untouched(b: Net, x: str) -> str:
    return x


def clip(low: float, high: float) -> Callable[[Net, str], str]:
    return lambda b, x: b.node("Clip", x, b.const(low), b.const(high), name="f")


def leaky(alpha: float) -> Callable[[Net, str], str]:
    return lambda b, x: b.node("LeakyRelu", x, alpha=alpha, name="f")


def learned(*slopes: float) -> Callable[[Net, str], str]:
    return lambda b, x: b.node("PRelu", x, b.const(np.reshape(slopes, (-1, 1, 1))), name="f")


def relu(b: Net, x: str) -> str:
    return b.node("Relu", x, name="f")


MOVES = [
    (relu, padded, True),
    (relu, reflected, True),
    (relu, padded_with_ones, False),
    (relu, turned, True),
    (relu, both, True),
    (clip(-1.0, 1.0), untouched, True),
    (clip(-1.0, 1.0), padded, True),
    (clip(0.5, 1.0), untouched, True),
    (clip(0.5, 1.0), padded, False),
    (clip(0.5, 1.0), reflected, True),
    (leaky(0.2), both, True),
    (leaky(-0.2), padded, False),
    (learned(0.1, 0.2, 0.3), untouched, True),
    (learned(0.1, 0.2, 0.3), turned, False),
    (learned(0.1), turned, True),
    (learned(0.1, -0.2, 0.3), turned, False),
]


@pytest.mark.parametrize(
    ("activation", "mover", "moves"),
    MOVES,
    ids=[f"{n}-{m[1].__name__}" for n, m in enumerate(MOVES)],
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_pool_moves_past_what_it_changes_places_with(
    activation: Callable[[Net, str], str],
    mover: Callable[[Net, str], str],
    moves: bool,
    shared: bool,
) -> None:
    """A network that also uses what is moved past keeps it, and computes the same."""
    b = Net(5)
    x = b.conv(b.start(), 3, 3, name="before")
    x = activation(b, x)
    y = mover(b, x)
    z = b.conv(
        b.node("MaxPool", y, name="pool", kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4), 3, 3
    )
    if shared:
        z = b.node(
            "Add",
            z,
            b.node("ReduceMean", b.node("Relu", b.conv(x, 3, 3)), b.const([2, 3], np.int64)),
        )
        z = b.node("Add", z, y)
    model = b.end(b.node("Relu", z, name="last"))
    assert model.arrangement.moved_pools == (["pool"] if moves else [])
    assert_same(model, feed_for(model.source.proto))
    roles = {row.op: row.role for row in model.parts.rows if row.node.startswith("pool")}
    assert roles == {"MaxPool": "pooled"}
    pool = next(node for node in model.arranged.nodes if node.name == "pool")
    behind = [n.op for n in pool.outputs[0].outputs]
    assert bool({"Relu", "Clip"} & set(behind) or {"Mul", "Add"} & set(behind)) == moves
    model.parts.require_convertible()


def fire(b: Net, x: str, name: str) -> str:
    return b.node("Relu", b.conv(x, 3, 3), name=name)


def test_a_pool_behind_a_concat_moves_into_every_branch() -> None:
    """SqueezeNet's fire module; one branch comes by a Pad, and one is a pool of its own."""
    b = Net(5)
    x = b.start()
    skipped = b.node("MaxPool", fire(b, x, "two"), name="inner", kernel_shape=[3, 3], pads=[1] * 4)
    third = b.node("Pad", fire(b, x, "three"), b.const([0] * 8, np.int64))
    x = b.node("Concat", fire(b, x, "one"), skipped, third, axis=-3, name="concat")
    model = b.end(b.node("Relu", b.conv(b.node("MaxPool", x, name="pool", **POOL), 9, 3)))
    assert model.arrangement.moved_pools == ["inner", "pool"]
    concat = next(node for node in model.arranged.nodes if node.op == "Concat")
    assert [maker(t).op for t in concat.inputs] == ["Relu"] * 3
    assert {site.source for site in model.parts.sites} >= {"one", "two", "three"}
    assert len(model.parts.sites) == 5
    assert_same(model, feed_for(model.source.proto))


def test_a_branch_that_is_constant_in_time_is_pooled_once() -> None:
    b = Net(5)
    x = b.start()
    image = b.conv("input", 2, 3, name="image")
    x = b.node("Concat", x, b.node("Tanh", image), axis=1)
    model = b.end(b.node("Relu", b.conv(b.node("MaxPool", x, name="pool", **POOL), 6, 3)))
    assert [row.role for row in model.parts.rows if row.op == "MaxPool"] == ["encoder", "encoder"]
    assert_same(model, feed_for(model.source.proto))


@pytest.mark.parametrize("axis", [1, 2])
def test_a_pool_behind_a_concat_with_a_branch_it_cannot_enter_stays(axis: int) -> None:
    """Or one along an axis it pools: in place, on the accumulated current."""
    b = Net(5)
    x = b.start()
    other = b.conv(x, 3, 3) if axis == 1 else fire(b, x, "other")
    x = b.node("Concat", fire(b, x, "one"), other, axis=axis)
    model = b.end(
        b.node("Relu", b.conv(b.node("MaxPool", x, name="pool", **POOL), 6 if axis == 1 else 3, 3))
    )
    assert model.arrangement.moved_pools == []
    assert [row.role for row in model.parts.rows if row.node == "pool"] == ["pooled"]
    assert_same(model, feed_for(model.source.proto))


def test_a_pool_behind_a_sum_of_spikes_stays() -> None:
    b = Net(5)
    x = b.start()
    x = b.node("MaxPool", b.node("Add", fire(b, x, "one"), x), name="pool", **POOL)
    model = b.end(b.node("Relu", b.conv(x, 3, 3)))
    assert model.arrangement.moved_pools == []
    assert [row.role for row in model.parts.rows if row.node == "pool"] == ["pooled"]


def test_shapes_are_those_after_the_pool() -> None:
    site = network("vgg").parts.sites[1]
    assert (site.name, site.shape, site.channels) == ("c2", ("batch", 8, 2, 2), 8)
    assert np.prod(site.threshold_shape("channel")) == 8
