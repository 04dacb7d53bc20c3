"""Rules for operators that move no element within a sample: passed over, or Flatten."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from onnx import TensorProto

from onnx2snn.snn.nir.place import Place
from onnx2snn.snn.nir.sketch import Signal


def reshaped(place: Place) -> Signal:
    """Flatten, Reshape, Squeeze, Unsqueeze, and what changes nothing."""
    signal = place.signal()
    if place.shape == signal.shape:
        return signal
    return vector(place, signal)


def cast(place: Place) -> Signal:
    """Cast to a floating-point type of no less precision."""
    if place.attribute("to") not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise place.refusal("it rounds, and numbers of NIR are float32 throughout")
    return reshaped(place)


def vector(place: Place, signal: Signal) -> Signal:
    """Return a sample as a vector.

    The node says explicitly that it starts at axis 0: NIR has no batch, and its default is axis 1.
    """
    size = prod(signal.shape)
    if place.shape != (size,):
        raise place.refusal(
            f"it makes {list(place.shape)} of {list(signal.shape)}, and NIR makes vectors alone"
        )
    fields = {"input_type": {"input": np.array(signal.shape)}, "start_dim": 0, "end_dim": -1}
    source = place.add("Flatten", fields, signal.sources, f"{place.node.name}/flatten")
    # elements of a channel lie side by side
    each = size // signal.shape[0]
    flat = Signal.of([source], place.shape)
    return replace(flat, factor=signal.factor.repeat(each), offset=signal.offset.repeat(each))
