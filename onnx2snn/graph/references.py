"""Constants that map files (`protos.apart`): models hold references in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnx2snn.graph.types import Graph
from onnx2snn.protos import apart


def map_references(graph: Graph) -> None:
    """Let the constants of an imported graph that refer to files map these."""
    for tensor in _constants(graph):
        if tensor.data_location is not None:
            tensor.values = apart.values_of(tensor._values.tensor)
            tensor.data_location = None


def _constants(graph: Graph) -> list[gs.Constant]:
    """Return the constants of a graph, each once."""
    read = chain(graph.outputs, *(node.inputs for node in graph.nodes))
    found = {id(tensor): tensor for tensor in read if isinstance(tensor, gs.Constant)}
    return list(found.values())


@contextmanager
def as_references(graph: Graph) -> Iterator[None]:
    """Let the constants of a graph that map files be exported as references to them."""
    mapped = []
    for tensor in _constants(graph):
        if not isinstance(tensor._values, np.ndarray):
            continue
        place = apart.reference(tensor._values)
        if place is not None:
            mapped.append((tensor, tensor._values))
            kind = onnx.helper.np_dtype_to_tensor_dtype(tensor._values.dtype)
            stub = onnx.TensorProto(name=tensor.name, data_type=kind, dims=tensor.shape)
            apart.refer(stub, place)
            tensor.values = LazyValues(stub)
    try:
        yield
    finally:
        for tensor, values in mapped:
            tensor.values = values
