"""Specs and samples for the tests of data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx2snn.aliases import Dim
from onnx2snn.data.samples import Samples
from onnx2snn.protos.specs import TensorSpec

Array = NDArray[Any]
F32 = np.float32


def spec(name: str = "x", shape: tuple[Dim, ...] | None = ("N", 3), dtype: Any = F32) -> TensorSpec:
    return TensorSpec(name, np.dtype(dtype), shape)


def rows(count: int, *shape: int, dtype: Any = F32) -> Array:
    """Sample i holds i everywhere."""
    numbers = np.arange(count).reshape(-1, *[1] * len(shape))
    out: Array = np.broadcast_to(numbers, (count, *shape)).astype(dtype)
    return out


def everything(samples: Samples, name: str = "x") -> Array:
    return samples.batch(np.arange(len(samples)))[name]
