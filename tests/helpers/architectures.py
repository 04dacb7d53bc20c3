"""One small seeded network of each class of topology, built node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from helpers.networks import Builder, Dims


class Net(Builder):
    """A `Builder` with the pieces these networks share."""

    def image(self, channels: int = 3, size: int = 8) -> str:
        return self.input("input", ["batch", channels, size, size])

    def fire(self, x: str, cin: int, cout: int, kernel: int = 3, **attrs: Any) -> str:
        return self.node("Relu", self.conv(x, cin, cout, kernel, **attrs))

    def convolution(
        self, x: str, cin: int, cout: int, kernel: tuple[int, ...], **attrs: Any
    ) -> str:
        """Of any number of axes, padded to keep its size."""
        weights = self.rng.standard_normal((cout, cin, *kernel)) * np.sqrt(
            2.0 / (cin * np.prod(kernel))
        )
        attrs = {"pads": [k // 2 for k in kernel] * 2} | attrs
        return self.node(
            "Conv",
            x,
            self.const(weights),
            self.const(self.rng.standard_normal(cout) * 0.1),
            **attrs,
        )

    def dense(self, x: str, cin: int, cout: int) -> str:
        """A MatMul over the last axis and a bias."""
        weights = self.rng.standard_normal((cin, cout)) * np.sqrt(2.0 / cin)
        y = self.node("MatMul", x, self.const(weights))
        return self.node("Add", y, self.const(self.rng.standard_normal(cout) * 0.1))

    def layer_norm(self, x: str, width: int) -> str:
        scale, shift = self.rng.uniform(0.5, 1.5, width), self.rng.standard_normal(width) * 0.1
        return self.node("LayerNormalization", x, self.const(scale), self.const(shift))

    def classify(self, x: str, channels: int) -> onnx.ModelProto:
        x = self.node("Flatten", self.node("GlobalAveragePool", x))
        self.name_output(self.gemm(x, channels, 5), "output")
        return self.model({"output": ["batch", 5]})

    def segment(self, x: str, channels: int, size: int = 8) -> onnx.ModelProto:
        self.name_output(self.conv(x, channels, 3, 1), "output")
        return self.model({"output": ["batch", 3, size, size]})

    def resize(self, x: str, factor: float, mode: str = "linear") -> str:
        return self.node("Resize", x, "", self.const([1, 1, factor, factor], np.float32), mode=mode)


def densenet() -> onnx.ModelProto:
    """Pre-activation: Concat, BatchNorm, Relu, Conv; a transition with an average pool."""
    b = Net(1)
    x = b.conv(b.image(), 3, 6)
    channels = 6
    for _ in range(3):
        y = b.conv(b.node("Relu", b.batch_norm(x, channels)), channels, 8, 1)
        y = b.conv(b.node("Relu", b.batch_norm(y, 8)), 8, 4)
        x, channels = b.node("Concat", x, y, axis=1), channels + 4
    x = b.conv(b.node("Relu", b.batch_norm(x, channels)), channels, 8, 1)
    x = b.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    return b.classify(b.node("Relu", b.batch_norm(x, 8)), 8)


def inception() -> onnx.ModelProto:
    """Four branches, one of them a max-pool before its convolution."""
    b = Net(2)
    x = b.fire(b.image(), 3, 8)
    for _ in range(2):
        pooled = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
        branches = (
            b.fire(x, 8, 2, 1),
            b.fire(b.fire(x, 8, 3, 1), 3, 2),
            b.fire(b.fire(x, 8, 3, 1), 3, 2, 5),
            b.fire(pooled, 8, 2, 1),
        )
        x = b.node("Concat", *branches, axis=1)
    return b.classify(x, 8)


def squeezenet() -> onnx.ModelProto:
    """Fire modules with a MaxPool behind a Concat."""
    b = Net(3)
    x = b.fire(b.image(), 3, 6)
    for _ in range(2):
        squeezed = b.fire(x, 6, 3, 1)
        x = b.node("Concat", b.fire(squeezed, 3, 3, 1), b.fire(squeezed, 3, 3), axis=1)
        x = b.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    return b.classify(b.fire(x, 6, 5, 1), 5)


def shufflenet() -> onnx.ModelProto:
    """Grouped and depthwise convolutions, a channel shuffle, a split."""
    b = Net(4)
    x = b.fire(b.image(), 3, 8)
    for _ in range(2):
        left = b.node("Split", x, b.const([4, 4], np.int64), axis=1, outputs=2)
        right = b.fire(b.conv(b.fire(f"{left}1", 4, 4, 1), 4, 4, group=4), 4, 4, 1)
        x = b.node("Concat", left, right, axis=1)
        x = b.node("Reshape", x, b.const([0, 2, 4, 8, 8], np.int64))
        x = b.node(
            "Reshape", b.node("Transpose", x, perm=[0, 2, 1, 3, 4]), b.const([0, 8, 8, 8], np.int64)
        )
    return b.classify(b.fire(x, 8, 8, group=2), 8)


def mobilenet() -> onnx.ModelProto:
    """Inverted residuals: expand, depthwise, linear bottleneck, skip."""
    b = Net(5)
    bounds = b.const(0.0), b.const(6.0)
    x = b.conv(b.node("Clip", b.conv(b.image(), 3, 6), *bounds), 6, 4, 1)
    for _ in range(2):
        y = b.node("Clip", b.conv(x, 4, 12, 1), *bounds)
        y = b.node("Clip", b.conv(y, 12, 12, group=12), *bounds)
        x = b.node("Add", b.conv(y, 12, 4, 1), x)
    return b.classify(b.node("Clip", b.conv(x, 4, 8, 1), *bounds), 8)


def squeeze_and_excite() -> onnx.ModelProto:
    """Channel gates behind a global pool, with SiLU and with HardSwish and HardSigmoid."""
    b = Net(6)
    x = b.fire(b.image(), 3, 8)
    for gate in ("Sigmoid", "HardSigmoid"):
        y = b.conv(b.fire(x, 8, 8), 8, 8)
        y = (
            b.node("HardSwish", y)
            if gate == "HardSigmoid"
            else b.node("Mul", y, b.node("Sigmoid", y))
        )
        squeezed = b.fire(b.node("GlobalAveragePool", y), 8, 4, 1)
        x = b.node(
            "Relu", b.node("Add", x, b.node("Mul", y, b.node(gate, b.conv(squeezed, 4, 8, 1))))
        )
    return b.classify(x, 8)


def unet() -> onnx.ModelProto:
    """A skip from a Relu that is also pooled; the way up is a ConvTranspose."""
    b = Net(7)
    first = b.fire(b.image(), 3, 4)
    second = b.fire(b.node("MaxPool", first, kernel_shape=[2, 2], strides=[2, 2]), 4, 6)
    x = b.fire(b.node("MaxPool", second, kernel_shape=[2, 2], strides=[2, 2]), 6, 8)
    for skip, cin, cout in ((second, 8, 6), (first, 6, 4)):
        up = b.node(
            "ConvTranspose",
            x,
            b.const(b.rng.standard_normal((cin, cout, 2, 2)) * 0.4),
            strides=[2, 2],
        )
        x = b.fire(b.node("Concat", skip, up, axis=1), 2 * cout, cout)
    return b.segment(x, 4)


def fcn() -> onnx.ModelProto:
    """A coarse score map, resized inside the core and added to a finer one."""
    b = Net(8)
    fine = b.fire(b.image(), 3, 6, strides=[2, 2])
    coarse = b.fire(fine, 6, 8, strides=[2, 2])
    scores = b.node("Add", b.resize(b.conv(coarse, 8, 5, 1), 2), b.conv(fine, 6, 5, 1))
    return b.segment(b.resize(b.node("Relu", scores), 2), 5)


def deeplab() -> onnx.ModelProto:
    """Atrous spatial pyramid pooling.

    Dilated branches and image-level pooling, resized to the same size.
    """
    b = Net(9)
    x = b.fire(b.image(), 3, 6)
    branches = [b.fire(x, 6, 3, 1)]
    branches += [b.fire(x, 6, 3, dilations=[d, d], pads=[d] * 4) for d in (2, 3)]
    pooled = b.fire(b.node("GlobalAveragePool", x), 6, 3, 1)
    sizes = b.node("Slice", b.node("Shape", x), b.const([2], np.int64), b.const([4], np.int64))
    sizes = b.node("Concat", b.const([1, 3], np.int64), sizes, axis=0)
    branches.append(b.node("Expand", pooled, sizes))
    x = b.fire(b.node("Concat", *branches, axis=1), 12, 6, 1)
    return b.segment(b.resize(b.fire(x, 6, 6), 1), 6)


def feature_pyramid() -> onnx.ModelProto:
    """Top-down Resize and Add, and one head shared over three levels."""
    b = Net(10)
    levels = [b.fire(b.image(), 3, 4)]
    for cin, cout in ((4, 6), (6, 8)):
        levels.append(b.fire(levels[-1], cin, cout, strides=[2, 2]))
    top = b.conv(levels[2], 8, 4, 1)
    merged = [top]
    for level, cin in ((levels[1], 6), (levels[0], 4)):
        merged.append(b.node("Add", b.resize(merged[-1], 2, "nearest"), b.conv(level, cin, 4, 1)))
    weights = [b.const(b.rng.standard_normal((4, 4, 3, 3)) * 0.25) for _ in range(2)]
    outputs: dict[str, Dims] = {}
    for number, x in enumerate(merged):
        for weight in weights:
            x = b.node("Relu", b.node("Conv", x, weight, pads=[1] * 4))
        b.name_output(b.conv(x, 4, 2), f"level{number}")
        outputs[f"level{number}"] = ["batch", 2, 2 ** (number + 1), 2 ** (number + 1)]
    return b.model(outputs)


def group_norm() -> onnx.ModelProto:
    """A detection head: Conv, GroupNorm as exporters write it, Relu."""
    b = Net(11)
    x = b.fire(b.image(), 3, 8)
    for _ in range(2):
        y = b.node("Reshape", b.conv(x, 8, 8), b.const([0, 4, -1], np.int64))
        y = b.node("InstanceNormalization", y, b.const(np.ones(4)), b.const(np.zeros(4)))
        y = b.node("Reshape", y, b.const([0, 8, 8, 8], np.int64))
        y = b.node("Mul", y, b.const(b.rng.uniform(0.5, 1.5, (8, 1, 1))))
        x = b.node("Relu", b.node("Add", y, b.const(b.rng.standard_normal((8, 1, 1)) * 0.1)))
    return b.segment(x, 8)


def attention() -> onnx.ModelProto:
    """One transformer layer of two heads behind an embedding with a Relu.

    LayerNorm, attention, an MLP with a Relu.
    """
    b = Net(12)
    x = b.input("input", ["batch", 6, 5])
    x = b.dense(b.node("Relu", b.dense(x, 5, 8)), 8, 8)
    y = b.layer_norm(x, 8)

    def heads(perm: list[int]) -> str:
        return b.node(
            "Transpose",
            b.node("Reshape", b.dense(y, 8, 8), b.const([0, 6, 2, 4], np.int64)),
            perm=perm,
        )

    scores = b.node("MatMul", heads([0, 2, 1, 3]), heads([0, 2, 3, 1]))
    scores = b.node("Softmax", b.node("Div", scores, b.const(2.0)), axis=-1)
    y = b.node("Transpose", b.node("MatMul", scores, heads([0, 2, 1, 3])), perm=[0, 2, 1, 3])
    x = b.node("Add", x, b.dense(b.node("Reshape", y, b.const([0, 6, 8], np.int64)), 8, 8))
    y = b.dense(b.node("Relu", b.dense(b.layer_norm(x, 8), 8, 16)), 16, 8)
    x = b.node("ReduceMean", b.node("Add", x, y), b.const([1], np.int64), keepdims=0)
    b.name_output(b.gemm(x, 8, 3), "output")
    return b.model({"output": ["batch", 3]})


def temporal() -> onnx.ModelProto:
    """One-dimensional, dilated and causal, with skips."""
    b = Net(13)
    x = b.node("Relu", b.convolution(b.input("input", ["batch", 3, 16]), 3, 6, (3,)))
    for dilation in (1, 2, 4):
        y = b.node(
            "Relu", b.convolution(x, 6, 6, (3,), dilations=[dilation], pads=[2 * dilation, 0])
        )
        x = b.node("Relu", b.node("Add", x, b.convolution(y, 6, 6, (1,))))
    x = b.node("MaxPool", x, kernel_shape=[2], strides=[2])
    b.name_output(b.gemm(b.node("Flatten", x), 48, 4), "output")
    return b.model({"output": ["batch", 4]})


def volumetric() -> onnx.ModelProto:
    """Three-dimensional, with max- and average-pools."""
    b = Net(14)
    x = b.node("Relu", b.convolution(b.input("input", ["batch", 2, 4, 6, 6]), 2, 4, (3, 3, 3)))
    x = b.node("Relu", b.convolution(x, 4, 6, (1, 3, 3)))
    x = b.node("MaxPool", x, kernel_shape=[1, 2, 2], strides=[1, 2, 2])
    x = b.node(
        "AveragePool",
        b.node("Relu", b.convolution(x, 6, 6, (3, 1, 1))),
        kernel_shape=[2, 1, 1],
        strides=[2, 1, 1],
    )
    b.name_output(
        b.gemm(b.node("Flatten", b.node("Relu", b.convolution(x, 6, 4, (1, 1, 1)))), 72, 4),
        "output",
    )
    return b.model({"output": ["batch", 4]})


def decoder() -> onnx.ModelProto:
    """From a vector to an image by transposed convolutions with output padding and LeakyRelu."""
    b = Net(15)
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 6]), 6, 24))
    x = b.node("Reshape", x, b.const([0, 6, 2, 2], np.int64))
    for cin, cout in ((6, 5), (5, 4)):
        weights = b.const(b.rng.standard_normal((cin, cout, 3, 3)) * 0.35)
        x = b.node("ConvTranspose", x, weights, strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])
        x = b.node("LeakyRelu", b.batch_norm(x, cout), alpha=0.2)
    b.name_output(b.node("Tanh", b.conv(x, 4, 3)), "output")
    return b.model({"output": ["batch", 3, 8, 8]})


def mlp() -> onnx.ModelProto:
    b = Net(16)
    x = b.node("Relu", b.gemm(b.input("input", ["batch", 10]), 10, 16))
    x = b.node("Relu", b.node("Add", b.gemm(x, 16, 16), x))
    b.name_output(b.gemm(b.node("Relu", b.dense(x, 16, 12)), 12, 3), "output")
    return b.model({"output": ["batch", 3]})


TOPOLOGIES: dict[str, Callable[[], onnx.ModelProto]] = {
    f.__name__: f
    for f in (
        densenet,
        inception,
        squeezenet,
        shufflenet,
        mobilenet,
        squeeze_and_excite,
        unet,
        fcn,
        deeplab,
        feature_pyramid,
        group_norm,
        attention,
        temporal,
        volumetric,
        decoder,
        mlp,
    )
}


def inputs_of(model: onnx.ModelProto, count: int, seed: int = 1) -> NDArray[Any]:
    """Standard normal inputs [count, ...]."""
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(seed).standard_normal((count, *dims)).astype(np.float32)
