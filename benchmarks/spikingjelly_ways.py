"""Our thresholds as SpikingJelly's twin of a network takes them."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

import onnx2snn
from onnx2snn.snn.neurons import neuron_nodes

Array = NDArray[np.float32]


def thresholds_of(conversion: onnx2snn.Conversion) -> dict[str, Array]:
    """Return a threshold a channel, in ANN units, by the name of the ANN's activation."""
    proto = conversion.model
    source = {n["name"]: n["source"] for n in onnx2snn.SpikingSession(proto).neurons}
    return {source[node.name]: _scale(node) for node in neuron_nodes(proto.graph.node)}


def _scale(node: onnx.NodeProto) -> Array:
    """Return a neuron's threshold in ANN units, one a channel."""
    (scale,) = [a.t for a in node.attribute if a.name == "scale"]
    return np.asarray(numpy_helper.to_array(scale)).ravel()
