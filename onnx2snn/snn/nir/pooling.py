"""Rules for sums and means over windows: SumPool2d, with 1/n as a factor; along one axis a Conv1d.

Factors of channels pass a window; offsets become a node before it.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from onnx2snn.snn.nir.kernels import diagonal
from onnx2snn.snn.nir.place import Place
from onnx2snn.snn.nir.shapes import vector
from onnx2snn.snn.nir.sketch import Shape, Signal, convolution_fields


def average_pool(place: Place) -> Signal:
    """AveragePool whose windows all have the same number of elements."""
    kernel = tuple(place.attribute("kernel_shape"))
    axes = len(kernel)
    no_pads = [0] * 2 * axes
    ones = [1] * axes
    pads = list(place.attribute("pads", no_pads))
    automatic = place.attribute("auto_pad", b"NOTSET")
    if automatic not in (b"NOTSET", b"VALID"):
        raise place.refusal("its padding is automatic; write it out in the ANN")
    dilation = place.attribute("dilations", ones)
    if max(dilation) > 1:
        raise place.refusal("its windows are dilated, and NIR's are not")
    counted = place.attribute("count_include_pad", 0)
    if any(pads) and not counted:
        raise place.refusal(
            "it leaves padding out of its means, so that they have no common divisor; "
            "give it count_include_pad=1, or no padding, in the ANN"
        )
    begin = tuple(pads[:axes])
    end = tuple(pads[axes:])
    if begin != end:
        raise place.refusal("its padding differs at both ends, and that of NIR does not")
    stride = tuple(place.attribute("strides", ones))
    return _windows(place, kernel, stride, begin, mean=True)


def global_average_pool(place: Place) -> Signal:
    """GlobalAveragePool: one window, as large as the input."""
    sizes = place.signal().shape[1:]
    return _whole(place, sizes, mean=True)


def reduce_mean(place: Place) -> Signal:
    """ReduceMean over all spatial axes."""
    return _reduced(place, mean=True)


def reduce_sum(place: Place) -> Signal:
    """ReduceSum over all spatial axes."""
    return _reduced(place, mean=False)


def _reduced(place: Place, *, mean: bool) -> Signal:
    sizes = place.signal().shape[1:]
    given = place.constant(1)
    named = place.attribute("axes", [])
    if given is not None:
        named = given.tolist()
    rank = 2 + len(sizes)
    axes = {axis % rank for axis in named}
    spatial = set(range(2, rank))
    if not sizes or axes != spatial:
        raise place.refusal("it does not go over all spatial axes, and NIR's pools do")
    pooled = _whole(place, sizes, mean=mean)
    if place.shape == pooled.shape:
        return pooled
    return vector(place, pooled)


def _whole(place: Place, sizes: Shape, *, mean: bool) -> Signal:
    """Return what one window, as large as the input, has."""
    no_padding = (0,) * len(sizes)
    return _windows(place, sizes, sizes, no_padding, mean=mean)


def _windows(place: Place, kernel: Shape, stride: Shape, pads: Shape, *, mean: bool) -> Signal:
    """Return the sums, or the means, over windows of a kernel's size."""
    if len(kernel) > 2:
        raise place.refusal(f"it acts along {len(kernel)} axes, and NIR has pools along 2")
    whole = place.signal().shape
    made = [whole[0]]
    for size, taps, step, pad in zip(whole[1:], kernel, stride, pads, strict=True):
        reach = size + 2 * pad - taps
        made.append(reach // step + 1)
    shape = tuple(made)
    same_rank = len(place.shape) == len(shape)
    if same_rank and place.shape != shape:
        raise place.refusal("its last windows reach beyond the padding, which NIR cannot say")
    signal = place.sketch.without_offset(place.signal(), place.node.name)
    if len(kernel) == 1:
        source = _sums_of_vectors(place, signal, kernel[0], stride, pads)
    else:
        fields = {
            "kernel_size": np.array(kernel),
            "stride": np.array(stride),
            "padding": np.array(pads),
        }
        source = place.add("SumPool2d", fields, signal.sources)
    sums = Signal.of([source], shape)
    total = sums.scaled(signal.factor)
    if not mean:
        return total
    return total.scaled(1 / prod(kernel))


def _sums_of_vectors(place: Place, signal: Signal, taps: int, stride: Shape, pads: Shape) -> str:
    """Add sums along one axis, which NIR has no pools for: each channel's convolution with ones."""
    channels = signal.shape[0]
    factors = np.ones(channels)
    one_tap = diagonal(factors, 1)
    weight = one_tap.repeat(taps, axis=2)
    bias = np.zeros(channels, np.float32)
    fields: dict[str, Any] = {"weight": weight, "bias": bias}
    fields |= convolution_fields(signal.shape[1:], stride, pads, (1,))
    return place.add("Conv1d", fields, signal.sources)
