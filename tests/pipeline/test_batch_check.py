"""Networks without a batch axis are refused with a sentence, and never shuffled along axis 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.networks import Builder
from numpy.typing import NDArray

from onnx2snn.errors import DataError
from onnx2snn.pipeline.convert import run_conversion
from onnx2snn.settings import Settings

Array = NDArray[Any]
QUICK = Settings(method="max", timesteps=4, threads=1)


def data_of(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def weights(b: Builder, *shape: int) -> str:
    return b.const(b.rng.standard_normal(shape) / 2)


def image(b: Builder) -> str:
    """[3,8,8], one image."""
    x = b.node("Unsqueeze", b.input("x", [3, 8, 8]), b.const([0], np.int64))
    return b.conv(b.node("Relu", b.conv(x, 3, 6)), 6, 3)


def vector(b: Builder) -> str:
    """[6], the features of one sample."""
    h = b.node("Relu", b.node("MatMul", b.input("x", [6]), weights(b, 6, 8)))
    return b.node("MatMul", h, weights(b, 8, 4))


def sequence(b: Builder) -> str:
    """[7,1,5], time-steps first."""
    x = b.input("x", [7, 1, 5])
    h = b.node("RNN", x, weights(b, 1, 6, 5), weights(b, 1, 6, 6), hidden_size=6)
    h = b.node("MatMul", b.node("Squeeze", h, b.const([1], np.int64)), weights(b, 6, 8))
    return b.node("MatMul", b.node("Relu", h), weights(b, 8, 3))


def points(b: Builder) -> str:
    """[20,3], the points of one cloud."""
    h = b.node("Relu", b.node("MatMul", b.input("x", [20, 3]), weights(b, 3, 8)))
    h = b.node("ReduceMax", h, b.const([0], np.int64))
    h = b.node("Relu", b.node("MatMul", h, weights(b, 8, 8)))
    return b.node("MatMul", h, weights(b, 8, 4))


Network = Callable[[Builder], str]
SHAPES: dict[Network, tuple[int, ...]] = {
    image: (3, 8, 8),
    vector: (6,),
    sequence: (7, 1, 5),
    points: (20, 3),
}
OUTPUTS: dict[Network, list[int]] = {
    image: [1, 3, 8, 8],
    vector: [4],
    sequence: [7, 1, 3],
    points: [1, 4],
}


def model_of(network: Network) -> onnx.ModelProto:
    b = Builder()
    return b.model({b.name_output(network(b), "y"): OUTPUTS[network]})


@pytest.mark.parametrize("network", list(SHAPES))
@pytest.mark.parametrize("given", ["one by one", "at once", "none"])
def test_a_network_without_a_batch_axis_is_recognised(network: Network, given: str) -> None:
    data = data_of(12, *SHAPES[network])
    source = {"one by one": list(data), "at once": data, "none": None}[given]
    with pytest.raises(DataError, match=r"with (a batch axis|one) in front, as .*\[N,"):
        run_conversion(model_of(network), source, QUICK)


def test_a_sample_without_a_batch_axis_is_asked_for_one() -> None:
    b = Builder()
    h = b.node("Relu", b.conv(b.input("x", ["N", 3, 8, 8]), 3, 6))
    proto = b.model({b.name_output(b.conv(h, 6, 3), "y"): ["N", 3, 8, 8]})
    for source in (data_of(3, 8, 8), list(data_of(12, 3, 8, 8))):
        with pytest.raises(DataError, match=r"a sample without a batch axis.* `x\[None\]`"):
            run_conversion(proto, source, QUICK)


@pytest.mark.parametrize("batch", [4, "N"])
def test_operators_that_nobody_knows_are_no_sign_of_a_missing_batch_axis(batch: Any) -> None:
    b = Builder()
    h = b.gemm(b.input("x", [batch, 6]), 6, 8)
    h = b.node("Einsum", b.node("Relu", h), weights(b, 8, 8), equation="nc,ck->kn")
    h = b.node("Relu", b.node("MatMul", weights(b, 5, 8), h))
    y = b.node("MatMul", weights(b, 4, 5), h)
    proto = b.model({b.name_output(y, "y"): [4, batch]})
    run_conversion(proto, data_of(12, 6), QUICK)
