"""Old meanings of operators, written out where ONNX's converter of opsets leaves them out.

* Resize (Upsample, before opset 10) takes x / scale as its coordinate before opset 11, rounded down
  along axes that grow and up along axes that shrink, as onnxruntime does; ONNX defined no rounding.
* Hardmax before opset 13 flattens its input from an axis on, and takes the maximum over all that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnx2snn.protos import large
from onnx2snn.protos.nodes import attribute, standard
from onnx2snn.protos.walk import constants, graphs

NEW_RESIZE = 11
"""The opset from which on Resize maps coordinates by half pixels unless told not to."""

NEW_HARDMAX = 13
"""The opset from which on Hardmax works along one axis, by default the last."""


def keep_old_meanings(model: onnx.ModelProto, before: int, version: int) -> None:
    """Write old meanings out, in place.

    Args:
        model: The model as ONNX's converter has left it.
        before: The opset it had.
        version: The opset it has.
    """
    for graph in graphs(model.graph):
        fixed = constants(graph)
        nodes: list[NodeProto] = []
        for node in graph.node:
            if standard(node) and node.op_type == "Resize" and before < NEW_RESIZE <= version:
                nodes += _resize(node, fixed)
            elif standard(node) and node.op_type == "Hardmax" and before < NEW_HARDMAX <= version:
                nodes += _hardmax(node, _rank(model, node.input[0]))
            else:
                nodes.append(node)
        # copies: the nodes of a repeated field go with it
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)


def _resize(node: NodeProto, fixed: Mapping[str, TensorProto]) -> list[NodeProto]:
    """Give a Resize its old coordinates; one that grows and shrinks becomes two."""
    scales = fixed.get(node.input[2])
    values = np.array([0.5, 2.0])  # unknown ones may do both
    if scales is not None:
        values = numpy_helper.to_array(scales)
    grows, shrinks = (values > 1).any(), (values < 1).any()
    rounded = attribute(node, "mode", b"nearest") == b"nearest"
    if not (grows and shrinks and rounded):
        _set_coordinates(node, "ceil" if shrinks else "floor")
        return [node]
    return _resize_twice(node)


def _set_coordinates(node: NodeProto, rounding: str) -> None:
    coordinates = helper.make_attribute("coordinate_transformation_mode", "asymmetric")
    node.attribute.append(coordinates)
    node.attribute.append(helper.make_attribute("nearest_mode", rounding))


def _resize_twice(node: NodeProto) -> list[NodeProto]:
    """First along the axes that grow, by max(scale, 1), then along the others, by min(scale, 1)."""
    x, scales = node.input[0], node.input[2]
    made = f"{node.output[0]}/resize"
    one = numpy_helper.from_array(np.ones(1, np.float32))
    names = {word: f"{made}/{word}" for word in ("one", "growing", "shrinking", "grown")}
    grow, shrink = (NodeProto(), NodeProto())
    grow.CopyFrom(node)
    grow.name = f"{node.name}/grow" if node.name else ""
    grow.input[:] = [x, "", names["growing"]]
    grow.output[:] = [names["grown"]]
    _set_coordinates(grow, "floor")
    shrink.CopyFrom(node)
    shrink.input[:] = [names["grown"], "", names["shrinking"]]
    _set_coordinates(shrink, "ceil")
    return [
        helper.make_node("Constant", [], [names["one"]], value=one),
        helper.make_node("Max", [scales, names["one"]], [names["growing"]]),
        helper.make_node("Min", [scales, names["one"]], [names["shrinking"]]),
        grow,
        shrink,
    ]


def _rank(model: onnx.ModelProto, tensor: str) -> int | None:
    """Return a tensor's rank, or None where ONNX cannot infer it."""
    graph = large.infer_model_shapes(model).graph
    for value in [*graph.input, *graph.value_info]:
        if value.name == tensor and value.type.tensor_type.HasField("shape"):
            return len(value.type.tensor_type.shape.dim)
    return None


def _hardmax(node: NodeProto, rank: int | None) -> list[NodeProto]:
    """Flatten from the axis on, take the maximum over the last axis, and restore the shape."""
    axis = attribute(node, "axis", 1)
    last = -1 if rank is None else rank - 1
    if axis in (-1, last):
        return [node]
    x, out = node.input[0], node.output[0]
    shape, flat, largest = (f"{out}/hardmax/{word}" for word in ("shape", "flat", "largest"))
    hardmax = NodeProto()
    hardmax.CopyFrom(node)
    del hardmax.attribute[:]
    hardmax.attribute.append(helper.make_attribute("axis", -1))
    hardmax.input[:] = [flat]
    hardmax.output[:] = [largest]
    return [
        helper.make_node("Shape", [x], [shape]),
        helper.make_node("Flatten", [x], [flat], axis=axis),
        hardmax,
        helper.make_node("Reshape", [largest, shape], [out]),
    ]
