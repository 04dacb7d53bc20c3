"""One spelling for what ONNX lets a model write in two ways.

* Sparse constants, initializers and values of Constant nodes, become dense ones.
* ONNX's own domain, spelled out as "ai.onnx", becomes "".

The package and the libraries it uses know the second form of each alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import SparseTensorProto, TensorProto, numpy_helper

from onnx2snn.errors import ModelFileError
from onnx2snn.protos.walk import graphs, nodes

SPELLED_OUT = "ai.onnx"
"""The long name of ONNX's own domain."""


def make_dense(model: onnx.ModelProto, name: str) -> None:
    """Write sparse constants out, in place; `name` is the file's, for errors.

    Raises:
        ModelFileError: The indices of a sparse tensor are outside it.
    """
    for graph in graphs(model.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse, sparse.values.name, name))
        del graph.sparse_initializer[:]
    for node in nodes(model):
        _make_value_dense(node, name)


def _make_value_dense(node: onnx.NodeProto, name: str) -> None:
    """Give a Constant node with a sparse value the dense one."""
    for held in node.attribute:
        if held.type == onnx.AttributeProto.SPARSE_TENSOR:
            dense = _dense(held.sparse_tensor, node.output[0], name)
            held.CopyFrom(onnx.helper.make_attribute("value", dense))


def _dense(sparse: SparseTensorProto, label: str, name: str) -> TensorProto:
    """Return a sparse tensor with its zeros written out."""
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    shape = tuple(sparse.dims)
    flat = np.zeros(int(np.prod(shape)), values.dtype)
    try:
        flat[_places(indices, shape)] = values
    except (IndexError, ValueError) as error:
        raise ModelFileError(
            f"'{name}' has a sparse tensor '{label}' with indices outside its shape "
            f"{list(shape)}; export it again"
        ) from error
    made = numpy_helper.from_array(flat.reshape(shape), label)
    made.data_type = sparse.values.data_type
    return made


def _places(indices: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return the places in the flattened tensor; ONNX gives these, or an index for each axis."""
    if indices.ndim == 2:
        columns = tuple(indices.T)
        return np.asarray(np.ravel_multi_index(columns, shape))
    if indices.size and indices.min() < 0:
        raise IndexError(indices.min())
    return indices


def shorten_domain(model: onnx.ModelProto) -> None:
    """Call ONNX's own domain "" in nodes, and once in each list of imports, in place."""
    for node in nodes(model):
        if node.domain == SPELLED_OUT:
            node.domain = ""
    for holder in [model, *model.functions]:
        domains = [entry.domain for entry in holder.opset_import]
        if SPELLED_OUT not in domains:
            continue
        if "" in domains:
            kept = [entry for entry in holder.opset_import if entry.domain != SPELLED_OUT]
            del holder.opset_import[:]
            holder.opset_import.extend(kept)
            continue
        for entry in holder.opset_import:
            if entry.domain == SPELLED_OUT:
                entry.domain = ""
