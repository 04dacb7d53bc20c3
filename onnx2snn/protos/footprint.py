"""An estimate of the memory that one sample takes on its way through a model, before anything runs.

A file of a hundred bytes can ask for a tensor of gigabytes. Tensors are taken to live from the node
that makes them to the last that reads them; a size that is not known counts as 1, so the estimate
is a lower bound.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain

import onnx
from onnx import GraphProto, ValueInfoProto

from onnx2snn.errors import ModelFileError
from onnx2snn.protos import budget, large, storage
from onnx2snn.protos.specs import is_settled, symbols
from onnx2snn.protos.walk import graphs, read_by

POINTER = 64
"""Bits that an element of a type without a fixed size takes at least."""


def check_footprint(model: onnx.ModelProto, name: str) -> None:
    """Refuse a model that cannot be run on one sample within the memory that there is.

    Args:
        model: The model, checked.
        name: The file's, for errors.

    Raises:
        ModelFileError: With the tensor that takes most.
    """
    light = large.light(model)
    # declared shapes may be stale: they are inferred afresh
    for part in graphs(light.graph):
        del part.value_info[:]
    for output in light.graph.output:
        output.type.tensor_type.ClearField("shape")
    # first without values: ONNX would compute even a huge one
    for values in (False, True):
        inferred = large.inferred_light(light, values=values).graph
        _require_room(model.graph, _sizes(inferred), name)
        if _all_settled(model.graph, inferred):
            return  # values would tell no more


def _require_room(graph: GraphProto, sizes: dict[str, int], name: str) -> None:
    peak, largest = _peak(graph, sizes)
    said = budget.excess(peak)
    if said is not None:
        alone = budget.as_text(sizes.get(largest, 0))
        raise ModelFileError(
            f"'{name}' {said}: tensor '{largest}' alone has {alone}; "
            "give a smaller model, more memory or --memory-limit"
        )


def _all_settled(graph: GraphProto, inferred: GraphProto) -> bool:
    """Return whether all sizes of all tensors that nodes make were inferred."""
    known = symbols(graph.input)
    values = [*inferred.value_info, *inferred.output]
    settled = {value.name for value in values if is_settled(value, known)}
    return all(settled.issuperset(filter(None, node.output)) for node in graph.node)


def _sizes(graph: GraphProto) -> dict[str, int]:
    """Return the bytes of every tensor whose type is known."""
    found = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        found[value.name] = _size(value)
    return found


def _size(value: ValueInfoProto) -> int:
    tensor = value.type.tensor_type
    known = [dim.dim_value for dim in tensor.shape.dim if dim.dim_value > 0]
    bits = storage.BITS.get(tensor.elem_type, POINTER)
    return math.prod(map(int, known)) * bits // 8


def _peak(graph: GraphProto, sizes: dict[str, int]) -> tuple[int, str]:
    """Return the most bytes alive at once, and the largest tensor of the node that makes it so."""
    reads = [read_by(node) for node in graph.node]
    readers = Counter(chain.from_iterable(reads))
    readers.update(value.name for value in graph.output)
    given = [value.name for value in graph.input]
    now = sum(sizes.get(name, 0) for name in given)
    peak, busiest = now, given
    for node, read in zip(graph.node, reads, strict=True):
        made = list(node.output)
        now += sum(sizes.get(name, 0) for name in made)
        if now > peak:
            peak, busiest = now, [*read, *made]
        for name in read:
            readers[name] -= 1
        for name in read.union(made):
            if readers[name] == 0:
                now -= sizes.get(name, 0)
    return peak, max(busiest, key=lambda name: sizes.get(name, 0), default="")
