"""A NIR graph in the making: nodes with their parameters, edges, and what tensors are made of.

A tensor of the step graph is told as factor * (sum of NIR nodes) + offset, with one factor and one
offset for each channel. They go on into the weights that read the tensor, or back into those that
made it; only where neither can be they become a node, a convolution with a kernel of one element.
All shapes are those of one sample: NIR has no batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.snn.nir.kernels import diagonal

Shape = tuple[int, ...]

WEIGHTED_KINDS = ("Conv1d", "Conv2d", "Affine", "Linear")
"""Classes of NIR that have weights."""


@dataclass
class NirNode:
    """A node by the name of its class, the arguments of that, and metadata."""

    kind: str
    fields: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Signal:
    """What a tensor is: factor * (sum of the sources) + offset.

    Attributes:
        sources: Names of NIR nodes.
        shape: The shape of a sample; channels come first.
        factor: One number a channel.
        offset: One number a channel.
        free: The sources that nothing else reads.
    """

    sources: tuple[str, ...]
    shape: Shape
    factor: Array
    offset: Array
    free: frozenset[str]

    @classmethod
    def of(cls, sources: Sequence[str], shape: Shape, free: frozenset[str] | None = None) -> Signal:
        """Return the sum of some nodes; unless told nothing else reads them."""
        ones = np.ones(shape[0], np.float32)
        unread = frozenset(sources) if free is None else free
        return cls(tuple(sources), shape, ones, np.zeros_like(ones), unread)

    def scaled(self, factor: Array | float) -> Signal:
        """Return factor * self."""
        return replace(self, factor=self.factor * factor, offset=self.offset * factor)

    def shifted(self, offset: Array) -> Signal:
        """Return self + offset."""
        return replace(self, offset=self.offset + offset)

    @property
    def has_factor(self) -> bool:
        """Whether its factor is not 1."""
        return bool((self.factor != 1).any())

    @property
    def has_offset(self) -> bool:
        """Whether its offset is not 0."""
        return bool(self.offset.any())


class Sketch:
    """Nodes by name, in topological order, and edges."""

    def __init__(self) -> None:
        """Start empty."""
        self.nodes: dict[str, NirNode] = {}
        self.edges: list[tuple[str, str]] = []

    def add(
        self,
        name: str,
        kind: str,
        fields: Mapping[str, Any],
        sources: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a node that reads the sum of others.

        Args:
            name: What it is called in the step graph.
            kind: Its class in NIR.
            fields: The arguments of that class.
            sources: The nodes it reads.
            metadata: What the file tells of it beside its name.

        Returns:
            The name it got: letters, digits and underscores, which all readers take.
        """
        own = self._unused(name)
        self.nodes[own] = NirNode(kind, dict(fields), {"name": name, **(metadata or {})})
        self.edges += [(source, own) for source in sources]
        return own

    def _unused(self, name: str) -> str:
        wanted = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "node"
        if wanted[0].isdigit():
            wanted = f"n{wanted}"
        own = wanted
        count = 2
        while own in self.nodes:
            own = f"{wanted}_{count}"
            count += 1
        return own

    def plain(self, signal: Signal, name: str) -> Signal:
        """Return the same tensor with a factor of 1 and without an offset.

        Args:
            signal: The tensor.
            name: What a node is called that this takes.
        """
        if not signal.has_factor and not signal.has_offset:
            return signal
        if self._taken_in(signal):
            return Signal.of(signal.sources, signal.shape, signal.free)
        return self._beside(signal, name)

    def without_offset(self, signal: Signal, name: str) -> Signal:
        """Return the same tensor without an offset, for a reader that takes factors in."""
        return self.plain(signal, name) if signal.has_offset else signal

    def single(self, signal: Signal, name: str) -> Signal:
        """Return a plain tensor that one node makes: no reader need add up."""
        plain = self.plain(signal, name)
        return plain if len(plain.sources) == 1 else self._beside(plain, name)

    def added(self, one: Signal, other: Signal, name: str) -> Signal:
        """Return a sum of two tensors: edges into the same reader."""
        left = self.plain(one, name)
        right = self.plain(other, name)
        if set(left.sources) & set(right.sources):
            # NIR has no two edges between the same nodes
            right = self._beside(right, name)
        return Signal.of(left.sources + right.sources, left.shape, left.free | right.free)

    def _open_weights(self, signal: Signal) -> list[NirNode]:
        """Return the sources with weights that nothing else reads."""
        free = [self.nodes[source] for source in signal.sources if source in signal.free]
        return [node for node in free if node.kind in WEIGHTED_KINDS]

    def _taken_in(self, signal: Signal) -> bool:
        """Put factor and offset into the weights that make a tensor; return whether they went in.

        f (W x + V y) + o = ((f W) x + o) + (f V) y
        """
        takers = self._open_weights(signal)
        if not takers or (signal.has_factor and len(takers) < len(signal.sources)):
            return False
        if signal.has_factor:
            for node in takers:
                _scale(node, signal.factor)
        if signal.has_offset:
            _shift(takers[0], signal.offset)
        return True

    def _beside(self, signal: Signal, name: str) -> Signal:
        """Add a node that multiplies each channel by its factor and adds its offset."""
        sizes = signal.shape[1:]
        fields: dict[str, Any] = {
            "weight": diagonal(signal.factor, len(sizes)),
            "bias": signal.offset.astype(np.float32),
        }
        kind = "Affine"
        if sizes:
            kind = f"Conv{len(sizes)}d"
            fields |= unit_steps(sizes)
        made = self.add(f"{name}/scale", kind, fields, signal.sources)
        return Signal.of([made], signal.shape)


def _scale(node: NirNode, factor: Array) -> None:
    """Multiply what weights make by one factor a channel."""
    weight = node.fields["weight"]
    rows = factor.reshape(-1, *[1] * (weight.ndim - 1))
    node.fields["weight"] = (weight * rows).astype(np.float32)
    if node.kind != "Linear":
        node.fields["bias"] = (node.fields["bias"] * factor).astype(np.float32)


def _shift(node: NirNode, offset: Array) -> None:
    """Add one number a channel to what weights make."""
    if node.kind == "Linear":
        node.kind = "Affine"
        node.fields["bias"] = np.zeros_like(offset)
    node.fields["bias"] = (node.fields["bias"] + offset).astype(np.float32)


def unit_steps(sizes: Sequence[int]) -> dict[str, Any]:
    """Return a convolution's arguments beside weights and bias: no padding, steps of 1."""
    ones = [1] * len(sizes)
    zeros = [0] * len(sizes)
    return convolution_fields(sizes, ones, zeros, ones)


def convolution_fields(
    sizes: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> dict[str, Any]:
    """Return a convolution's arguments beside weights and bias.

    Groups are written out: `nir` 1.0.8 derives the input's channels from the weights, and refuses
    a convolution in groups when it reads it.

    Args:
        sizes: Of the input's spatial axes, one or two.
        stride: One an axis.
        padding: One an axis, the same at both ends.
        dilation: One an axis.
    """
    fields: dict[str, Any] = {
        "input_shape": tuple(sizes),
        "stride": tuple(stride),
        "padding": tuple(padding),
        "dilation": tuple(dilation),
    }
    if len(sizes) == 1:
        # Conv1d has numbers
        for name, values in fields.items():
            fields[name] = values[0]
    fields["groups"] = 1
    return fields
