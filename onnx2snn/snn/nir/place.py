"""A node of the step graph at its turn: what a rule sees of it, and how it refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import NodeProto

from onnx2snn.aliases import Array
from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.protos.nodes import attribute
from onnx2snn.snn.nir.sketch import Shape, Signal, Sketch


@dataclass
class Drawing:
    """The NIR graph so far, and what is known of the step graph's tensors.

    Attributes:
        constants: Values of tensors that are constants.
        shapes: Shapes of a sample of all others.
        readers: How many times each is read.
        bias_steps: T, where initial potentials become biases of v(0) / T; else None.
        sketch: The nodes so far.
        signals: Tensors by name, told by these nodes.
    """

    constants: Mapping[str, Array]
    shapes: Mapping[str, Shape]
    readers: Counter[str]
    bias_steps: int | None = None
    sketch: Sketch = field(default_factory=Sketch)
    signals: dict[str, Signal] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """A node of the step graph, and the drawing that it is to be added to."""

    node: NodeProto
    drawing: Drawing

    @property
    def sketch(self) -> Sketch:
        """The NIR graph so far."""
        return self.drawing.sketch

    @property
    def shape(self) -> Shape:
        """The shape of a sample of the output."""
        return self.drawing.shapes[self.node.output[0]]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or the default where it is left out."""
        return attribute(self.node, name, default)

    def constant(self, index: int) -> Array | None:
        """Return an input that is a constant, or None."""
        if index >= len(self.node.input):
            return None
        return self.drawing.constants.get(self.node.input[index])

    def has(self, index: int) -> bool:
        """Return whether there is such an input."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def signal(self, index: int = 0) -> Signal:
        """Return an input that is no constant (UnsupportedGraphError)."""
        name = self.node.input[index]
        if name not in self.drawing.signals:
            raise self.refusal(f"its input '{name}' is computed in a way that NIR cannot say")
        signal = self.drawing.signals[name]
        if self.drawing.readers[name] > 1:
            signal = replace(signal, free=frozenset())
        return signal

    def refusal(self, reason: str) -> UnsupportedGraphError:
        """Return the error that names the node and says why."""
        return UnsupportedGraphError(self.node.name, self.node.op_type, reason)

    def add(
        self, kind: str, fields: Mapping[str, Any], sources: Sequence[str], name: str = ""
    ) -> str:
        """Add a NIR node, called as this one unless told, that reads the sum of others."""
        return self.sketch.add(name or self.node.name, kind, fields, sources)

    def made(self, kind: str, fields: Mapping[str, Any], signal: Signal) -> Signal:
        """Return the output, which one NIR node makes of a signal's sources."""
        source = self.add(kind, fields, signal.sources)
        return Signal.of([source], self.shape)

    def per_channel(self, values: Array, shape: Shape) -> Array | None:
        """Return one number a channel for values that broadcast to samples of a shape.

        None where values differ within a channel, or are those of a larger tensor.
        """
        whole = (1, *shape)
        if np.broadcast_shapes(values.shape, whole) != whole:
            return None
        spread = np.broadcast_to(values, whole)
        rows = spread.reshape(shape[0], -1)
        first = rows[:, :1]
        if (rows != first).any():
            return None
        return first.ravel().astype(np.float32)
