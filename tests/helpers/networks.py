"""Small seeded networks for the tests, built node by node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Dims = Sequence[int | str | None]


class Builder:
    """Adds nodes one after another; every method returns the name of the tensor it makes."""

    def __init__(self, seed: int = 0, dtype: Any = np.float32) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.past: list[tuple[str, tuple[int, ...]]] = []
        """Tensors [batch, *shape] that `assemble` has made so far, for shortcuts."""

    def input(self, name: str, shape: Dims, dtype: Any = None) -> str:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype or self.dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def const(self, values: Any, dtype: Any = None) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(
            numpy_helper.from_array(np.asarray(values, dtype or self.dtype), name)
        )
        return name

    def node(
        self,
        op: str,
        *inputs: str,
        name: str = "",
        outputs: int = 1,
        domain: str = "",
        **attrs: Any,
    ) -> str:
        label = name or f"{op.lower()}{len(self.nodes)}"
        made = [f"{label}_out"] + [f"{label}_out{i}" for i in range(1, outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), made, label, domain=domain, **attrs))
        return made[0]

    def conv(
        self,
        x: str,
        cin: int,
        cout: int,
        kernel: int = 3,
        *,
        group: int = 1,
        bias: bool = True,
        **attrs: Any,
    ) -> str:
        shape = (cout, cin // group, kernel, kernel)
        weights = self.rng.standard_normal(shape) * np.sqrt(2.0 / (shape[1] * kernel * kernel))
        inputs = [x, self.const(weights)] + (
            [self.const(self.rng.standard_normal(cout) * 0.1)] if bias else []
        )
        attrs = {"pads": [kernel // 2] * 4} | attrs
        return self.node("Conv", *inputs, group=group, **attrs)

    def gemm(self, x: str, cin: int, cout: int) -> str:
        weights = self.rng.standard_normal((cout, cin)) * np.sqrt(2.0 / cin)
        return self.node(
            "Gemm",
            x,
            self.const(weights),
            self.const(self.rng.standard_normal(cout) * 0.1),
            transB=1,
        )

    def batch_norm(self, x: str, channels: int) -> str:
        gamma, var = self.rng.uniform(0.5, 1.5, (2, channels))
        beta, mean = self.rng.standard_normal((2, channels)) * 0.1
        return self.node(
            "BatchNormalization", x, *(self.const(v) for v in (gamma, beta, mean, var))
        )

    def model(self, outputs: dict[str, Dims], opset: int = 18, ir: int = 9) -> onnx.ModelProto:
        """The model; each output's tensor gets its own name by renaming the last maker's output."""
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        values = [
            helper.make_tensor_value_info(name, kind, list(shape))
            for name, shape in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, "net", self.inputs, values, self.initializers)
        others = sorted({node.domain for node in self.nodes if node.domain})
        opsets = [
            helper.make_opsetid("", opset),
            *(helper.make_opsetid(domain, 1) for domain in others),
        ]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
        onnx.checker.check_model(model, full_check=True)
        return model

    def name_output(self, tensor: str, name: str) -> str:
        """Rename a tensor everywhere."""
        for node in self.nodes:
            node.input[:] = [name if t == tensor else t for t in node.input]
            node.output[:] = [name if t == tensor else t for t in node.output]
        return name


def resnet(
    seed: int = 0, dtype: Any = np.float32, *, batch: int | str = "batch"
) -> onnx.ModelProto:
    """BatchNorm, stem max-pool, an identity and a projection shortcut, global average pool.

    Input [batch,2,8,8].
    """
    b = Builder(seed, dtype)
    x = b.input("input", [batch, 2, 8, 8])
    x = b.node("Relu", b.batch_norm(b.conv(x, 2, 6, bias=False), 6), name="stem")
    x = b.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    y = b.node("Relu", b.batch_norm(b.conv(x, 6, 6, bias=False), 6), name="a1")
    x = b.node("Relu", b.node("Add", b.conv(y, 6, 6), x), name="a2")
    y = b.node("Relu", b.conv(x, 6, 8, strides=[2, 2]), name="b1")
    x = b.node(
        "Relu", b.node("Add", b.conv(y, 8, 8), b.conv(x, 6, 8, 1, strides=[2, 2])), name="b2"
    )
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    b.name_output(b.gemm(x, 8, 5), "logits")
    return b.model({"logits": [batch, 5]})


def vgg(seed: int = 0, dtype: Any = np.float32) -> onnx.ModelProto:
    """Conv-ReLU-MaxPool twice, Dropout, Flatten, two Gemm; input [batch,1,8,8]."""
    b = Builder(seed, dtype)
    x = b.input("input", ["batch", 1, 8, 8])
    x = b.node(
        "MaxPool", b.node("Relu", b.conv(x, 1, 6), name="c1"), kernel_shape=[2, 2], strides=[2, 2]
    )
    x = b.node(
        "MaxPool",
        b.node("Relu", b.conv(x, 6, 8), name="c2"),
        kernel_shape=[2, 2],
        strides=[2, 2],
        name="pool",
    )
    x = b.node("Flatten", b.node("Dropout", x))
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 32, 12), name="d1"), 12, 4), "logits")
    return b.model({"logits": ["batch", 4]})


def mobilenet(seed: int = 0, dtype: Any = np.float32) -> onnx.ModelProto:
    """ReLU6, a depthwise convolution, a linear bottleneck with a skip; input [batch,3,8,8]."""
    b = Builder(seed, dtype)
    low, high = b.const(0.0), b.const(6.0)
    x = b.input("input", ["batch", 3, 8, 8])
    x = b.conv(b.node("Clip", b.conv(x, 3, 8), low, high, name="stem"), 8, 6, 1)
    y = b.node("Clip", b.conv(x, 6, 18, 1), low, high, name="expand")
    y = b.node("Clip", b.conv(y, 18, 18, group=18), low, high, name="depthwise")
    x = b.node(
        "Clip", b.conv(b.node("Add", b.conv(y, 18, 6, 1), x), 6, 10, 1), low, high, name="last"
    )
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    b.name_output(b.gemm(x, 10, 5), "logits")
    return b.model({"logits": ["batch", 5]})


def segmenter(seed: int = 0, dtype: Any = np.float32) -> onnx.ModelProto:
    """Fully convolutional, any resolution.

    A strided Conv, a ConvTranspose, a Concat skip; input [batch,1,H,W].
    """
    b = Builder(seed, dtype)
    x = b.input("input", ["batch", 1, "height", "width"])
    x = b.node("Relu", b.conv(x, 1, 6), name="e1")
    y = b.node("Relu", b.conv(x, 6, 8, 4, strides=[2, 2], pads=[1, 1, 1, 1]), name="e2")
    weights = b.const(b.rng.standard_normal((8, 6, 4, 4)) * 0.12)
    y = b.node("ConvTranspose", y, weights, strides=[2, 2], pads=[1, 1, 1, 1])
    y = b.node("Concat", b.node("Relu", y, name="d1"), x, axis=1)
    b.name_output(b.conv(b.node("Relu", b.conv(y, 12, 6), name="d2"), 6, 3, 1), "classes")
    return b.model({"classes": ["batch", 3, "height", "width"]})


def mlp(seed: int = 0, dtype: Any = np.float32) -> onnx.ModelProto:
    """Three Gemm with ReLU between; input [batch,10]."""
    b = Builder(seed, dtype)
    x = b.input("input", ["batch", 10])
    x = b.node("Relu", b.gemm(x, 10, 16), name="h1")
    x = b.node("Relu", b.gemm(x, 16, 12), name="h2")
    b.name_output(b.gemm(x, 12, 3), "logits")
    return b.model({"logits": ["batch", 3]})


NETWORKS = {
    "resnet": resnet,
    "vgg": vgg,
    "mobilenet": mobilenet,
    "segmenter": segmenter,
    "mlp": mlp,
}

SHAPES = {
    "resnet": (2, 8, 8),
    "vgg": (1, 8, 8),
    "mobilenet": (3, 8, 8),
    "segmenter": (1, 8, 12),
    "mlp": (10,),
}


def inputs_for(name: str, count: int, seed: int = 1, dtype: Any = np.float32) -> Any:
    """Standard normal inputs [count, ...] for one of NETWORKS."""
    return np.random.default_rng(seed).standard_normal((count, *SHAPES[name])).astype(dtype)


Shape = tuple[int, int, int]
"""Channels, height, width."""
Block = Callable[[Builder, str, Shape], tuple[str, Shape]]
"""Appends nodes to a tensor [batch, *shape].

Returns the new tensor and shape, the old ones where it does not fit.
"""

ASSEMBLED_INPUT: Shape = (2, 6, 5)


def assemble(
    blocks: Sequence[str], seed: int = 0, *, batch: int | str = "batch"
) -> onnx.ModelProto:
    """Conv, Relu, some blocks (or refused ones), Conv, Relu, Flatten, Gemm.

    Input [batch,2,6,5], output [batch,3].
    """
    b = Builder(seed)
    x, shape = b.node("Relu", b.conv(b.input("input", [batch, *ASSEMBLED_INPUT]), 2, 4)), (4, 6, 5)
    for block in blocks:
        b.past.append((x, shape))
        x, shape = (BLOCKS | REFUSED_BLOCKS)[block](b, x, shape)
    x = b.node("Flatten", b.node("Relu", b.conv(x, shape[0], 3, 1)))
    b.name_output(b.gemm(x, 3 * shape[1] * shape[2], 3), "output")
    return b.model({"output": [batch, 3]})


def _extent(size: int, kernel: int, stride: int, dilation: int, pads: int) -> int:
    return (size + pads - dilation * (kernel - 1) - 1) // stride + 1


def _any_conv(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    """Strided, dilated, grouped and asymmetrically padded, each by chance."""
    c, h, w = shape
    group = 2 if c % 2 == 0 and b.rng.random() < 0.5 else 1
    kernel, stride, dilation = (
        int(b.rng.integers(low, high)) for low, high in ((1, 4), (1, 3), (1, 3))
    )
    pads = [int(p) for p in b.rng.integers(0, 3, 4)]
    height, width = (
        _extent(s, kernel, stride, dilation, pads[i] + pads[i + 2]) for i, s in ((0, h), (1, w))
    )
    if min(height, width) < 1:
        return x, shape
    made = int(b.rng.integers(1, 3)) * 2
    bias = bool(b.rng.random() < 0.7)
    attrs = {"pads": pads, "strides": [stride] * 2, "dilations": [dilation] * 2}
    return b.conv(x, c, made, kernel, group=group, bias=bias, **attrs), (made, height, width)


def _any_deconv(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    c, h, w = shape
    if h * w > 60:
        return x, shape
    group = 2 if c % 2 == 0 and b.rng.random() < 0.5 else 1
    stride, per_group = int(b.rng.integers(1, 3)), int(b.rng.integers(1, 3))
    weights = b.const(b.rng.standard_normal((c, per_group, 3, 3)) / np.sqrt(c))
    bias = [b.const(b.rng.standard_normal(per_group * group) * 0.1)] if b.rng.random() < 0.5 else []
    x = b.node(
        "ConvTranspose", x, weights, *bias, group=group, strides=[stride] * 2, pads=[1, 0, 1, 1]
    )
    return x, (per_group * group, (h - 1) * stride + 1, (w - 1) * stride + 2)


def _matmul_right(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    c, h, w = shape
    return b.node("MatMul", x, b.const(b.rng.standard_normal((w, 4)) / np.sqrt(w))), (c, h, 4)


def _matmul_left(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    c, h, w = shape
    return b.node("MatMul", b.const(b.rng.standard_normal((4, h)) / np.sqrt(h)), x), (c, 4, w)


def _dense(op: str, transposed: bool = False) -> Block:
    """Flatten, a dense layer, back to [batch, channels, height, width].

    With MatMul and a shortcut.
    """

    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        size = int(np.prod(shape))
        flat = b.node("Flatten", x)
        weights = b.const(b.rng.standard_normal((size, size)) / np.sqrt(size))
        if op == "Gemm":
            bias = b.const(b.rng.standard_normal(size) * 0.1)
            y = b.node("Gemm", flat, weights, bias, transB=int(transposed))
        else:
            y = b.node("Add", b.node("MatMul", flat, weights), flat)
        return b.node("Reshape", y, b.const([-1, *shape], np.int64)), shape

    return block


def _branches(op: str, first: bool) -> Block:
    """Two branches: a convolution and the tensor itself, or two convolutions."""

    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        c, h, w = shape
        one = x if first else b.node("Relu", b.conv(x, c, c))
        other = b.conv(x, c, c)
        if op == "Concat":
            return b.node("Concat", one, other, axis=1), (2 * c, h, w)
        return b.node(op, one, other), shape

    return block


def _with_constant(op: str, per_channel: bool = False, swapped: bool = False) -> Block:
    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        values = b.rng.uniform(0.5, 1.5, (1, shape[0], 1, 1) if per_channel else ())
        operands = (b.const(values), x) if swapped else (x, b.const(values))
        return b.node(op, *operands), shape

    return block


def _plain(op: str, **attrs: Any) -> Block:
    return lambda b, x, shape: (b.node(op, x, **attrs), shape)


def _pool(op: str) -> Block:
    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        c, h, w = shape
        if op.startswith("Global"):
            return b.node(op, x), (c, 1, 1)
        if min(h, w) < 2:
            return x, shape
        height, width = _extent(h, 2, 2, 1, 1), _extent(w, 2, 1, 1, 0)
        return b.node(op, x, kernel_shape=[2, 2], strides=[2, 1], pads=[1, 0, 0, 0]), (
            c,
            height,
            width,
        )

    return block


def _clip6(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    return b.node("Clip", x, b.const(0.0), b.const(6.0)), shape


def _squeezed(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    axis = b.const([2], np.int64)
    return b.node("Squeeze", b.node("Relu", b.node("Unsqueeze", x, axis)), axis), shape


def _reshaped(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    """Regroups the elements over the channels."""
    c, h, w = shape
    return b.node("Reshape", x, b.const([0, c * w, h, 1], np.int64)), (c * w, h, 1)


def _reshaped_by_shape(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    """The target shape is computed from a spiking tensor."""
    return b.node("Reshape", b.conv(x, shape[0], shape[0]), b.node("Shape", x)), shape


def _slice(axis: int) -> Block:
    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        size = shape[axis - 1]
        if size < 3:
            return x, shape
        numbers = (b.const([v], np.int64) for v in (1, 2**62, axis, 2))
        sizes = list(shape)
        sizes[axis - 1] = len(range(1, size, 2))
        return b.node("Slice", x, *numbers), (sizes[0], sizes[1], sizes[2])

    return block


def _gather(axis: int) -> Block:
    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        indices = b.rng.integers(-shape[axis - 1], shape[axis - 1], 3)
        sizes = list(shape)
        sizes[axis - 1] = 3
        return b.node("Gather", x, b.const(indices, np.int64), axis=axis), (
            sizes[0],
            sizes[1],
            sizes[2],
        )

    return block


def _padded(axis: int) -> Block:
    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        pads = [0] * 8
        pads[axis], pads[axis + 4] = 1, 2
        sizes = list(shape)
        sizes[axis - 1] += 3
        return b.node("Pad", x, b.const(pads, np.int64)), (sizes[0], sizes[1], sizes[2])

    return block


def _turned(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    c, h, w = shape
    return b.node("Transpose", x, perm=[0, 2, 3, 1]), (h, w, c)


def _shortcut(op: str) -> Block:
    """From any earlier tensor of the same shape (of the same height and width, for a Concat)."""

    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        same = [p for p in b.past if p[1] == shape or (op == "Concat" and p[1][1:] == shape[1:])]
        other, (channels, *_) = same[int(b.rng.integers(len(same)))]
        if op == "Concat":
            return b.node("Concat", other, x, axis=1), (channels + shape[0], *shape[1:])
        return b.node(op, b.conv(x, shape[0], shape[0]), other), shape

    return block


def _shared(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    """One convolution on two levels."""
    c = shape[0]
    weights = b.const(b.rng.standard_normal((c, c, 3, 3)) / np.sqrt(9 * c))
    x = b.node("Relu", b.node("Conv", x, weights, pads=[1] * 4))
    return b.node("Conv", x, weights, pads=[1] * 4), shape


def _several(op: str) -> Block:
    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        c = shape[0]
        return b.node(
            op, x, b.node("Relu", b.conv(x, c, c)), b.const(np.full((1, c, 1, 1), 0.2)), x
        ), shape

    return block


def _masked(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    mask = b.const(b.rng.random(shape[1:]) < 0.5, np.bool_)
    return b.node("Where", mask, x, b.conv(x, shape[0], shape[0])), shape


def _reduced(op: str) -> Block:
    """Over the rows, the axis dropped and put back."""

    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        axis = b.const([2], np.int64)
        x = b.node("Mul", b.node(op, x, axis, keepdims=0), b.const(0.5))
        return b.node("Unsqueeze", x, axis), (shape[0], 1, shape[2])

    return block


def _cumulated(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    return b.node("CumSum", b.node("Mul", x, b.const(1 / shape[2])), b.const(3, np.int64)), shape


def _divided(op: str) -> Block:
    """The halves of the channels change places; or the channels of two groups are shuffled."""

    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        c, h, w = shape
        if c == 1 or (op == "Transpose" and c % 2):
            return x, shape
        if op == "Split":
            x = b.node("Split", x, b.const([c // 2, c - c // 2], np.int64), axis=1, outputs=2)
            return b.node("Concat", f"{x}1", x, axis=1), shape
        x = b.node("Reshape", x, b.const([0, 2, c // 2, h, w], np.int64))
        x = b.node("Transpose", x, perm=[0, 2, 1, 3, 4])
        return b.node("Reshape", x, b.const([0, c, h, w], np.int64)), shape

    return block


def _in_blocks(op: str, **attrs: Any) -> Block:
    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        c, h, w = shape
        if op == "DepthToSpace":
            if c % 4 or h * w > 60:
                return x, shape
            return b.node(op, x, blocksize=2, **attrs), (c // 4, 2 * h, 2 * w)
        return (
            (x, shape) if h % 2 or w % 2 else (b.node(op, x, blocksize=2), (4 * c, h // 2, w // 2))
        )

    return block


def _resized(mode: str) -> Block:
    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        c, h, w = shape
        if h * w > 60:
            return x, shape
        return b.node("Resize", x, "", b.const([1, 1, 2, 1.5], np.float32), mode=mode), (
            c,
            2 * h,
            int(1.5 * w),
        )

    return block


def _expanded(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    """Image-level pooling, spread over the image again."""
    y = b.node("Expand", b.node("GlobalAveragePool", x), b.const([1, 1, *shape[1:]], np.int64))
    return b.node("Concat", x, y, axis=1), (2 * shape[0], *shape[1:])


def _tiled(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    return b.node("Tile", x, b.const([1, 1, 2, 1], np.int64)), (shape[0], 2 * shape[1], shape[2])


def _summed_products(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    c = shape[0]
    weights = b.const(b.rng.standard_normal((c, 4)) / np.sqrt(c))
    return b.node("Einsum", x, weights, equation="nchw,cd->ndhw"), (4, *shape[1:])


def _inception(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    """A max-pool behind a Concat of activations and of a pool."""
    c, h, w = shape
    same: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1] * 4}
    one = b.node("Clip", b.conv(x, c, 2, 1), b.const(-0.5), b.const(1.5))
    other = b.node("MaxPool", b.node("Relu", b.conv(x, c, 2)), **same)
    return b.node("MaxPool", b.node("Concat", one, other, axis=1), **same), (4, h, w)


def _slopes(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    return b.node(
        "PRelu", b.conv(x, shape[0], shape[0]), b.const(b.rng.uniform(-0.2, 0.5, (shape[0], 1, 1)))
    ), shape


def _after_conv(op: str, *values: Any, **attrs: Any) -> Block:
    """A convolution and then an operator with constants, or an analog one."""

    def block(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
        return b.node(op, b.conv(x, shape[0], shape[0]), *map(b.const, values), **attrs), shape

    return block


def _gate(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    """Squeeze and excite."""
    squeezed = b.node("Relu", b.conv(b.node("GlobalAveragePool", x), shape[0], 2, 1))
    return b.node("Mul", x, b.node("Sigmoid", b.conv(squeezed, 2, shape[0], 1))), shape


def _attention(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    """Of the rows of each channel to one another."""
    scores = b.node(
        "MatMul", x, b.node("Transpose", b.conv(x, shape[0], shape[0]), perm=[0, 1, 3, 2])
    )
    return b.node("MatMul", b.node("Softmax", scores, axis=-1), x), shape


BLOCKS: dict[str, Block] = {
    "relu": _plain("Relu"),
    "clip": _clip6,
    "conv": _any_conv,
    "deconv": _any_deconv,
    "matmul right": _matmul_right,
    "matmul left": _matmul_left,
    "gemm": _dense("Gemm"),
    "gemm transB": _dense("Gemm", transposed=True),
    "matmul shortcut": _dense("MatMul"),
    "add shortcut": _branches("Add", first=True),
    "sub shortcut": _branches("Sub", first=True),
    "add branches": _branches("Add", first=False),
    "sub branches": _branches("Sub", first=False),
    "concat": _branches("Concat", first=True),
    "mul": _with_constant("Mul"),
    "mul channels": _with_constant("Mul", per_channel=True, swapped=True),
    "div": _with_constant("Div", per_channel=True),
    "add": _with_constant("Add", per_channel=True),
    "sub": _with_constant("Sub"),
    "constant minus": _with_constant("Sub", per_channel=True, swapped=True),
    "negate": _plain("Neg"),
    "batch norm": lambda b, x, shape: (b.batch_norm(x, shape[0]), shape),
    "max pool": _pool("MaxPool"),
    "average pool": _pool("AveragePool"),
    "global max": _pool("GlobalMaxPool"),
    "global average": _pool("GlobalAveragePool"),
    "squeeze": _squeezed,
    "reshape": _reshaped,
    "reshape by shape": _reshaped_by_shape,
    "slice channels": _slice(1),
    "slice rows": _slice(2),
    "gather channels": _gather(1),
    "gather columns": _gather(3),
    "pad channels": _padded(1),
    "pad rows": _padded(2),
    "transpose": _turned,
    "add earlier": _shortcut("Add"),
    "concat earlier": _shortcut("Concat"),
    "shared conv": _shared,
    "sum": _several("Sum"),
    "mean": _several("Mean"),
    "where": _masked,
    "reduce mean": _reduced("ReduceMean"),
    "reduce sum": _reduced("ReduceSum"),
    "cumsum": _cumulated,
    "split": _divided("Split"),
    "shuffle": _divided("Transpose"),
    "depth to space": _in_blocks("DepthToSpace"),
    "depth to space, columns first": _in_blocks("DepthToSpace", mode="CRD"),
    "space to depth": _in_blocks("SpaceToDepth"),
    "resize nearest": _resized("nearest"),
    "resize linear": _resized("linear"),
    "expand": _expanded,
    "tile": _tiled,
    "einsum": _summed_products,
    "inception": _inception,
    "prelu": _slopes,
    "leaky relu": _after_conv("LeakyRelu", alpha=0.2),
    "clip to both sides": _after_conv("Clip", -0.7, 0.9),
    "clip above": _after_conv("Clip", -np.inf, 0.9),
    "min": _after_conv("Min", 0.5),
    "max": _after_conv("Max", -0.2),
    "sigmoid": _after_conv("Sigmoid"),
    "softmax": _after_conv("Softmax", axis=1),
    "hard swish": _after_conv("HardSwish"),
    "lrn": _after_conv("LRN", size=3),
    "gate": _gate,
    "attention": _attention,
    "identity": _plain("Identity"),
    "dropout": _plain("Dropout"),
}


def _noisy(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    return b.node("Add", x, b.node("RandomNormalLike", x)), shape


def _counted(b: Builder, x: str, shape: Shape) -> tuple[str, Shape]:
    active = b.node("Cast", b.node("Shape", b.node("NonZero", x)), to=1)
    return b.node("Div", x, b.node("ReduceMax", active)), shape


REFUSED_BLOCKS: dict[str, Block] = {"noise": _noisy, "non-zeros": _counted}
"""Blocks with an operator that cannot run between neurons."""
