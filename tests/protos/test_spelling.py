"""Behaviour of onnx2snn.protos.spelling and load: sparse constants, the long domain, properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers.networks import Builder, inputs_for, mlp
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx2snn import ModelFileError, SpikingSession, convert, rollout
from onnx2snn.protos.load import load_model

Array = NDArray[Any]


def outputs(proto: onnx.ModelProto, x: Array) -> Array:
    (found,) = ort.InferenceSession(proto.SerializeToString()).run(None, {"input": x})
    return np.asarray(found)


def pruned() -> onnx.ModelProto:
    """An MLP half of whose first weights are zeros."""
    model = mlp()
    (tensor,) = [t for t in model.graph.initializer if len(t.dims) == 2][:1]
    values = numpy_helper.to_array(tensor).copy()
    values[np.abs(values) < np.median(np.abs(values))] = 0
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def sparse_of(tensor: onnx.TensorProto, form: str) -> onnx.SparseTensorProto:
    values = numpy_helper.to_array(tensor)
    places = np.flatnonzero(values)
    indices = np.argwhere(values) if form == "by axis" else places
    return helper.make_sparse_tensor(
        numpy_helper.from_array(values.ravel()[places], tensor.name),
        numpy_helper.from_array(indices.astype(np.int64), f"{tensor.name}/indices"),
        list(tensor.dims),
    )


def with_sparse(model: onnx.ModelProto, form: str) -> onnx.ModelProto:
    graph = model.graph
    (tensor,) = [t for t in graph.initializer if len(t.dims) == 2][:1]
    sparse = sparse_of(tensor, form)
    graph.initializer.remove(tensor)
    if form == "of a node":
        node = helper.make_node("Constant", [], [tensor.name], sparse_value=sparse)
        graph.node.insert(0, node)
    else:
        graph.sparse_initializer.append(sparse)
    return model


@pytest.mark.parametrize("form", ["flattened", "by axis", "of a node"])
def test_sparse_weights_are_weights(form: str) -> None:
    x = inputs_for("mlp", 20)
    wanted = convert(pruned(), x, method="max", timesteps=8)
    found = convert(with_sparse(pruned(), form), x, method="max", timesteps=8)
    assert np.array_equal(
        SpikingSession(found.model).run(None, {"input": x})[0],
        SpikingSession(wanted.model).run(None, {"input": x})[0],
    )


def test_sparse_indices_outside_the_shape_are_refused() -> None:
    model = with_sparse(pruned(), "by axis")
    (sparse,) = model.graph.sparse_initializer
    indices = numpy_helper.to_array(sparse.indices).copy()
    indices[-1] = 1000
    sparse.indices.CopyFrom(numpy_helper.from_array(indices, "indices"))
    with pytest.raises(ModelFileError):
        load_model(model)


@pytest.mark.parametrize("where", ["imports", "nodes", "both", "both imports"])
def test_the_long_name_of_onnxs_domain_is_the_short_one(where: str) -> None:
    x = inputs_for("mlp", 20)
    plain, model = mlp(), mlp()
    if where != "imports":
        for node in model.graph.node:
            node.domain = "ai.onnx"
    if where in ("imports", "both"):
        model.opset_import[0].domain = "ai.onnx"
    if where == "both imports":
        version = model.opset_import[0].version
        model.opset_import.append(helper.make_opsetid("ai.onnx", version))
    assert np.array_equal(outputs(load_model(model).proto, x), outputs(plain, x))
    assert convert(model, x, method="max", timesteps=4).report.sites


def products(opset: int) -> onnx.ModelProto:
    """Two weighted layers of operators that are the same at all opsets."""
    b = Builder()
    x = b.input("input", ["batch", 10])
    x = b.node("Relu", b.node("MatMul", x, b.const(b.rng.standard_normal((10, 8)))))
    b.name_output(b.node("MatMul", x, b.const(b.rng.standard_normal((8, 3)))), "logits")
    return b.model({"logits": ["batch", 3]}, opset, ir=4)


@pytest.mark.parametrize("opset", [6, 7, 13, 18])
def test_properties_of_the_ann_stay_beside_ours(opset: int) -> None:
    model = products(opset)
    props = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "ünï": ""}
    helper.set_model_props(model, props)
    made = convert(model, inputs_for("mlp", 20), method="max", timesteps=4).model
    for proto, own in ((made, "onnx2snn"), (rollout(made), "onnx2snn_rollout")):
        found = {entry.key: entry.value for entry in proto.metadata_props}
        assert found.keys() == {*props, own}
        assert {key: found[key] for key in props} == props
