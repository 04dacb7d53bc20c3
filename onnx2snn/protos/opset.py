"""Older opsets -> newer ones, by ONNX's own converter; weights past protobuf's limit stay out of it."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.protos import large

RUNNABLE = 7
"""The oldest opset onnxruntime has kernels for."""


def opset(proto: onnx.ModelProto) -> int:
    """The version of the standard operators a model uses (1 where it does not say)."""
    return next(
        (entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1
    )


def raised(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The model at this opset; the model itself where it is there already, or newer (UnsupportedGraphError)."""
    before = opset(proto)
    if before >= version:
        return proto
    try:
        converted = onnx.version_converter.convert_version(large.light(proto), version)
    except Exception as error:
        first = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        reason = (
            f"opset {before} cannot be raised to {version} ({first}); export with opset 18 or newer"
        )
        raise UnsupportedGraphError("", "", reason) from error
    if before < NEW_RESIZE <= version:
        _resize_as_before(converted)
    return large.restore_weights(converted, proto)


NEW_RESIZE = 11
"""The opset from which on Resize, as Upsample is called since, maps coordinates by half pixels unless told not to."""


def _resize_as_before(model: onnx.ModelProto) -> None:
    """Say what was meant before there were attributes for it: x / scale, rounded down (up, where it shrinks).

    onnx's converter leaves them out; the rounding is onnxruntime's, ONNX did not define any.
    """
    fixed = {t.name: t for t in model.graph.initializer}
    fixed |= {
        n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute
    }
    for node in model.graph.node:
        if node.op_type == "Resize":
            scales = fixed.get(node.input[2])
            shrinks = scales is not None and bool((numpy_helper.to_array(scales) < 1).any())
            node.attribute.append(
                helper.make_attribute("coordinate_transformation_mode", "asymmetric")
            )
            node.attribute.append(
                helper.make_attribute("nearest_mode", "ceil" if shrinks else "floor")
            )


def runnable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model at an opset that onnxruntime runs."""
    if opset(proto) >= RUNNABLE:
        return proto
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    _give_slopes_the_rank_of_their_input(model)
    return raised(model, RUNNABLE)


def _give_slopes_the_rank_of_their_input(model: onnx.ModelProto) -> None:
    """PRelu: before opset 7 slopes [C] went along axis 1, since then they go along the last; [C,1,1] says axis 1."""
    graph = large.infer_model_shapes(model).graph
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in [*graph.input, *graph.value_info]}
    slopes = {
        n.input[1]: ranks.get(n.input[0], 0) for n in model.graph.node if n.op_type == "PRelu"
    }
    for tensor in model.graph.initializer:
        if tensor.name in slopes and len(tensor.dims) == 1 and tensor.dims[0] > 1:
            tensor.dims.extend([1] * (slopes[tensor.name] - 2))
            for value in model.graph.input:
                if value.name == tensor.name:
                    shape = helper.make_tensor_value_info(
                        tensor.name, tensor.data_type, tensor.dims
                    )
                    value.CopyFrom(shape)
