"""Activations between weighted operators -> Relu and Clip(0, u), the ones that fire, and linear operators.

Each rule is an identity of functions, so the ANN computes what it computed; a node no rule fits is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import (
    add_node,
    constant,
    drop,
    is_output,
    keeps_shape,
    make_constant,
    names_in,
    producer,
    rank,
    unique_name,
    variable,
)
from onnx2snn.graph.flow import between_weights
from onnx2snn.graph.operators import clip_bounds
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.protos.nodes import standard

INFINITY = float("inf")
MINUS = np.asarray(-1.0)


def bound(graph: Graph) -> None:
    """Max and Min with a constant number -> Clip, and a Clip behind a Clip -> one: min(max(x, a), b) = clip(x, a, b).

    Cases: a < b; the Clip inside feeds nothing else. The graph is changed, between weighted operators only.
    """
    inside = between_weights(list(graph.nodes))
    for node in [n for n in graph.nodes if n.name in inside and standard(n)]:
        if node.op in ("Max", "Min"):
            _as_clip(graph, node)
        if node.op == "Clip":
            _merge(graph, node)


def _as_clip(graph: Graph, node: Node) -> None:
    split = _with_constant(node)
    if split is None or split[1].size != 1:
        return
    x, value = split
    ends = (-INFINITY, INFINITY)
    low, high = (value.item(), ends[1]) if node.op == "Max" else (ends[0], value.item())
    _set_clip(graph, node, x, low, high)


def _with_constant(node: Node) -> tuple[Tensor, Array] | None:
    """The operands of a Max or Min of a floating-point tensor and a constant that keeps its shape."""
    if len(node.inputs) != 2:
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        value = constant(other)
        if value is not None and constant(x) is None and np.issubdtype(value.dtype, np.floating):
            return (x, value) if keeps_shape(x, value) else None
    return None


def _set_clip(graph: Graph, node: Node, x: Tensor, low: float, high: float) -> None:
    if (low, high) == (0.0, INFINITY):
        node.op, node.attrs, node.inputs = "Relu", {}, [x]
        return
    taken = names_in(graph)
    bounds = [
        make_constant(
            unique_name(taken, f"{node.name}/{label}"), np.asarray(value, x.dtype or np.float32)
        )
        for label, value in (("low", low), ("high", high))
    ]
    node.op, node.attrs = "Clip", {}
    node.inputs = [x, *bounds]


def scalar_bounds(node: Node) -> tuple[float, float] | None:
    """a and b of a Clip with constant bounds a < b, or None."""
    low, high = clip_bounds(node)
    if (
        low is None
        or high is None
        or low.size != 1
        or high.size != 1
        or not low.item() < high.item()
    ):
        return None
    return float(low.item()), float(high.item())


def _merge(graph: Graph, node: Node) -> None:
    inner = producer(node.inputs[0])
    if inner is None or not standard(inner) or inner.op not in ("Clip", "Relu"):
        return
    if len(inner.outputs[0].outputs) != 1 or is_output(graph, inner.outputs[0]):
        return
    first = (0.0, INFINITY) if inner.op == "Relu" else scalar_bounds(inner)
    second = scalar_bounds(node)
    if first is None or second is None:
        return
    low, high = max(first[0], second[0]), min(first[1], second[1])
    if low < high:
        _set_clip(graph, node, inner.inputs[0], low, high)
        drop(graph, inner)


def split(graph: Graph, sources: dict[str, str]) -> None:
    """Apply the rules to every activation between weighted operators; the graph is changed.

    `sources` gets the ANN node of every neuron named otherwise than the node it came from.
    """
    inside = between_weights(list(graph.nodes))
    for node in [n for n in graph.nodes if n.name in inside and standard(n)]:
        rule = RULES.get(node.op)
        if rule is not None:
            rule(_Work(graph, node, sources))


class _Work:
    """One activation being replaced: new nodes take names derived from its own."""

    def __init__(self, graph: Graph, node: Node, sources: dict[str, str]) -> None:
        self.graph, self.node, self.sources = graph, node, sources
        self.taken = names_in(graph) - {node.name}
        self.out = node.outputs[0]
        self.dtype = node.inputs[0].dtype or np.float32

    def start(self) -> None:
        """Take the old node out."""
        drop(self.graph, self.node)

    def apply(
        self, op: str, label: str, x: Tensor, *others: Array, out: Tensor | None = None
    ) -> Tensor:
        """Append op(x, constants). The label "" is the node's own name."""
        name = unique_name(self.taken, f"{self.node.name}/{label}" if label else self.node.name)
        target = (
            variable(unique_name(self.taken, f"{name}_out"), like=self.out) if out is None else out
        )
        fixed = [
            make_constant(unique_name(self.taken, f"{name}/constant"), o.astype(self.dtype))
            for o in others
        ]
        add_node(self.graph, op, name, [x, *fixed], [target])
        return target

    def add(self, label: str, x: Tensor, y: Tensor) -> None:
        """Append the sum that is the old node's output."""
        add_node(
            self.graph,
            "Add",
            unique_name(self.taken, f"{self.node.name}/{label}"),
            [x, y],
            [self.out],
        )

    def fire(
        self, label: str, z: Tensor, upper: float = INFINITY, out: Tensor | None = None
    ) -> Tensor:
        """clip(z, 0, upper): what becomes a neuron."""
        bounds = () if upper == INFINITY else (np.asarray(0.0), np.asarray(upper))
        fired = self.apply("Clip" if bounds else "Relu", label, z, *bounds, out=out)
        if label:
            name = self.graph.nodes[-1].name
            self.sources[name] = self.sources.get(self.node.name, self.node.name)
        return fired


def _clip(work: _Work) -> None:
    """clip(z, a, b) = a + clip(z - a, 0, b - a), and without a lower bound b - relu(b - z).

    The constant stays an Add: in a bias behind a zero padding it would be wrong at the borders.
    """
    bounds = scalar_bounds(work.node)
    if bounds is None or bounds[0] == 0:
        return
    if np.isinf(bounds).all():
        work.node.op, work.node.inputs = "Identity", work.node.inputs[:1]
        return
    low, high = bounds
    z = work.node.inputs[0]
    work.start()
    if np.isfinite(low):
        fired = work.fire("", work.apply("Add", "shift", z, np.asarray(-low)), high - low)
        work.apply("Add", "shift_back", fired, np.asarray(low), out=work.out)
    else:
        _at_most(work, z, np.asarray(high))


def _at_most(work: _Work, z: Tensor, high: Array) -> None:
    fired = work.fire("", work.apply("Add", "shift", work.apply("Mul", "negate", z, MINUS), high))
    work.apply(
        "Add", "shift_back", work.apply("Mul", "negate_back", fired, MINUS), high, out=work.out
    )


def _max(work: _Work) -> None:
    """max(z, c) = relu(z - c) + c, c a constant tensor."""
    operands = _with_constant(work.node)
    if operands is not None:
        z, low = operands
        work.start()
        work.apply(
            "Add",
            "shift_back",
            work.fire("", work.apply("Add", "shift", z, -low)),
            low,
            out=work.out,
        )


def _min(work: _Work) -> None:
    """min(z, c) = c - relu(c - z), c a constant tensor."""
    operands = _with_constant(work.node)
    if operands is not None:
        work.start()
        _at_most(work, *operands)


def _leaky(work: _Work) -> None:
    """leakyrelu(z) = relu(z) - α relu(-z)."""
    _two_neurons(work, np.asarray(work.node.attrs.get("alpha", 0.01)))


def _prelu(work: _Work) -> None:
    """prelu(z) = relu(z) - α relu(-z), α a constant tensor."""
    slope = constant(work.node.inputs[1])
    if slope is not None and keeps_shape(work.node.inputs[0], slope):
        _two_neurons(work, slope)


def _two_neurons(work: _Work, slope: Array) -> None:
    z = work.node.inputs[0]
    work.start()
    if np.all(slope == 0):
        work.fire("", z, out=work.out)
        return
    positive = work.fire("", z)
    negative = work.fire("negative", work.apply("Mul", "negate", z, MINUS))
    work.add("sum", positive, work.apply("Mul", "slope", negative, -slope))


def _thresholded(work: _Work) -> None:
    """Relu, where the threshold is 0; any other makes a function that jumps, which no neuron has."""
    if work.node.attrs.get("alpha", 1.0) == 0:
        work.node.op, work.node.attrs = "Relu", {}


CONDITIONS = {
    "Relu": "",
    "Clip": "constant bounds",
    "Max": "with a constant",
    "Min": "with a constant",
    "LeakyRelu": "two neurons each",
    "PRelu": "constant slopes; two neurons each",
    "ThresholdedRelu": "a threshold of 0",
}
"""The activations that fire, and under which condition."""

RULES: dict[str, Callable[[_Work], None]] = {
    "Clip": _clip,
    "Max": _max,
    "Min": _min,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "ThresholdedRelu": _thresholded,
}


def is_monotone(node: Node) -> bool:
    """Whether an activation is non-decreasing, and the same along all axes but that of the channels (axis 1)."""
    if not standard(node):
        return False
    test: Callable[[Node], Any] | None = _MONOTONE.get(node.op)
    return test is not None and bool(test(node))


def keeps_zero(node: Node) -> bool:
    """Whether a monotone activation maps 0 to 0."""
    bounds = scalar_bounds(node) if node.op == "Clip" else None
    return bounds is None or bounds[0] <= 0 <= bounds[1]


def is_uniform(node: Node) -> bool:
    """Whether a monotone activation treats all channels alike."""
    slope = constant(node.inputs[1]) if node.op == "PRelu" else None
    return slope is None or slope.size == 1


def _rising_slopes(node: Node) -> bool:
    slope, ndim = constant(node.inputs[1]), rank(node.inputs[0])
    if slope is None or ndim is None or np.any(slope < 0):
        return False
    per_axis = (1,) * (ndim - slope.ndim) + slope.shape
    return all(size == 1 for axis, size in enumerate(per_axis) if axis != 1)


_MONOTONE: dict[str, Callable[[Node], Any]] = {
    "Relu": lambda node: True,
    "Clip": scalar_bounds,
    "LeakyRelu": lambda node: node.attrs.get("alpha", 0.01) >= 0,
    "PRelu": _rising_slopes,
}
