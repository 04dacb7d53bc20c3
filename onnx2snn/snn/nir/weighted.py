"""Rules for operators with weights: Conv to Conv1d and Conv2d; Gemm and MatMul to Affine, Linear.

Factors of the channels that are read go into the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.snn.nir.kernels import Kernel, dense, even_kernel
from onnx2snn.snn.nir.place import Place
from onnx2snn.snn.nir.sketch import Signal, convolution_fields


def convolution(place: Place) -> Signal:
    """Conv with constant weights along one or two axes."""
    weight = place.constant(1)
    if weight is None:
        raise place.refusal("its weights are not constant, and NIR has constant weights alone")
    axes = weight.ndim - 2
    if axes not in (1, 2):
        raise place.refusal(f"it acts along {axes} axes, and NIR has convolutions along 1 and 2")
    ones = [1] * axes
    stride = list(place.attribute("strides", ones))
    dilation = list(place.attribute("dilations", ones))
    groups = place.attribute("group", 1)
    whole = dense(weight, groups)
    kernel = _kernel(place, whole, stride, dilation)
    bias = _bias(place, 2, len(weight))
    signal = place.sketch.without_offset(place.signal(), place.node.name)
    # W (f x) = (W f) x, one factor f a channel that is read
    columns = signal.factor.reshape(1, -1, *[1] * axes)
    scaled = (kernel.weight * columns).astype(np.float32)
    fields: dict[str, Any] = {"weight": scaled, "bias": bias}
    fields |= convolution_fields(signal.shape[1:], stride, kernel.padding, dilation)
    return place.made(f"Conv{axes}d", fields, signal)


def _kernel(place: Place, weight: Array, stride: list[int], dilation: list[int]) -> Kernel:
    """Return weights and padding as NIR takes them, or refuse."""
    axes = weight.ndim - 2
    taps = weight.shape[2:]
    no_pads = [0] * 2 * axes
    pads = list(place.attribute("pads", no_pads))
    automatic = place.attribute("auto_pad", b"NOTSET")
    if automatic.startswith(b"SAME"):
        sizes = place.signal().shape[1:]
        pads = _same_pads(sizes, taps, stride, dilation)
    begin = pads[:axes]
    end = pads[axes:]
    if automatic == b"SAME_LOWER":
        begin, end = end, begin
    kernel = even_kernel(weight, begin, end, dilation)
    if kernel is None:
        raise place.refusal(
            f"its kernel of {list(taps)} with padding {pads} is no square one with the "
            "same padding at both ends, which `nir` asks for; make it one in the ANN"
        )
    return kernel


def _same_pads(
    sizes: tuple[int, ...], taps: tuple[int, ...], stride: list[int], dilation: list[int]
) -> list[int]:
    """Return the padding of SAME_UPPER: before each axis, then behind each."""
    begin, end = [], []
    for size, count, step, distance in zip(sizes, taps, stride, dilation, strict=True):
        # as many windows as steps fit, the last one begun counted
        windows = -(-size // step)
        last = (windows - 1) * step
        extent = (count - 1) * distance + 1
        total = max(last + extent - size, 0)
        smaller = total // 2
        begin.append(smaller)
        end.append(total - smaller)
    return begin + end


def _bias(place: Place, index: int, channels: int) -> Array:
    """Return the bias of a convolution, zeros where it has none."""
    if not place.has(index):
        return np.zeros(channels, np.float32)
    bias = place.constant(index)
    if bias is None:
        raise place.refusal("its bias is not constant, and NIR has constant biases alone")
    return bias.astype(np.float32)


def gemm(place: Place) -> Signal:
    """Gemm of a vector and constant weights."""
    weight = place.constant(1)
    turned = place.attribute("transA", 0)
    if weight is None or turned:
        raise place.refusal("NIR has products of a vector with constant weights alone")
    if not place.attribute("transB", 0):
        weight = weight.T
    alpha = place.attribute("alpha", 1.0)
    rows = weight * alpha
    if not place.has(2):
        return _product(place, rows, None)
    bias = None
    added = place.constant(2)
    if added is not None:
        bias = place.per_channel(added, place.shape)
    if bias is None:
        raise place.refusal("its bias is not one constant an output, as NIR has it")
    beta = place.attribute("beta", 1.0)
    return _product(place, rows, bias * beta)


def matmul(place: Place) -> Signal:
    """MatMul of a vector and constant weights of two axes."""
    weight = place.constant(1)
    vector = len(place.shape) == 1
    if weight is None or weight.ndim != 2 or not vector:
        raise place.refusal("NIR has products of a vector with a constant matrix alone")
    return _product(place, weight.T, None)


def _product(place: Place, weight: Array, bias: Array | None) -> Signal:
    """Return W x, or W x + b, for weights [out, in]."""
    signal = place.sketch.without_offset(place.signal(), place.node.name)
    # W (f x) = (W f) x
    fields = {"weight": (weight * signal.factor).astype(np.float32)}
    if bias is None:
        return place.made("Linear", fields, signal)
    fields["bias"] = bias.astype(np.float32)
    return place.made("Affine", fields, signal)
