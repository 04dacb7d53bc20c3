"""The rule for neurons: IF with r 1 and threshold 1, what NIR has no argument for as metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.snn.nir.place import Place
from onnx2snn.snn.nir.sketch import Signal


def integrate_and_fire(place: Place) -> Signal:
    """IF. NIR's own has the same threshold and resistance, and says nothing of v(0).

    NIR resets to v_reset; here a spike takes the threshold away, which `reset` in the metadata
    says. Metadata `v_init` is the initial potential.
    """
    initial = _tensor(place, "v_init")
    told: dict[str, Any] = {"reset": "subtract", "v_init": _told(place, initial)}
    signal = place.signal()
    steps = place.drawing.bias_steps
    if steps is not None:
        bias = place.per_channel(initial, place.shape)
        if bias is None:
            raise place.refusal(
                "its initial potentials differ within a channel, and biases of NIR do not; "
                "leave --start-bias out"
            )
        each = bias / steps
        signal = signal.shifted(each)
        told |= {"v_init": 0.0, "start_bias": _short(each), "timesteps": steps}
    plain = place.sketch.plain(signal, place.node.name)
    ones = np.ones(place.shape, np.float32)
    zeros = np.zeros_like(ones)
    fields = {"r": ones, "v_threshold": ones, "v_reset": zeros}
    scale = _tensor(place, "scale")
    told |= {"scale": _told(place, scale), "spikes": place.node.output[0]}
    name = place.sketch.add(place.node.name, "IF", fields, plain.sources, told)
    return Signal.of([name], place.shape)


def _tensor(place: Place, name: str) -> Array:
    """Return an attribute that every neuron has as it was converted (UnsupportedGraphError)."""
    found = place.attribute(name)
    if not isinstance(found, TensorProto):
        raise place.refusal(f"it has no attribute '{name}'; export the file as it was converted")
    return numpy_helper.to_array(found)


def _told(place: Place, values: Array) -> float | Array:
    """Return one number where all neurons have the same, else one a channel, else one a neuron."""
    channels = place.per_channel(values, place.shape)
    if channels is not None:
        return _short(channels)
    whole = np.broadcast_to(values, (1, *place.shape))
    return np.array(whole[0], np.float32)


def _short(channels: Array) -> float | Array:
    """Return one number a channel, or one where all are the same."""
    first = channels[0]
    if (channels == first).all():
        return float(first)
    return channels
