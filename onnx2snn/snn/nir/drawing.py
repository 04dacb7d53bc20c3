"""A network of one time-step -> the sketch of its NIR graph, node by node.

Behind the last neurons stands what the ANN makes of their means. As far as it is linear it is in
the graph; the rest is left to the host, and named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.snn.nir.network import Network
from onnx2snn.snn.nir.place import Drawing, Place
from onnx2snn.snn.nir.rules import said
from onnx2snn.snn.nir.sketch import Shape, Signal, Sketch


@dataclass(frozen=True)
class Drawn:
    """A sketch with inputs and outputs, and the nodes that it leaves to the host."""

    sketch: Sketch
    left: tuple[str, ...]


def draw(network: Network, shapes: Mapping[str, Shape], bias_steps: int | None) -> Drawn:
    """Return the sketch of a network.

    Args:
        network: What one time-step computes.
        shapes: The shapes of a sample of its tensors.
        bias_steps: T, where initial potentials become biases of v(0) / T.

    Raises:
        UnsupportedGraphError: NIR has no equal of a node before the last neurons.
    """
    drawing = Drawing(network.constants, shapes, network.readers(), bias_steps)
    for name in network.inputs:
        shape = shapes[name]
        fields = {"input_type": {"input": np.array(shape)}}
        source = drawing.sketch.add(name, "Input", fields)
        drawing.signals[name] = Signal.of([source], shape)
    left = []
    for node in network.nodes:
        made = node.output[0]
        try:
            drawing.signals[made] = said(Place(node, drawing))
        except UnsupportedGraphError:
            if made not in network.readout:
                raise
            left.append(node)
    wanted = list(network.outputs.values())
    for node in left:
        wanted += node.input
    for name in dict.fromkeys(wanted):
        if name in drawing.signals:
            _end(drawing, name)
    names = tuple(node.name for node in left)
    return Drawn(drawing.sketch, names)


def _end(drawing: Drawing, name: str) -> None:
    """Add the output that a tensor is."""
    signal = drawing.sketch.single(drawing.signals[name], name)
    fields = {"output_type": {"output": np.array(signal.shape)}}
    drawing.sketch.add(name, "Output", fields, signal.sources)
