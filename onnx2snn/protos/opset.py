"""Older opsets become newer ones, by ONNX's own converter, which gets no heavy weights.

The converter leaves two operators as they were, although their meaning changed; both are mended:

* Resize (Upsample, before opset 10) maps coordinates by half pixels since opset 11.
* PRelu takes slopes [C] along the last axis since opset 7, along axis 1 before.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.errors import UnsupportedGraphError, one_line, out_of_memory
from onnx2snn.protos import large
from onnx2snn.protos.nodes import standard_opset
from onnx2snn.protos.walk import constants

RUNNABLE = 7
"""The oldest opset onnxruntime has kernels for."""

NEW_RESIZE = 11
"""The opset from which on Resize maps coordinates by half pixels unless told not to."""


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
    if before < NEW_RESIZE <= version:
        _resize_as_before(converted)
    return large.restore_weights(converted, proto)


def _resize_as_before(model: onnx.ModelProto) -> None:
    """Write the old meaning of Resize out: x / scale, rounded down (up, where it shrinks).

    ONNX's converter leaves the attributes out; the rounding is onnxruntime's, ONNX defined none.
    """
    fixed = constants(model.graph)
    for node in model.graph.node:
        if node.op_type != "Resize":
            continue
        shrinks = _any_below_one(fixed.get(node.input[2]))
        rounding = "ceil" if shrinks else "floor"
        coordinates = helper.make_attribute("coordinate_transformation_mode", "asymmetric")
        node.attribute.append(coordinates)
        node.attribute.append(helper.make_attribute("nearest_mode", rounding))


def _any_below_one(scales: TensorProto | None) -> bool:
    """Return whether one of some scales, as far as they are known, is below 1."""
    if scales is None:
        return False
    return bool((numpy_helper.to_array(scales) < 1).any())


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
