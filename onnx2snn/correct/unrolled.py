"""Weighted operators as matrix products: the inputs that each of their outputs sees.

- Conv: the window of each output position, group by group.
- Gemm and MatMul with constant weights on the right: the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.protos.sessions import open_own_session


@dataclass(frozen=True)
class Unrolled:
    """The layout of an operator's weights: `inputs` K per output of a group.

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
    shape = values.shape
    per_group, *kernel = shape[1:]
    group = node.attrs.get("group", 1)
    channels = group * per_group
    session = _windows(node, channels, kernel)
    inputs = per_group * int(np.prod(kernel))

    def rows(x: Array) -> Array:
        # [n, C, ...] -> [n, C · positions of the kernel, ...], channel by channel
        single = np.ascontiguousarray(x, np.float32)
        (found,) = session.run(None, {"x": single})
        return _by_group(found, group)

    def targets(d: Array) -> Array:
        return _by_group(d, group)

    def weights(change: Array) -> Array:
        return change.reshape(shape)

    return Unrolled(rows, targets, weights, inputs)


def _by_group(values: Array, group: int) -> Array:
    """[n, group · k, ...positions] -> [group, k, n · positions]."""
    n, channels = values.shape[:2]
    k = channels // group
    split = values.reshape(n, group, k, -1)
    turned = split.transpose(1, 2, 0, 3)
    whole = np.ascontiguousarray(turned)
    return whole.reshape(group, k, -1)


def _windows(node: Node, channels: int, kernel: list[int]) -> ort.InferenceSession:
    """Return a session that computes the inputs each output position of a convolution sees.

    It is itself a depthwise convolution, with one-hot kernels, so that strides, pads and dilations
    are the node's own.
    """
    attrs = dict(node.attrs)
    attrs.pop("kernel_shape", None)
    attrs["group"] = channels
    windows = helper.make_node("Conv", ["x", "w"], ["rows"], **attrs)
    # kernel k of a channel is 1 at its k-th position: output k is what that position sees
    size = int(np.prod(kernel))
    eye = np.eye(size, dtype=np.float32)
    one_hot = eye.reshape(size, 1, *kernel)
    weights = np.concatenate([one_hot] * channels)
    shape = [None] * (2 + len(kernel))
    graph = helper.make_graph(
        nodes=[windows],
        name="windows",
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        outputs=[helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape)],
        initializer=[numpy_helper.from_array(weights, "w")],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return open_own_session(model, None)


def _unroll_gemm(node: Node) -> Unrolled | str:
    alpha = node.attrs.get("alpha", 1.0)
    if alpha == 0:
        return "its alpha is 0"
    transposed = node.attrs.get("transB", 0) != 0
    return _unroll_matrix(node, transposed, alpha)


def _unroll_matmul(node: Node) -> Unrolled | str:
    return _unroll_matrix(node, False, 1.0)


def _unroll_matrix(node: Node, transposed: bool, alpha: float) -> Unrolled | str:
    matrix = constant(node.inputs[1])
    if matrix is None or matrix.ndim != 2:
        return "its weights are no constant matrix on the right"

    def flat(values: Array) -> Array:
        """[..., k] -> [1, k, rows]."""
        k = values.shape[-1]
        rows = values.reshape(1, -1, k)
        return rows.swapaxes(1, 2)

    def weights(change: Array) -> Array:
        # y = α x W, so that W takes 1/α of the change
        own: Array = change[0] / alpha
        return own if transposed else own.T

    inputs, outputs = matrix.shape
    if transposed:
        inputs = outputs
    return Unrolled(flat, flat, weights, inputs)


UNROLL: dict[str, Unroll] = {
    "Conv": _unroll_conv,
    "Gemm": _unroll_gemm,
    "MatMul": _unroll_matmul,
}
"""The weighted operators whose weights are fitted."""
