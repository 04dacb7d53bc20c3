"""Behaviour of onnx2snn.prepare.feeding: only what feeds a weighted operator by spikes fires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.networks import Builder
from helpers.stages import Staged, reference, relative, staged

from onnx2snn.errors import UnsupportedGraphError


class Net(Builder):
    """Conv, Relu `first`, Conv; something; Conv, Relu `last`, Conv; input [batch, 2, 6, 5]."""

    def start(self, *, fires: bool = True) -> str:
        x = self.conv(self.input("input", ["batch", 2, 6, 5]), 2, 4)
        return self.conv(self.node("Relu", x, name="first"), 4, 4) if fires else x

    def end(self, x: str, *, fires: bool = True) -> Staged:
        x = self.conv(x, 4, 4)
        if fires:
            x = self.conv(self.node("Relu", x, name="last"), 4, 4)
        self.name_output(x, "output")
        return staged(self.model({"output": ["batch", None, None, None]}))


Block = Callable[[Net, str], str]


def layer_norm(b: Net, x: str) -> str:
    """(x - mean) / sqrt(max(mean of squares - mean², 0) + ε)."""
    axes = b.const([1], np.int64)
    mean = b.node("ReduceMean", x, axes)
    squares = b.node("ReduceMean", b.node("Mul", x, x), axes)
    variance = b.node("Sub", squares, b.node("Mul", mean, mean))
    guarded = b.node("Max", variance, b.const(0.0), name="inner")
    deviation = b.node("Sqrt", b.node("Add", guarded, b.const(1e-5)))
    return b.node("Div", b.node("Sub", x, mean), deviation)


def root_mean_square(b: Net, x: str) -> str:
    square = b.node("ReduceMean", b.node("Mul", x, x), b.const([1], np.int64))
    guarded = b.node("Clip", square, b.const(1e-6), name="inner")
    return b.node("Mul", x, b.node("Reciprocal", b.node("Sqrt", guarded)))


def hard_swish(b: Net, x: str) -> str:
    shifted = b.node("Add", x, b.const(3.0))
    inner = b.node("Clip", shifted, b.const(0.0), b.const(6.0), name="inner")
    return b.node("Mul", x, b.node("Div", inner, b.const(6.0)))


def hard_swish_of_relu6(b: Net, x: str) -> str:
    """x relu6(x + 3) / 6, in another order and as Min and Max."""
    low = b.node("Max", b.node("Add", x, b.const(3.0)), b.const(0.0), name="inner")
    inner = b.node("Min", low, b.const(6.0), name="inner2")
    return b.node("Mul", b.node("Mul", x, inner), b.const(1 / 6))


def hard_sigmoid_gate(b: Net, x: str) -> str:
    """Squeeze and excitation by clip(0.2 z + 0.5, 0, 1)."""
    squeezed = b.conv(b.node("GlobalAveragePool", x), 4, 4, 1, pads=[0] * 4)
    z = b.node("Add", b.node("Mul", squeezed, b.const(0.2)), b.const(0.5))
    inner = b.node("Clip", z, b.const(0.0), b.const(1.0), name="inner")
    return b.node("Mul", x, inner)


def guarded_gelu(b: Net, x: str) -> str:
    """x (1 + erf(clip(x / sqrt(2), -3, 3))) / 2."""
    z = b.node("Mul", x, b.const(np.sqrt(0.5)))
    inner = b.node("Clip", z, b.const(-3.0), b.const(3.0), name="inner")
    half = b.node("Mul", b.node("Add", b.node("Erf", inner), b.const(1.0)), b.const(0.5))
    return b.node("Mul", x, half)


def logarithm(b: Net, x: str) -> str:
    inner = b.node("Max", b.node("Mul", x, x), b.const(1e-12), name="inner")
    return b.node("Mul", b.node("Log", inner), b.const(0.1))


def unit_vector(b: Net, x: str) -> str:
    norm = b.node("ReduceL2", x, b.const([1], np.int64))
    return b.node("Div", x, b.node("Clip", norm, b.const(1e-8), name="inner"))


def softmax_of_relu(b: Net, x: str) -> str:
    return b.node("Softmax", b.node("Relu", x, name="inner"), axis=1)


BLOCKS: list[Block] = [
    layer_norm,
    root_mean_square,
    hard_swish,
    hard_swish_of_relu6,
    hard_sigmoid_gate,
    guarded_gelu,
    logarithm,
    unit_vector,
    softmax_of_relu,
]


def named(blocks: list[Block]) -> list[str]:
    return [block.__name__ for block in blocks]


def names_of(model: Staged) -> list[str]:
    return [site.name for site in model.parts.sites]


def assert_computes_the_same(model: Staged) -> None:
    feed = {"input": np.random.default_rng(0).standard_normal((2, 2, 6, 5)).astype(np.float32)}
    found, wanted = reference(model.arranged, feed), reference(model.source.proto, feed)
    assert relative(found[0], wanted[0]) <= 1e-5


@pytest.mark.parametrize("block", BLOCKS, ids=named(BLOCKS))
@pytest.mark.parametrize("deep", [True, False])
def test_guards_and_gates_written_out_are_no_neurons(block: Block, deep: bool) -> None:
    """Deep: between neurons; else in the encoder, where all but the gate is constant in time."""
    b = Net(1)
    model = b.end(block(b, b.start(fires=deep)))
    assert names_of(model) == (["first", "last"] if deep else ["last"])
    rows = {row.node: row for row in model.parts.rows}
    inner = next(row for name, row in rows.items() if name.startswith("inner"))
    assert inner.role == ("analog" if deep else "encoder")
    assert "no weighted operator would be fed by its spikes" in inner.reason
    assert_computes_the_same(model)


@pytest.mark.parametrize("block", BLOCKS, ids=named(BLOCKS))
def test_where_nothing_would_be_fed_by_spikes_there_is_nothing_to_convert(block: Block) -> None:
    b = Net(2)
    model = b.end(block(b, b.start(fires=False)), fires=False)
    with pytest.raises(UnsupportedGraphError, match="nothing to convert") as why:
        model.parts.require_convertible()
    assert "inner" in str(why.value) and "do not get through" in str(why.value)


def masked(b: Net, x: str) -> str:
    """A mask from an input of its own."""
    mask = b.node("Cast", b.node("Greater", b.input("mask", [1, 1, 6, 5]), b.const(0.0)), to=1)
    return b.node("Mul", b.node("Relu", x, name="inner"), mask)


def modulated(b: Net, x: str) -> str:
    """Features times what another input's network says of them."""
    gamma = b.gemm(b.input("style", [1, 3]), 3, 4)
    factor = b.node("Reshape", gamma, b.const([1, 4, 1, 1], np.int64))
    return b.node("Mul", b.node("Relu", x, name="inner"), factor)


def pooled_in_place(b: Net, x: str) -> str:
    fired = b.node("Relu", x, name="inner")
    window: dict[str, Any] = {"kernel_shape": [2, 2]}
    return b.node("MaxPool", b.node("Mul", fired, b.const(-1.0)), **window)


def chained(b: Net, x: str) -> str:
    """Two activations with a linear operator between."""
    fired = b.node("Relu", x, name="inner")
    return b.node("Relu", b.node("Add", fired, b.const(-0.1)), name="inner2")


@pytest.mark.parametrize("block", [masked, modulated, pooled_in_place, chained])
def test_what_reaches_a_weighted_operator_through_linear_ones_fires(block: Block) -> None:
    b = Net(3)
    model = b.end(block(b, b.start()))
    assert "inner" in names_of(model)


def test_an_activation_with_one_way_to_a_weighted_operator_fires() -> None:
    b = Net(4)
    fired = b.node("Relu", b.start(), name="inner")
    model = b.end(b.node("Add", b.node("Softmax", fired, axis=1), fired))
    assert names_of(model) == ["first", "inner", "last"]
