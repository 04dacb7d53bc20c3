"""Networks that NIR can say: average pools in place of max-pools, one or two spatial axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from helpers.networks import Builder


def conv1d(b: Builder, x: str, cin: int, cout: int, kernel: int, **attrs: Any) -> str:
    weight = b.rng.standard_normal((cout, cin, kernel)) * np.sqrt(2.0 / (cin * kernel))
    bias = b.rng.standard_normal(cout) * 0.1
    return b.node("Conv", x, b.const(weight), b.const(bias), **attrs)


def cnn_1d(seed: int = 0) -> onnx.ModelProto:
    """Conv, pool, Conv, global pool, Gemm along one axis; input [batch,2,16]."""
    b = Builder(seed)
    x = b.input("input", ["batch", 2, 16])
    x = b.node("Relu", conv1d(b, x, 2, 6, 3, pads=[1, 1]), name="c1")
    x = b.node("AveragePool", x, kernel_shape=[2], strides=[2])
    x = b.node("Relu", conv1d(b, x, 6, 8, 3, pads=[2, 0], strides=[2]), name="c2")
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    b.name_output(b.gemm(x, 8, 4), "logits")
    return b.model({"logits": ["batch", 4]})


def vgg_of_averages(seed: int = 0) -> onnx.ModelProto:
    """Conv and average pool twice, two Gemm; input [batch,1,8,8]."""
    b = Builder(seed)
    x = b.input("input", ["batch", 1, 8, 8])
    x = b.node("Relu", b.conv(x, 1, 6), name="c1")
    x = b.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.node("Relu", b.conv(x, 6, 8, group=2), name="c2")
    x = b.node("Flatten", b.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]))
    b.name_output(b.gemm(b.node("Relu", b.gemm(x, 32, 12), name="d1"), 12, 4), "logits")
    return b.model({"logits": ["batch", 4]})


def resnet_of_averages(seed: int = 0) -> onnx.ModelProto:
    """Two kinds of shortcut, asymmetric padding, global pool; input [batch,2,8,8]."""
    b = Builder(seed)
    x = b.input("input", ["batch", 2, 8, 8])
    x = b.node("Relu", b.batch_norm(b.conv(x, 2, 6, bias=False), 6), name="stem")
    y = b.node("Relu", b.conv(x, 6, 6), name="a1")
    x = b.node("Relu", b.node("Add", b.conv(y, 6, 6), x), name="a2")
    y = b.node("Relu", b.conv(x, 6, 8, strides=[2, 2], pads=[0, 0, 1, 1]), name="b1")
    short = b.conv(x, 6, 8, 1, strides=[2, 2])
    x = b.node("Relu", b.node("Add", b.conv(y, 8, 8), short), name="b2")
    x = b.node("Flatten", b.node("GlobalAveragePool", x))
    b.name_output(b.gemm(x, 8, 5), "logits")
    return b.model({"logits": ["batch", 5]})
