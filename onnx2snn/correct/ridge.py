"""Weights fitted in closed form: a ridge regression per weighted operator.

With x the operator's mean input in the SNN and d what its output still lacks of the ANN's, the change D of the weights
minimises ||D x - d||^2 + λ ||D||^2 (advanced calibration, Li et al. 2021, without its training loop).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import constant
from onnx2snn.graph.types import Node
from onnx2snn.protos.sessions import open_session

RIDGE = 0.1
"""λ in units of the mean square of the inputs, to which inputs per row are added: few rows say little."""

MOST_INPUTS = 8192
"""Of one output of an operator; the Gram matrix holds the square of this."""

ROWS, ROWS_PER_INPUT, CHUNK = 2**15, 16, 2**24
"""A fit takes about so many rows, or so many an input where that is more; elements unfolded at once."""


@dataclass(frozen=True)
class Layer:
    """How an operator's weights are laid out, in `inputs` K per output of a group.

    `rows(x)` are its inputs [group, K, M] at the M output positions of a few samples, `targets(d)` its outputs
    [group, O, M] alike; `weights(D)` brings a change [group, O, K] into the layout of its own weights.
    """

    rows: Callable[[Array], Array]
    targets: Callable[[Array], Array]
    weights: Callable[[Array], Array]
    inputs: int


def fit_weights(node: Node, x: Array, lacking: Array, *, centred: bool) -> Array | str:
    """The change of a node's weights, in their own layout, or why there is none.

    `x` [N, ...]: its mean input per sample; `lacking` [N, ...]: what its output lacks. `centred` leaves the mean over
    all rows to a bias.
    """
    build = LAYERS.get(node.op)
    layer = build(node) if build else f"weights of {node.op} are not fitted"
    if isinstance(layer, str):
        return layer
    if layer.inputs > MOST_INPUTS:
        return f"{layer.inputs} inputs for one output are too many to fit"
    return layer.weights(_solve(_moments(layer, x, lacking), centred))


@dataclass(frozen=True)
class _Moments:
    """Sums over all rows, per group: x x^T, x d^T, x, d, and their number."""

    gram: Array
    cross: Array
    inputs: Array
    outputs: Array
    count: int


def _moments(layer: Layer, x: Array, lacking: Array) -> _Moments:
    gram = cross = inputs = outputs = np.zeros(1)
    count = 0
    for a, d in _rows(layer, x, lacking):
        gram = gram + a @ a.swapaxes(1, 2)
        cross = cross + a @ d.swapaxes(1, 2)
        inputs = inputs + a.sum(axis=2, keepdims=True, dtype=np.float64)
        outputs = outputs + d.sum(axis=2, keepdims=True, dtype=np.float64)
        count += a.shape[2]
    return _Moments(gram.astype(np.float64), cross.astype(np.float64), inputs, outputs, count)


def _rows(layer: Layer, x: Array, lacking: Array) -> Iterator[tuple[Array, Array]]:
    """Inputs and what is lacking, a few samples at a time, thinned out to the rows a fit takes."""
    positions = layer.targets(lacking[:1]).shape[2]
    rows = max(ROWS, ROWS_PER_INPUT * layer.inputs)
    wanted = min(len(x), max(16, -(-rows // positions)))
    stride = (
        max(1, wanted * positions // rows) | 1
    )  # odd: an even one would miss every second column of most maps
    size = max(1, CHUNK // (positions * layer.inputs))
    for start in range(0, wanted, size):
        few = slice(start, min(start + size, wanted))
        yield layer.rows(x[few])[:, :, ::stride], layer.targets(lacking[few])[:, :, ::stride]


def _solve(sums: _Moments, centred: bool) -> Array:
    gram, cross = sums.gram, sums.cross
    if centred:
        gram = gram - sums.inputs @ sums.inputs.swapaxes(1, 2) / sums.count
        cross = cross - sums.inputs @ sums.outputs.swapaxes(1, 2) / sums.count
    size = gram.shape[1]
    power = np.trace(gram, axis1=1, axis2=2)[:, None, None] / size
    ridge = (RIDGE + size / sums.count) * np.where(power > 0, power, 1.0)
    return np.linalg.solve(gram + ridge * np.eye(size), cross).swapaxes(1, 2)


def _conv(node: Node) -> Layer | str:
    weights = constant(node.inputs[1])
    if weights is None:
        return "its weights are no constant"
    group = int(node.attrs.get("group", 1))
    outputs, per_group, *kernel = weights.shape
    session = _unfolding(node, group * per_group, kernel)

    def rows(x: Array) -> Array:
        (found,) = session.run(None, {"x": np.ascontiguousarray(x, np.float32)})
        return _by_group(found, group)

    return Layer(
        rows,
        lambda d: _by_group(d, group),
        lambda change: change.reshape(outputs, per_group, *kernel),
        per_group * int(np.prod(kernel)),
    )


def _by_group(values: Array, group: int) -> Array:
    """[n, group · k, ...positions] -> [group, k, n · positions]."""
    n, channels = values.shape[:2]
    split = values.reshape(n, group, channels // group, -1)
    return np.ascontiguousarray(split.transpose(1, 2, 0, 3)).reshape(group, channels // group, -1)


def _unfolding(node: Node, channels: int, kernel: list[int]) -> ort.InferenceSession:
    """What each output position of a convolution sees: itself a depthwise convolution with one-hot kernels, so that
    strides, pads and dilations are the node's own."""
    size = int(np.prod(kernel))
    one_hot = np.tile(
        np.eye(size, dtype=np.float32).reshape(size, 1, *kernel),
        (channels, *[1] * (1 + len(kernel))),
    )
    attrs = {k: v for k, v in node.attrs.items() if k not in ("group", "kernel_shape")}
    unfold = helper.make_node("Conv", ["x", "w"], ["rows"], group=channels, **attrs)
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * (2 + len(kernel)))
        for n in ("x", "rows")
    )
    graph = helper.make_graph([unfold], "unfold", [x], [y], [numpy_helper.from_array(one_hot, "w")])
    return open_session(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), None
    )


def _gemm(node: Node) -> Layer | str:
    alpha = node.attrs.get("alpha", 1.0)
    return (
        _dense(node, bool(node.attrs.get("transB", 0)), alpha) if alpha != 0 else "its alpha is 0"
    )


def _matmul(node: Node) -> Layer | str:
    return _dense(node, False, 1.0)


def _dense(node: Node, transposed: bool, alpha: float) -> Layer | str:
    weights = constant(node.inputs[1])
    if weights is None or weights.ndim != 2:
        return "its weights are no constant matrix on the right"

    def flat(values: Array) -> Array:
        return values.reshape(1, -1, values.shape[-1]).swapaxes(1, 2)

    def layout(change: Array) -> Array:
        own: Array = (change[0] if transposed else change[0].T) / alpha
        return own

    return Layer(flat, flat, layout, weights.shape[1 if transposed else 0])


LAYERS: dict[str, Callable[[Node], Layer | str]] = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul}
"""The weighted operators whose weights are fitted."""
