"""A model without model-local functions: each call becomes the nodes of its body."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.inliner
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos import large
from onnx2snn.protos.nodes import STANDARD_DOMAINS
from onnx2snn.protos.walk import nodes


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without functions; one that has none is returned as it is."""
    if not proto.functions:
        return proto
    model: onnx.ModelProto = onnx.inliner.inline_local_functions(large.light(proto))
    large.restore_weights(model, proto)
    _use_types_that_are_known(model)
    for node in nodes(model):
        if node.op_type == "Constant":
            hold_tensor(node)
    _name_nodes(model)
    _forget_unused_domains(model)
    return model


def hold_tensor(constant: NodeProto) -> None:
    """Let a Constant hold its number, or list of numbers, as a tensor.

    Other forms came with opset 12, and onnxslim makes doubles of them.
    """
    kinds: dict[str, type] = {"value_float": np.float32, "value_int": np.int64}
    (given,) = constant.attribute
    # value_floats and value_ints are lists
    kind = kinds.get(given.name.removesuffix("s"))
    if kind is not None:
        values: Array = np.asarray(helper.get_attribute_value(given), kind)
        given.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))


def _use_types_that_are_known(model: onnx.ModelProto) -> None:
    """Make a Cast of each CastLike: a neuron's numbers are float32, and no part of its current."""
    for node in nodes(model):
        if node.op_type == "CastLike":
            node.op_type = "Cast"
            del node.input[1]
            node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))


def _name_nodes(model: onnx.ModelProto) -> None:
    """Name the nodes that have no name after what they make."""
    for node in model.graph.node:
        if not node.name:
            node.name = f"{node.output[0]}/{node.op_type.lower()}"


def _forget_unused_domains(model: onnx.ModelProto) -> None:
    """Import only the domains of operators in use."""
    used = {node.domain for node in nodes(model)}
    kept = [
        entry
        for entry in model.opset_import
        if entry.domain in STANDARD_DOMAINS or entry.domain in used
    ]
    del model.opset_import[:]
    model.opset_import.extend(kept)
