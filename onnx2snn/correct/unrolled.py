"""Weighted operators as matrix products: the inputs that each of their outputs sees.

- Conv: the window of each output position, group by group.
- Gemm and MatMul with constant weights on the right: the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.protos.sessions import open_session


@dataclass(frozen=True)
class Unrolled:
    """How an operator's weights are laid out, in `inputs` K per output of a group.

    `rows(x)` are its inputs [group, K, M] at the M output positions of some samples, `targets(d)`
    its outputs [group, O, M] alike; `weights(D)` brings a change [group, O, K] into the layout of
    its own weights.
    """

    rows: Callable[[Array], Array]
    targets: Callable[[Array], Array]
    weights: Callable[[Array], Array]
    inputs: int


Unroll = Callable[[Node], Unrolled | str]
"""From a node to its layout, or the reason why its weights are not fitted."""


def _unroll_conv(node: Node) -> Unrolled | str:
    values = constant(node.inputs[1])
    if values is None:
        return "its weights are no constant"
    group = int(node.attrs.get("group", 1))
    shape = values.shape
    per_group, *kernel = shape[1:]
    session = _windows(node, group * per_group, kernel)

    def rows(x: Array) -> Array:
        feed = {"x": np.ascontiguousarray(x, np.float32)}
        (found,) = session.run(None, feed)
        return _by_group(found, group)

    def targets(d: Array) -> Array:
        return _by_group(d, group)

    def weights(change: Array) -> Array:
        return change.reshape(shape)

    return Unrolled(rows, targets, weights, per_group * int(np.prod(kernel)))


def _by_group(values: Array, group: int) -> Array:
    """[n, group · k, ...positions] -> [group, k, n · positions]."""
    n, channels = values.shape[:2]
    k = channels // group
    split = values.reshape(n, group, k, -1)
    turned = np.ascontiguousarray(split.transpose(1, 2, 0, 3))
    return turned.reshape(group, k, -1)


def _windows(node: Node, channels: int, kernel: list[int]) -> ort.InferenceSession:
    """Return a session that computes the inputs each output position of a convolution sees.

    It is itself a depthwise convolution, with one-hot kernels, so that strides, pads and dilations
    are the node's own.
    """
    size = int(np.prod(kernel))
    one_hot = np.eye(size, dtype=np.float32).reshape(size, 1, *kernel)
    repeats = [channels] + [1] * (one_hot.ndim - 1)
    weights = numpy_helper.from_array(np.tile(one_hot, repeats), "w")
    attrs = {name: v for name, v in node.attrs.items() if name not in ("group", "kernel_shape")}
    unfold = helper.make_node("Conv", ["x", "w"], ["rows"], group=channels, **attrs)
    shape = [None] * (2 + len(kernel))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape)
    graph = helper.make_graph([unfold], "windows", [x], [y], [weights])
    opsets = [helper.make_opsetid("", 18)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return open_session(model, None)


def _unroll_gemm(node: Node) -> Unrolled | str:
    alpha = node.attrs.get("alpha", 1.0)
    if alpha == 0:
        return "its alpha is 0"
    transposed = bool(node.attrs.get("transB", 0))
    return _unroll_matrix(node, transposed, alpha)


def _unroll_matmul(node: Node) -> Unrolled | str:
    return _unroll_matrix(node, False, 1.0)


def _unroll_matrix(node: Node, transposed: bool, alpha: float) -> Unrolled | str:
    matrix = constant(node.inputs[1])
    if matrix is None or matrix.ndim != 2:
        return "its weights are no constant matrix on the right"

    def flat(values: Array) -> Array:
        """[..., k] -> [1, k, rows]."""
        rows = values.reshape(1, -1, values.shape[-1])
        return rows.swapaxes(1, 2)

    def weights(change: Array) -> Array:
        # y = α x W, so that W takes 1/α of the change
        own = change[0] if transposed else change[0].T
        scaled: Array = own / alpha
        return scaled

    inputs = matrix.shape[1] if transposed else matrix.shape[0]
    return Unrolled(flat, flat, weights, inputs)


UNROLL: dict[str, Unroll] = {
    "Conv": _unroll_conv,
    "Gemm": _unroll_gemm,
    "MatMul": _unroll_matmul,
}
"""The weighted operators whose weights are fitted."""
