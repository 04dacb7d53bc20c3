"""Specs of a model's inputs and outputs: names, types and shapes, as far as they are known.

Axis 0 of every input and output is the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import onnx

from onnx2snn.aliases import Dim, DType
from onnx2snn.errors import ModelFileError

COLOURS = (1, 3)
"""Numbers of channels of an image: grey, or red, green and blue."""

NO_SYMBOLS = ("", "?", "-1", "*", "None")
"""Symbols of dimensions that exporters write for any unknown one (Paddle: "?")."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model; `shape` is None where the rank is unknown."""

    name: str
    dtype: DType
    shape: tuple[Dim, ...] | None

    def __str__(self) -> str:
        """Return the spec for a sentence, like x float32[N,3]."""
        if self.shape is None:
            dims = "?"
        else:
            dims = ",".join("?" if dim is None else str(dim) for dim in self.shape)
        kind = "string" if self.is_text else str(self.dtype)
        return f"{self.name} {kind}[{dims}]"

    @property
    def is_text(self) -> bool:
        """Whether its elements are strings, which NumPy holds as objects."""
        return self.dtype == np.dtype(object)


def input_specs(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Return the inputs a caller has to give: those without an initializer."""
    graph = proto.graph
    given = {tensor.name for tensor in graph.initializer}
    given |= {tensor.values.name for tensor in graph.sparse_initializer}
    asked = [value for value in graph.input if value.name not in given]
    return _specs(asked)


def output_specs(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Return the outputs of a model."""
    return _specs(proto.graph.output)


def _specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    return tuple(map(value_spec, values))


def value_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Return a tensor as it is declared; ModelFileError where it is no tensor."""
    if value.type.WhichOneof("value") != "tensor_type":
        raise ModelFileError(
            f"'{value.name}' is not a tensor; only tensor inputs and outputs can be converted"
        )
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(_spec_dim(dim) for dim in tensor.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(value.name, np.dtype(dtype), shape)


def _spec_dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    """Return a size, or the symbol; some exporters write a size of 0 or -1 for an unknown one.

    A symbol that stands for "unknown" is none: axes that bear it need not be equal.
    """
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    symbol = str(dim.dim_param).strip()
    return None if symbol in NO_SYMBOLS else symbol


def symbols(values: Iterable[onnx.ValueInfoProto]) -> set[str]:
    """Return the names that sizes of some tensors have."""
    shapes = [value.type.tensor_type.shape for value in values]
    return {dim.dim_param for shape in shapes for dim in shape.dim if dim.dim_param}


def is_settled(value: onnx.ValueInfoProto, known: Collection[str]) -> bool:
    """Return whether all sizes of a tensor are told: each a number, or one of these names."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return False
    return all(dim.HasField("dim_value") or dim.dim_param in known for dim in kind.shape.dim)


def mismatch(one: Sequence[TensorSpec], other: Sequence[TensorSpec]) -> str | None:
    """Return the first difference between two lists of specs for a sentence, or None."""
    for left, right in zip_longest(one, other):
        if left != right:
            return f"{left or 'nothing'} against {right or 'nothing'}"
    return None


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """Return the batch size a model insists on, or None where axis 0 is free."""
    for spec in inputs:
        if spec.shape and isinstance(spec.shape[0], int):
            return spec.shape[0]
    return None


def image_axes(spec: TensorSpec) -> tuple[int, ...]:
    """Return the axes of height, width and channels of an image input.

    Channels are on axis 1, or on axis 3 where only that has the size of one. The result is () where
    the input cannot be an image.
    """
    if spec.shape is None or len(spec.shape) != 4:
        return ()
    _, second, _, last = spec.shape
    if last in COLOURS and second not in COLOURS:
        return (1, 2, 3)
    return (2, 3, 1)
