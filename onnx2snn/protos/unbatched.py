"""Networks without a batch axis: an input [3,H,W] is one image, and each sample a run of its own.

Inside the package they get an axis of one sample in front, as a network with a fixed batch of one
has it: a Squeeze behind each input, an Unsqueeze before each output. The files that are written
take and give what the network did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableSequence, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx2snn.protos import large
from onnx2snn.protos.batch_axis import BatchAxes, batch_axes
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.nodes import attribute, standard, standard_opset
from onnx2snn.protos.specs import fixed_batch, input_specs
from onnx2snn.protos.walk import all_graphs, constants

SUFFIX = "one"
"""Ends the names of tensors inside, whose outer ones have an axis more, or less."""

AXES_AS_INPUT = 13
"""The opset from which Squeeze and Unsqueeze take their axes as an input."""


def lacks_batch_axis(proto: onnx.ModelProto) -> bool:
    """Return whether a weighted operator sums over axis 0 of an input, which samples never are.

    Weights differ along the axis that is summed over: channels of an image, neighbours in time.
    An axis of size 1 is a batch of one. One with a name is a batch that was fixed to one by mistake
    where it is only merged with others, and then summed over.
    """
    specs = input_specs(proto)
    size = fixed_batch(specs)
    if size == 1:
        return False
    axes = batch_axes(proto, [spec.name for spec in specs])
    fixed = constants(proto.graph)
    for node in proto.graph.node:
        place = axes.of(node.input[0]) if node.input else None
        if place is None or (size is None and place.each > 1):
            continue
        if _sums_over(node, place.axis, axes, fixed):
            return True
    return False


def _sums_over(
    node: onnx.NodeProto, axis: int, axes: BatchAxes, fixed: Mapping[str, onnx.TensorProto]
) -> bool:
    """Return whether a weighted operator sums over an axis of its first input."""
    if not standard(node) or len(node.input) < 2 or node.input[1] not in fixed:
        return False
    weights = fixed[node.input[1]].dims
    if node.op_type in ("Conv", "ConvTranspose"):
        return _is_weighted(axis, weights)
    if node.op_type == "Gemm":
        return axis == 1 - int(attribute(node, "transA", 0))
    if node.op_type == "MatMul":
        # [..., K] W, with the columns of W behind one another
        return axes.ranks.get(node.input[0]) == axis + 1
    return False


def _is_weighted(axis: int, weights: Sequence[int]) -> bool:
    """Return whether a convolution's weights differ along an axis of its input."""
    if axis < 2:
        return axis == 1
    return axis < len(weights) and weights[axis] > 1


def has_batch_axis(proto: onnx.ModelProto) -> bool:
    """Return whether the graph says of every output where it has its samples."""
    axes = batch_axes(proto, [spec.name for spec in input_specs(proto)])
    outputs = [value.name for value in proto.graph.output]
    return all(axes.is_shared(name) or axes.of(name) is not None for name in outputs)


def unbatched_names(proto: onnx.ModelProto) -> list[str]:
    """Return the inputs and outputs that lack a batch axis, in a network whose inputs lack it.

    An input without axes is the same for all samples. An output with one of size 1 in front has
    the axis already.
    """
    names = [spec.name for spec in input_specs(proto) if spec.shape != ()]
    inferred = large.infer_model_shapes(proto).graph.output
    for declared, value in zip(proto.graph.output, inferred, strict=True):
        dims = value.type.tensor_type.shape.dim or declared.type.tensor_type.shape.dim
        has_axis = len(dims) > 1 and dims[0].dim_value == 1
        if not has_axis:
            names.append(declared.name)
    return names


def by_sample(source: LoadedModel, names: Sequence[str] | None = None) -> LoadedModel:
    """Return a network without a batch axis as one with a batch of one sample.

    Args:
        source: The network as it was loaded.
        names: The inputs and outputs that lack the axis; None: those that `unbatched_names` finds.
    """
    names = unbatched_names(source.proto) if names is None else names
    if not names:
        return source
    return replace(source, proto=with_batch(source.proto, names), unbatched=tuple(names))


def with_batch(proto: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Return a model some of whose inputs and outputs have an axis of one sample in front."""
    return _edged(proto, names, "Squeeze", "Unsqueeze")


def without_batch(proto: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Return a model some of whose inputs and outputs lose the axis of one sample in front."""
    return _edged(proto, names, "Unsqueeze", "Squeeze")


def _edged(
    proto: onnx.ModelProto, names: Collection[str], behind: str, before: str
) -> onnx.ModelProto:
    """Return a model with a node behind each of some inputs, and before each of some outputs."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    graph = made.graph
    taken = _all_names(made)
    inner: dict[str, str] = {}
    for name in names:
        inner[name] = _free(f"{name}/{SUFFIX}", taken)
    for found in all_graphs(made):
        for node in found.node:
            _rename(node.input, inner)
            _rename(node.output, inner)
        for value in [*found.value_info, *(() if found is graph else found.output)]:
            value.name = inner.get(value.name, value.name)
    axes = ""
    if standard_opset(made) >= AXES_AS_INPUT:
        axes = _free("axis_of_samples", taken)
        graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), axes))
    adds = behind == "Squeeze"
    first = []
    for value in graph.input:
        if value.name in inner:
            first.append(_node(behind, value.name, inner[value.name], axes, taken))
            _reshape(value, adds=adds)
    last = []
    for value in graph.output:
        if value.name in inner:
            last.append(_node(before, inner[value.name], value.name, axes, taken))
            _reshape(value, adds=adds)
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    return made


def _node(op: str, x: str, y: str, axes: str, taken: set[str]) -> onnx.NodeProto:
    name = _free(f"{y}/{op.lower()}", taken)
    if axes:
        return helper.make_node(op, [x, axes], [y], name)
    return helper.make_node(op, [x], [y], name, axes=[0])


def _reshape(value: onnx.ValueInfoProto, *, adds: bool) -> None:
    """Declare an axis of size 1 in front, or none, of a tensor whose rank is declared."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return
    dims = list(tensor.shape.dim)
    del tensor.shape.dim[:]
    if adds:
        tensor.shape.dim.add().dim_value = 1
    tensor.shape.dim.extend(dims if adds else dims[1:])


def _rename(names: MutableSequence[str], inner: Mapping[str, str]) -> None:
    for index, name in enumerate(names):
        if name in inner:
            names[index] = inner[name]


def _all_names(proto: onnx.ModelProto) -> set[str]:
    graph = proto.graph
    found = {tensor.name for tensor in graph.initializer}
    found |= {value.name for value in [*graph.input, *graph.output]}
    for inside in all_graphs(proto):
        for node in inside.node:
            found.update(node.input, node.output, [node.name])
    return found


def _free(name: str, taken: set[str]) -> str:
    """Return a name that nobody bears, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
