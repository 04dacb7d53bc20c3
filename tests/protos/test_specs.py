"""Behaviour of onnx2snn.protos.specs: inputs and outputs of a model."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import Builder, mlp, segmenter
from onnx import TensorProto, helper

from onnx2snn import ModelFileError
from onnx2snn.protos.specs import input_specs, output_specs


def test_specs_hold_names_types_and_dimensions() -> None:
    assert [str(s) for s in input_specs(segmenter())] == ["input float32[batch,1,height,width]"]
    assert [str(s) for s in output_specs(segmenter())] == ["classes float32[batch,3,height,width]"]
    b = Builder()
    b.input("tokens", [None, 7], np.int64)
    b.name_output(b.node("Cast", "tokens", to=TensorProto.FLOAT), "y")
    assert [str(s) for s in input_specs(b.model({"y": [None, 7]}))] == ["tokens int64[?,7]"]


def test_initializers_among_the_inputs_are_no_inputs() -> None:
    model = mlp()
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    assert [s.name for s in input_specs(model)] == ["input"]


def test_an_input_that_is_no_tensor_is_refused() -> None:
    model = mlp()
    value = helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)
    model.graph.input.append(value)
    with pytest.raises(ModelFileError, match="'list' is not a tensor"):
        input_specs(model)
