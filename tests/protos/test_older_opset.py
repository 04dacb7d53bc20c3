"""Models at older opsets compute what they computed, or are refused with node and reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx2snn import UnsupportedGraphError
from onnx2snn.protos.older_opset import at_opset

Array = NDArray[Any]
FLOAT, INT = np.float32, np.int64
X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(FLOAT)


def model(
    op: str, *constants: Any, outputs: int = 1, matrix: bool = False, **attributes: Any
) -> tuple[onnx.ModelProto, Array]:
    """One node of opset 18 that reads x, and constants (None: left out)."""
    x = X[0] if matrix else X
    names = ["" if value is None else f"c{index}" for index, value in enumerate(constants)]
    made = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(op, ["x", *names], made, "node", **attributes)
    fixed = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in zip(names, constants, strict=True)
        if name
    ]
    kind = TensorProto.BOOL if op.endswith("Equal") else TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in made[:1]],
        fixed,
    )
    opsets = [helper.make_opsetid("", 18)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    # the checker asks for the output's shape
    return onnx.shape_inference.infer_shapes(proto), x


def whole(*numbers: int) -> Array:
    return np.array(numbers, INT)


SAYABLE: dict[str, tuple[int, tuple[Any, ...], dict[str, Any]]] = {
    "Clip": (10, (FLOAT(-0.5), FLOAT(0.5)), {}),
    "Clip from below": (10, (FLOAT(-0.5),), {}),
    "Pad": (10, (whole(0, 0, 1, 0, 0, 2), FLOAT(3)), {}),
    "Slice": (9, (whole(1), whole(3), whole(2)), {}),
    "Split": (12, (whole(1, 2),), {"axis": 1, "outputs": 2}),
    "Unsqueeze": (12, (whole(1),), {}),
    "ReduceSum": (12, (whole(1),), {"keepdims": 0}),
    "ReduceMean": (17, (whole(1, 2),), {}),
    "TopK": (9, (whole(2),), {"outputs": 2}),
    "Softmax": (12, (), {"axis": -1}),
    "LogSoftmax": (12, (), {"axis": 2}),
    "LessOrEqual": (11, (X[:1],), {}),
    "GreaterOrEqual": (11, (X[:1],), {}),
    "Gemm": (10, (np.eye(4, dtype=FLOAT),), {"matrix": True}),
    "Concat": (10, (X,), {"axis": -1}),
    "Flatten": (10, (), {"axis": -1}),
    "Gather": (10, (whole(2, 0),), {"axis": -2}),
}


@pytest.mark.parametrize("case", list(SAYABLE))
def test_an_older_form_computes_the_same(case: str) -> None:
    version, constants, options = SAYABLE[case]
    made, x = model(case.split()[0], *constants, **options)
    older = at_opset(made, version)
    assert [opset.version for opset in older.opset_import] == [version]
    onnx.checker.check_model(older)
    (wanted,) = ReferenceEvaluator(made).run(None, {"x": x})
    (found,) = ReferenceEvaluator(older).run(None, {"x": x})
    np.testing.assert_array_equal(found, wanted)


REFUSED: dict[str, tuple[int, tuple[Any, ...], dict[str, Any], str]] = {
    "Slice": (9, (whole(0), whole(4), whole(2), whole(2)), {}, "no steps"),
    "Split": (17, (), {"axis": 2, "outputs": 2, "num_outputs": 2}, "sizes of its outputs"),
    "Softmax": (12, (), {"axis": 1}, "not along the last axis"),
    "ReduceSum": (12, (whole(),), {"noop_with_empty_axes": 1}, "without axes"),
    "Mish": (17, (), {}, "node"),
}


@pytest.mark.parametrize("op", list(REFUSED))
def test_what_an_older_opset_cannot_say_is_refused_by_name(op: str) -> None:
    version, constants, options, reason = REFUSED[op]
    made, _ = model(op, *constants, **options)
    with pytest.raises(UnsupportedGraphError, match=reason) as refused:
        at_opset(made, version)
    assert "node" in str(refused.value)
