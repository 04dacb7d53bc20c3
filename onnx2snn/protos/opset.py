"""Older opsets become newer ones, by ONNX's own converter, which gets no heavy weights.

The converter leaves some operators as they were, although their meaning changed; they are mended:

* Resize, Upsample and Hardmax: `protos.old_forms`.
* PRelu takes slopes [C] along the last axis since opset 7, along axis 1 before.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from onnx2snn.errors import UnsupportedGraphError, one_line, out_of_memory
from onnx2snn.protos import large
from onnx2snn.protos.nodes import standard_opset
from onnx2snn.protos.old_forms import keep_old_meanings

RUNNABLE = 7
"""The oldest opset onnxruntime has kernels for."""


def runnable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model at an opset that onnxruntime runs; the model itself where it is there.

    Raises:
        UnsupportedGraphError: Where ONNX's converter cannot raise it.
    """
    if standard_opset(proto) >= RUNNABLE:
        return proto
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    _give_slopes_the_rank_of_their_input(model)
    return raised(model, RUNNABLE)


def raised(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Return the model at an opset; the model itself where it is there already, or newer.

    Raises:
        UnsupportedGraphError: Where ONNX's converter cannot raise it.
    """
    before = standard_opset(proto)
    if before >= version:
        return proto
    try:
        converted = onnx.version_converter.convert_version(large.light(proto), version)
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError(one_line(error)) from error
        reason = (
            f"opset {before} cannot be raised to {version} ({one_line(error)}); "
            "export with opset 18 or newer"
        )
        raise UnsupportedGraphError("", "", reason) from error
    keep_old_meanings(converted, before, version)
    return large.restore_weights(converted, proto)


def _give_slopes_the_rank_of_their_input(model: onnx.ModelProto) -> None:
    """Give slopes [C] of PRelu the shape [C,1,1], which says axis 1 at any opset."""
    ranks = _ranks(model)
    slopes = {}
    for node in model.graph.node:
        if node.op_type == "PRelu":
            slopes[node.input[1]] = ranks.get(node.input[0], 0)
    for tensor in model.graph.initializer:
        one_per_channel = len(tensor.dims) == 1 and tensor.dims[0] > 1
        if tensor.name in slopes and one_per_channel:
            # the input has the axes of batch and channels, and this many behind them
            behind = slopes[tensor.name] - 2
            tensor.dims.extend([1] * behind)
            _declare_as(model.graph, tensor)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Return the ranks of tensors, as far as ONNX can infer them."""
    graph = large.infer_model_shapes(model).graph
    ranks = {}
    for value in [*graph.input, *graph.value_info]:
        ranks[value.name] = len(value.type.tensor_type.shape.dim)
    return ranks


def _declare_as(graph: onnx.GraphProto, tensor: TensorProto) -> None:
    """Let the input that an initializer stands for have its shape."""
    declared = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
    for value in graph.input:
        if value.name == tensor.name:
            value.CopyFrom(declared)
