"""Types and shapes of a graph's tensors, inferred by ONNX and, where it cannot, by onnxruntime."""

from __future__ import annotations

import onnx

from onnx2snn.aliases import Dim
from onnx2snn.graph.editing import is_constant, to_proto
from onnx2snn.graph.types import Graph, Tensor
from onnx2snn.protos import large
from onnx2snn.protos.sessions import types_of


def infer_shapes(graph: Graph) -> None:
    """Write inferred types and shapes onto the graph's tensors.

    A shape that cannot be inferred stays None. onnxruntime is asked for those that ONNX knows
    nothing about, outputs of operators of other domains above all.
    """
    proto = to_proto(graph)
    every = graph.tensors()
    tensors = {name: every[name] for name in every if not is_constant(every[name])}
    for value in large.infer_model_shapes(proto).graph.value_info:
        if value.name in tensors and value.type.HasField("tensor_type"):
            _set_type(tensors[value.name], value.type.tensor_type)
    # tensors that are neither inferred nor given: the outputs of nodes that ONNX does not know
    unknown = []
    for name, tensor in tensors.items():
        if name and tensor.shape is None and tensor.inputs:
            unknown.append(name)
    if not unknown:
        return
    for name, (dtype, shape) in types_of(proto, unknown).items():
        tensors[name].dtype = dtype
        tensors[name].shape = list(shape)


def _set_type(tensor: Tensor, kind: onnx.TypeProto.Tensor) -> None:
    """Write an inferred type onto a tensor; where the rank is unknown its shape stays."""
    tensor.dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if kind.HasField("shape"):
        tensor.shape = [_inferred_dim(dim) for dim in kind.shape.dim]


def _inferred_dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
