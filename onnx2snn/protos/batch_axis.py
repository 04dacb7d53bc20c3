"""The batch axis of each tensor of a model: the axis along which samples lie one after another.

It is derived from the graph, operator by operator, from the inputs, whose axis 0 counts samples
(`protos.batch_table` has the rules). A tensor is one of three things:

* shared: it is the same for any samples, such as a constant, or a table that an encoder makes;
* it has a batch axis: the part of it that is a sample's depends on that sample alone;
* neither is known, as behind an operator that may mix samples. Two runs tell then
  (`protos.batch_arrays`), and where they do not, the samples stay together.

Sizes are told by two inferences of shapes, with two sizes of the batch: what differs between them
is the batch's. Declarations inside the file are not believed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from onnx2snn.protos import large
from onnx2snn.protos.batch_counts import counts_of
from onnx2snn.protos.batch_table import place_of
from onnx2snn.protos.batch_types import SIZES, BatchAxis, NodeView, Place, Shapes
from onnx2snn.protos.walk import constants

ROUNDS = 8
"""Most times that states are followed through a step; a place that still changes is unknown."""


@dataclass(frozen=True)
class BatchAxes:
    """Batch axes of a model's tensors; what is in `places` depends on samples, all else is shared.

    A place of None: no batch axis is known. `ranks` are those of tensors whose shape is inferred.
    """

    places: Mapping[str, Place]
    ranks: Mapping[str, int]

    def is_shared(self, name: str) -> bool:
        """Return whether a tensor is the same for any samples."""
        return name not in self.places

    def of(self, name: str) -> Place:
        """Return the batch axis of a tensor, or None where it has none or none is known."""
        return self.places.get(name)


def batch_axes(
    proto: onnx.ModelProto,
    inputs: Collection[str],
    *,
    nodes: Sequence[onnx.NodeProto] | None = None,
    states: Mapping[str, str] | None = None,
    known: Mapping[str, Place] | None = None,
) -> BatchAxes:
    """Derive where the batch axis of each tensor of a model is.

    Args:
        proto: The model.
        inputs: Names of the inputs whose axis 0 counts samples; all others are shared.
        nodes: Its nodes, where they are read otherwise than the graph has them.
        states: By input that holds a state, the output that holds it after a step.
        known: Tensors whose place is known otherwise, such as measured.
    """
    states = states or {}
    known = known or {}
    nodes = proto.graph.node if nodes is None else nodes
    fixed = constants(proto.graph)
    shapes = [_inferred(proto, size, inputs, states) for size in SIZES]
    of_tensors = Shapes(*shapes)
    counts = counts_of(nodes, of_tensors, fixed)
    # an input without axes is the same for all samples
    inputs = [name for name in inputs if of_tensors.rank(name) != 0]
    start: dict[str, Place] = dict.fromkeys(inputs, BatchAxis(0))
    ranks = {name: len(shape) for name, shape in of_tensors.one.items()}
    # states start as zeros, which are shared, and become what a step makes of them
    for _ in range(ROUNDS):
        places = dict(start)
        _follow(nodes, places, of_tensors, counts, fixed, known)
        after = dict(start)
        for before, output in states.items():
            if output in places:
                after[before] = places[output]
        if after == start:
            return BatchAxes(places, ranks)
        start = after
    for before in states:
        start[before] = None
    places = dict(start)
    _follow(nodes, places, of_tensors, counts, fixed, known)
    return BatchAxes(places, ranks)


def _follow(
    nodes: Sequence[onnx.NodeProto],
    places: dict[str, Place],
    shapes: Shapes,
    counts: Mapping[str, Sequence[bool]],
    fixed: Mapping[str, onnx.TensorProto],
    known: Mapping[str, Place],
) -> None:
    """Add to `places` what the nodes make of samples."""
    for node in nodes:
        view = NodeView(node, places, shapes, counts, fixed)
        for index, name in enumerate(node.output):
            if not name:
                continue
            if name in known:
                places[name] = known[name]
            elif name in counts:
                # sizes are no samples, but those of the batch are not shared
                if view.has_counts(name):
                    places[name] = None
            elif view.depends:
                places[name] = place_of(view, index)


def _inferred(
    proto: onnx.ModelProto, size: int, inputs: Collection[str], states: Mapping[str, str]
) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes that ONNX infers for a number of samples, as far as it can."""
    model = large.light(proto)
    graph = model.graph
    del graph.value_info[:]
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in inputs and dims:
            dims[0].dim_value = size
        elif value.name in states:
            # zeros of one value do for any state
            for dim in dims:
                dim.dim_value = 1
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # noqa: BLE001 - of any kind; without shapes less is known
        return {}
    found = {}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            found[value.name] = tuple(map(_size, tensor.shape.dim))
    for weights in graph.initializer:
        found[weights.name] = tuple(weights.dims)
    return found


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return int(dim.dim_value) if dim.HasField("dim_value") else None
