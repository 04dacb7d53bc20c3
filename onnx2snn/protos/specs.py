"""What is known about a model's inputs and outputs: names, types and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx2snn.aliases import Dim
from onnx2snn.errors import ModelFileError


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model: axis 0 is the batch; `shape` is None where the rank is unknown."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Dim, ...] | None

    def __str__(self) -> str:
        dims = (
            "?"
            if self.shape is None
            else ",".join("?" if d is None else str(d) for d in self.shape)
        )
        return f"{self.name} {self.dtype}[{dims}]"


def mismatch(one: Sequence[TensorSpec], other: Sequence[TensorSpec]) -> str | None:
    """The first difference between two lists of inputs (or outputs) for a sentence, or None."""
    for a, b in zip_longest(one, other):
        if a != b:
            return f"{a or 'nothing'} against {b or 'nothing'}"
    return None


def first_samples(outputs: Sequence[NDArray[Any]], count: int) -> list[NDArray[Any]]:
    """The outputs without what filled up a fixed batch; a scalar, which has no batch axis, as it is."""
    return [o[:count] if o.ndim else o for o in outputs]


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """The batch size a model insists on, or None where axis 0 is free."""
    return next((s.shape[0] for s in inputs if s.shape and isinstance(s.shape[0], int)), None)


def input_specs(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The inputs a caller has to give: those without an initializer."""
    given = {t.name for t in proto.graph.initializer} | {
        t.values.name for t in proto.graph.sparse_initializer
    }
    return tuple(_tensor_specs(v for v in proto.graph.input if v.name not in given))


def output_specs(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The outputs of a model."""
    return tuple(_tensor_specs(proto.graph.output))


def _tensor_specs(values: Iterable[onnx.ValueInfoProto]) -> Iterator[TensorSpec]:
    for value in values:
        if value.type.WhichOneof("value") != "tensor_type":
            raise ModelFileError(
                f"'{value.name}' is not a tensor; only tensor inputs and outputs can be converted"
            )
        tensor = value.type.tensor_type
        shape = tuple(_dim(d) for d in tensor.shape.dim) if tensor.HasField("shape") else None
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        yield TensorSpec(value.name, dtype, shape)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return str(dim.dim_param) or None


def image_axes(spec: TensorSpec) -> tuple[int, ...]:
    """Return the axes of height, width and channels of an image input, or () if `spec` cannot be one."""
    if spec.shape is None or len(spec.shape) != 4:
        return ()
    return (1, 2, 3) if spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3) else (2, 3, 1)
