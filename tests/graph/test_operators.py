"""Behaviour of onnx2snn.graph.operators: every row is linear, as onnxruntime computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from helpers.stages import Array
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.graph.editing import to_graph
from onnx2snn.graph.operators import LINEAR, nonlinearity

RNG = np.random.default_rng(5)


@dataclass(frozen=True)
class Case:
    """One node: a tuple is the shape of an operand that varies, an array one that does not."""

    op: str
    operands: Sequence[Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 20

    def __str__(self) -> str:
        shapes = [str(o if isinstance(o, (tuple, str)) else np.shape(o)) for o in self.operands]
        return (
            f"{self.op}({', '.join(shapes)}){''.join(f' {k}={v}' for k, v in self.attrs.items())}"
        )

    @property
    def varying(self) -> list[int]:
        return [index for index, operand in enumerate(self.operands) if type(operand) is tuple]

    def model(self) -> Any:
        names = ["" if isinstance(o, str) else f"x{i}" for i, o in enumerate(self.operands)]
        inputs = [
            helper.make_tensor_value_info(names[i], TensorProto.FLOAT, self.operands[i])
            for i in self.varying
        ]
        fixed = [
            numpy_helper.from_array(operand, name)
            for name, operand in zip(names, self.operands, strict=True)
            if isinstance(operand, np.ndarray)
        ]
        made = [f"y{i}" for i in range(self.outputs)]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made]
        node = helper.make_node(self.op, names, made, "node", **self.attrs)
        graph = helper.make_graph([node], "single", inputs, outputs, fixed)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9
        )


def value(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


IMAGE, FLAT = (2, 4, 5, 6), (3, 4)
CHANNELS = value(4), value(4), value(4), np.abs(value(4))
INDEX = RNG.integers(0, 3, (2, 4, 3, 6))
GRID = np.tanh(value(2, 3, 4, 2))
DOUBLED = np.array([1, 1, 2, 1.5], np.float32)

LINEAR_CASES = [
    Case(
        "Conv",
        [IMAGE, value(6, 2, 3, 2), value(6)],
        {"group": 2, "pads": [0, 1, 2, 1], "dilations": [1, 2]},
    ),
    Case(
        "Conv", [(2, 4, 7), value(4, 1, 3)], {"group": 4, "auto_pad": "SAME_LOWER", "strides": [2]}
    ),
    Case("Conv", [(1, 2, 4, 5, 3), value(3, 2, 2, 2, 2), value(3)], {"pads": [1, 0, 0, 0, 1, 1]}),
    Case(
        "ConvTranspose",
        [IMAGE, value(4, 2, 3, 3)],
        {"strides": [2, 3], "output_padding": [1, 2], "group": 2},
    ),
    Case("ConvTranspose", [(2, 4, 7), value(4, 2, 3)], {"strides": [2], "output_shape": [13]}),
    Case("DeformConv", [IMAGE, value(3, 4, 2, 2), value(2, 8, 4, 5)]),
    Case("Gemm", [FLAT, value(4, 5), value(5)]),
    Case("Gemm", [FLAT, value(3, 5)], {"transA": 1, "alpha": 0.5}),
    Case("Gemm", [value(2, 3), FLAT], {"alpha": 0.5}),
    Case("MatMul", [IMAGE, value(6, 3)]),
    Case("MatMul", [value(3, 5), IMAGE]),
    Case("Einsum", [IMAGE, value(4, 7)], {"equation": "nchw,cd->nwdh"}),
    Case("Einsum", [value(4, 7), IMAGE], {"equation": "cd,nchw->nd"}),
    Case("BatchNormalization", [IMAGE, *CHANNELS]),
    Case("Add", [IMAGE, (4, 1, 1)]),
    Case("Add", [IMAGE, value(4, 1, 1)]),
    Case("Sub", [value(1, 4, 1, 1), IMAGE]),
    Case("Sum", [IMAGE, value(6), (5, 1)]),
    Case("Mean", [IMAGE, value(6), (5, 1)]),
    Case("Mul", [value(2, 1, 5, 6), IMAGE]),
    Case("Div", [IMAGE, value(4, 1, 1)]),
    Case("Neg", [IMAGE]),
    Case("Where", [value(5, 6) > 0, IMAGE, (4, 1, 1)]),
    Case("Where", [value(5, 6) > 0, value(1), IMAGE]),
    Case("Concat", [IMAGE, value(2, 1, 5, 6), (2, 3, 5, 6)], {"axis": 1}),
    Case("AveragePool", [IMAGE], {"kernel_shape": [2, 3], "pads": [1, 0, 0, 1], "ceil_mode": 1}),
    Case("GlobalAveragePool", [IMAGE]),
    Case("ReduceMean", [IMAGE, ints(1, -1)], {"keepdims": 0}),
    Case("ReduceSum", [IMAGE, ints(2)]),
    Case("CumSum", [IMAGE, np.array(3)], {"exclusive": 1}),
    Case("Flatten", [IMAGE], {"axis": 2}),
    Case("Reshape", [IMAGE, ints(0, 2, -1)]),
    Case("Squeeze", [(2, 1, 3), ints(1)]),
    Case("Unsqueeze", [IMAGE, ints(1, 4)]),
    Case("Transpose", [IMAGE], {"perm": [2, 0, 3, 1]}),
    Case("DepthToSpace", [IMAGE], {"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", [(2, 3, 4, 6)], {"blocksize": 2}),
    Case("Col2Im", [(2, 8, 6), ints(3, 4), ints(2, 2)]),
    Case("Slice", [IMAGE, ints(4, -1), ints(0, -5), ints(2, 3), ints(-1, -2)]),
    Case("Split", [IMAGE, ints(1, 2, 1)], {"axis": 1}, outputs=3),
    Case("Gather", [IMAGE, ints(3, -1, 0)], {"axis": 1}),
    Case("GatherElements", [IMAGE, INDEX], {"axis": 2}),
    Case("GatherND", [IMAGE, ints(1, 0).reshape(2, 1)], {"batch_dims": 1}),
    Case("Compress", [IMAGE, np.array([True, False, True])], {"axis": 1}),
    Case("Trilu", [IMAGE, np.array(1)], {"upper": 0}),
    Case("ReverseSequence", [IMAGE, ints(3, 2)], {"batch_axis": 0, "time_axis": 1}),
    Case("ScatterElements", [IMAGE, INDEX, (2, 4, 3, 6)], {"axis": 2, "reduction": "add"}),
    Case("ScatterElements", [value(*IMAGE), INDEX[:1, :1, :1, :1], (1, 1, 1, 1)], {"axis": 2}),
    Case("ScatterND", [IMAGE, ints(1, 0).reshape(2, 1), (2, 4, 5, 6)], {"reduction": "add"}),
    Case(
        "MaxUnpool",
        [(1, 1, 2, 2), ints(0, 3, 9, 14).reshape(1, 1, 2, 2)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    Case("Pad", [IMAGE, ints(0, 1, 0, 2, 0, 0, 1, 0), np.array(0.7, np.float32)]),
    Case("Pad", [IMAGE, ints(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}),
    Case("Pad", [IMAGE, ints(0, 0, 1, 2, 0, 0, -2, 1)], {"mode": "edge"}),
    Case("CenterCropPad", [IMAGE, ints(3, 8)], {"axes": [2, 3]}),
    Case("Expand", [(4, 1, 6), ints(2, 1, 5, 1)]),
    Case("Tile", [IMAGE, ints(1, 2, 1, 3)]),
    *[
        Case(
            "Resize", [IMAGE, "", DOUBLED], {"mode": mode, "coordinate_transformation_mode": where}
        )
        for mode in ("nearest", "linear", "cubic")
        for where in ("half_pixel", "asymmetric", "align_corners")
    ],
    Case("Resize", [IMAGE, "", "", ints(2, 4, 3, 4)], {"mode": "linear", "antialias": 1}),
    Case("Upsample", [IMAGE, DOUBLED], {"mode": "linear"}, opset=9),
    Case("GridSample", [IMAGE, GRID], {"mode": "cubic", "padding_mode": "border"}),
    Case(
        "RoiAlign",
        [IMAGE, np.abs(value(3, 4)), ints(0, 1, 0)],
        {"output_height": 2, "output_width": 2},
    ),
    Case("Dropout", [IMAGE]),
    Case("Identity", [IMAGE]),
    Case("Cast", [IMAGE], {"to": TensorProto.FLOAT}),
    Case("CastLike", [IMAGE, value(1)]),
]


@pytest.mark.parametrize("case", LINEAR_CASES, ids=str)
def test_every_operator_called_linear_is_affine_in_what_varies(case: Case) -> None:
    """f(a x + (1 - a) y) = a f(x) + (1 - a) f(y), all operands that may vary at once."""
    proto = case.model()
    node = to_graph(proto).nodes[0]
    assert nonlinearity(node, case.varying.__contains__) is None
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    one, other = ({f"x{i}": value(*case.operands[i]) for i in case.varying} for _ in range(2))
    mixed = {name: np.float32(0.3) * one[name] + np.float32(0.7) * other[name] for name in one}
    for found, x, y in zip(*(session.run(None, feed) for feed in (mixed, one, other)), strict=True):
        np.testing.assert_allclose(found, 0.3 * x + 0.7 * y, rtol=1e-4, atol=1e-4)


def test_every_row_of_the_table_has_a_case() -> None:
    assert set(LINEAR) == {case.op for case in LINEAR_CASES}


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (Case("Mul", [IMAGE, IMAGE]), "both of its inputs"),
        (Case("Einsum", [IMAGE, IMAGE], {"equation": "nchw,nchw->nc"}), "both of its inputs"),
        (Case("Div", [value(1), IMAGE]), "not linear in its input 'x1'"),
        (Case("Where", [(5, 6), value(1), IMAGE]), "not linear in its input 'x0'"),
        (Case("Conv", [value(*IMAGE), (3, 4, 1, 1)]), "not linear in its input 'x1'"),
        (
            Case("ScatterElements", [IMAGE, INDEX, (2, 4, 3, 6)], {"axis": 2, "reduction": "mul"}),
            "reduction is 'mul'",
        ),
        (Case("RoiAlign", [IMAGE, value(3, 4), ints(0, 1, 0)], {"mode": "max"}), "it takes maxima"),
        (Case("LpPool", [IMAGE], {"kernel_shape": [2, 2]}), "not linear"),
        (Case("ReduceMax", [IMAGE]), "not linear"),
    ],
    ids=str,
)
def test_what_is_not_linear_says_why(case: Case, why: str) -> None:
    reason = nonlinearity(to_graph(case.model()).nodes[0], case.varying.__contains__)
    assert reason is not None and why in reason
