"""Rules for sums, and for products with constants: edges into one reader, factors and offsets."""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.snn.nir.place import Place
from onnx2snn.snn.nir.sketch import Signal


def add(place: Place) -> Signal:
    """Add and Sum of any number of tensors and constants."""
    return _sum(place, [1.0] * len(place.node.input))


def subtract(place: Place) -> Signal:
    """Sub."""
    return _sum(place, [1.0, -1.0])


def _sum(place: Place, signs: list[float]) -> Signal:
    """Return the sum of all inputs, each times its sign."""
    parts = []
    offset: Array = np.zeros(place.shape[0], np.float32)
    for index, sign in enumerate(signs):
        values = place.constant(index)
        if values is None:
            parts.append(place.signal(index).scaled(sign))
        else:
            offset = offset + sign * _channels(place, values)
    if any(part.shape != place.shape for part in parts):
        raise place.refusal("it adds tensors of different shapes, and edges of NIR do not")
    total = parts[0]
    for part in parts[1:]:
        total = place.sketch.added(total, part, place.node.name)
    return total.shifted(offset)


def negative(place: Place) -> Signal:
    """Neg."""
    return place.signal().scaled(-1.0)


def multiply(place: Place) -> Signal:
    """Mul by a constant: a factor for each channel; by one for each element a Scale."""
    values = place.constant(1)
    if values is not None:
        return _product(place, 0, values)
    values = place.constant(0)
    if values is not None:
        return _product(place, 1, values)
    raise place.refusal("it is a product of two tensors that vary, which NIR does not have")


def divide(place: Place) -> Signal:
    """Div by a constant."""
    values = place.constant(1)
    if values is None:
        raise place.refusal("it divides by a tensor that varies, which NIR does not have")
    return _product(place, 0, 1 / values)


def _product(place: Place, index: int, values: Array) -> Signal:
    signal = place.signal(index)
    if signal.shape != place.shape:
        raise place.refusal("it repeats a tensor along an axis, which NIR does not have")
    factor = place.per_channel(values, place.shape)
    if factor is not None:
        return signal.scaled(factor)
    plain = place.sketch.plain(signal, place.node.name)
    whole = (1, *place.shape)
    scale = np.broadcast_to(values, whole)[0]
    fields = {"scale": scale.astype(np.float32)}
    return place.made("Scale", fields, plain)


def batch_normalization(place: Place) -> Signal:
    """BatchNormalization: gamma (x - mean) / sqrt(var + epsilon) + beta."""
    given = [place.constant(index) for index in range(1, 5)]
    known = [values for values in given if values is not None]
    if len(known) < 4:
        raise place.refusal("its parameters are not constant")
    gamma, beta, mean, variance = known
    epsilon = place.attribute("epsilon", 1e-5)
    factor = gamma / np.sqrt(variance + epsilon)
    offset = beta - factor * mean
    scaled = place.signal().scaled(factor)
    return scaled.shifted(offset)


def _channels(place: Place, values: Array) -> Array:
    offset = place.per_channel(values, place.shape)
    if offset is None:
        raise place.refusal(
            "it adds another number to each element of a channel, and biases of NIR are "
            "one number a channel"
        )
    return offset
