"""Nodes in one run of a model, whose tensors' values are at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper

from onnx2snn.aliases import Array
from onnx2snn.protos.apart import values_of
from onnx2snn.protos.nodes import attribute
from onnx2snn.protos.sessions import open_own_session, session_options, session_with

Shape = tuple[int, ...]


@dataclass(frozen=True)
class NodeRun:
    """One data input and one output of a node, in one run of a model."""

    node: NodeProto
    opset: int
    values: Mapping[str, Array]
    """The values of all tensors, as `all_values` returns them."""
    index: int = 0
    """Of the input."""
    output: int = 0
    """Of the output, as an index."""

    @property
    def name(self) -> str:
        """Name of the input tensor."""
        return str(self.node.input[self.index])

    @property
    def in_shape(self) -> Shape:
        """Shape of the input."""
        return self.values[self.name].shape

    @property
    def out_shape(self) -> Shape:
        """Shape of the output."""
        name = self.node.output[self.output]
        return self.values[name].shape

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute, or the default where it is left out."""
        return attribute(self.node, name, default)

    def per_axis(self, name: str, axes: int) -> list[int]:
        """Return an attribute of one number an axis, each 1 where it is left out."""
        found = self.attribute(name)
        return list(found) if found else [1] * axes

    def input(self, index: int) -> Array | None:
        """Return the value of any input, None where it is left out."""
        names = self.node.input
        if index >= len(names) or not names[index]:
            return None
        return self.values[names[index]]

    def weights(self) -> Array:
        """Return the value of input 1, which has to be there."""
        found = self.input(1)
        assert found is not None
        return found


def run_alone(run: NodeRun, feeds: Mapping[int, Array]) -> list[Array]:
    """Return the outputs of the one node for other inputs, given by index; the rest is left out."""
    node = NodeProto()
    node.CopyFrom(run.node)
    node.input[:] = [""] * len(node.input)
    inputs = []
    feed = {}
    for index, value in feeds.items():
        name = f"in{index}"
        node.input[index] = name
        feed[name] = value
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        info = helper.make_tensor_value_info(name, kind, value.shape)
        inputs.append(info)
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "node", inputs, outputs)
    opset = helper.make_opsetid("", run.opset)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = open_own_session(model, 1, once=True)
    return list(session.run(None, feed))


def all_values(proto: onnx.ModelProto, feed: Mapping[str, Array]) -> dict[str, Array]:
    """Return every tensor of a model outside subgraphs, for one feed.

    Of computed floating-point maps, which may be large, only type and shape are right: nobody asks
    for their values. Those of rank 1 are kept, for scales may be computed.
    """
    names = [value.name for value in proto.graph.output]
    given = {"", *names}
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    for node in proto.graph.node:
        for name in node.output:
            if name not in given:
                names.append(name)
                more = onnx.ValueInfoProto(name=name)
                probe.graph.output.append(more)
    session = session_with(probe, session_options(None), used_up=True)
    outputs = session.run(None, dict(feed))
    weights = proto.graph.initializer
    found = {tensor.name: _constant(tensor) for tensor in weights}
    found.update(feed)
    made = zip(names, outputs, strict=True)
    # a sequence is no array
    found.update((name, _hollow(value)) for name, value in made if isinstance(value, np.ndarray))
    return found


def _constant(tensor: onnx.TensorProto) -> Array:
    """Return a constant's value; of weights, type and shape alone."""
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if len(tensor.dims) < 2 or dtype.kind != "f":
        return values_of(tensor)
    return np.broadcast_to(np.zeros((), dtype), tuple(tensor.dims))


def _hollow(values: Array) -> Array:
    """Return zeros of the same type and shape that take no memory, in place of a map of floats."""
    if values.dtype.kind != "f" or values.ndim < 2:
        return values
    return np.broadcast_to(np.zeros((), values.dtype), values.shape)
