"""Activations between weighted operators -> those that fire (Relu, Clip(0, u)) and linear
operators.

Each rule is an identity of functions, so the ANN computes what it computed; a node no rule fits is
left as it is. The rules, with c a constant tensor:

* Clip: clip(z, a, b) = a + clip(z - a, 0, b - a), and without a lower bound b - relu(b - z);
* Max: max(z, c) = relu(z - c) + c, and Min: min(z, c) = c - relu(c - z);
* LeakyRelu and PRelu: relu(z) - α relu(-z), two neurons each;
* clip(leakyrelu(z), a, b), α >= 0: clip(z, 0, b) - clip(-α z, 0, -a) for a < 0 < b, two neurons
  side by side, and clip(z, a, b) for a >= 0;
* ThresholdedRelu with a threshold of 0: relu(z).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.bounds import INFINITY, scalar_bounds
from onnx2snn.graph.dims import keeps_shape
from onnx2snn.graph.editing import Editor, constant, drop, is_output
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.clips import bounds_of, constant_operand
from onnx2snn.protos.nodes import standard

MINUS = np.asarray(-1.0)
ZERO = np.asarray(0.0)


def can_fire(node: Node) -> bool:
    """Return whether a node is an activation that fires, in the form the rules bring it into."""
    if not standard(node) or node.op not in CONDITIONS:
        return False
    if node.op == "Clip":
        return scalar_bounds(node) is not None
    if node.op in ("Max", "Min"):
        return constant_operand(node) is not None
    if node.op == "PRelu":
        slope = constant(node.inputs[1])
        return slope is not None and keeps_shape(node.inputs[0], slope)
    return node.op != "ThresholdedRelu" or node.attrs.get("alpha", 1.0) == 0


def split_activations(graph: Graph, candidates: set[str], sources: dict[str, str]) -> None:
    """Apply the rules to every activation that may fire; the graph is changed.

    Args:
        graph: The graph, which is changed.
        candidates: Names of the activations (`prepare.feeding`).
        sources: Gets the ANN node of every neuron named otherwise than the node it came from.
    """
    editor = Editor(graph)
    for node in list(graph.nodes):
        if node.name not in candidates or not standard(node):
            continue
        rule = RULES.get(node.op)
        # a Clip may have become part of the activation before it
        if rule is not None and node.outputs:
            rule(_Replacement(editor, node, sources))


class _Replacement:
    """One activation being replaced: new nodes take names derived from its own."""

    def __init__(self, editor: Editor, node: Node, sources: dict[str, str]) -> None:
        self.editor = editor
        self.node = node
        self.sources = sources
        self.z = node.inputs[0]
        self.out = node.outputs[0]
        self.dtype = self.z.dtype or np.float32

    def start(self) -> None:
        """Take the old node out."""
        drop(self.editor.graph, self.node)

    def apply(
        self, op: str, label: str, x: Tensor, *others: Array, out: Tensor | None = None
    ) -> Tensor:
        """Append op(x, constants) and return its output: `out`, or a new tensor.

        The label "" stands for the old node's own name.
        """
        name = self.node.name
        if label:
            name = self.editor.name(f"{name}/{label}")
        if out is None:
            out = self.editor.variable(f"{name}_out", like=self.out)
        label = f"{name}/constant"
        fixed = [self.editor.constant(label, value.astype(self.dtype)) for value in others]
        self.editor.append(op, name, [x, *fixed], [out])
        return out

    def fire(
        self, label: str, z: Tensor, upper: float = INFINITY, out: Tensor | None = None
    ) -> Tensor:
        """Append clip(z, 0, upper), the operator that becomes a neuron."""
        if upper == INFINITY:
            fired = self.apply("Relu", label, z, out=out)
        else:
            fired = self.apply("Clip", label, z, ZERO, np.asarray(upper), out=out)
        # under the old node's own name it is that node's neuron anyhow
        if label:
            neuron = self.editor.graph.nodes[-1].name
            origin = self.sources.get(self.node.name, self.node.name)
            self.sources[neuron] = origin
        return fired


def _clip(work: _Replacement) -> None:
    """clip(z, a, b) = a + clip(z - a, 0, b - a), and without a lower bound b - relu(b - z).

    The constant stays an Add: in a bias behind a zero padding it would be wrong at the borders.
    """
    bounds = scalar_bounds(work.node)
    if bounds is None:
        return
    low, high = bounds
    if low == 0:  # fires as it is
        return
    if low == -INFINITY and high == INFINITY:
        work.node.op = "Identity"
        work.node.inputs = [work.z]
        return
    work.start()
    if low == -INFINITY:
        _at_most(work, work.z, np.asarray(high))
    else:
        _raised(work, work.z, np.asarray(low), high - low)


def _max(work: _Replacement) -> None:
    """max(z, c) = relu(z - c) + c."""
    operands = constant_operand(work.node)
    if operands is not None:
        z, low = operands
        work.start()
        _raised(work, z, low)


def _min(work: _Replacement) -> None:
    """min(z, c) = c - relu(c - z)."""
    operands = constant_operand(work.node)
    if operands is not None:
        z, high = operands
        work.start()
        _at_most(work, z, high)


def _raised(work: _Replacement, z: Tensor, low: Array, upper: float = INFINITY) -> None:
    """Append clip(z - low, 0, upper) + low."""
    # the neuron fires for what lies above the bound, which is added again behind it
    shifted = work.apply("Add", "shift", z, -low)
    fired = work.fire("", shifted, upper)
    work.apply("Add", "shift_back", fired, low, out=work.out)


def _at_most(work: _Replacement, z: Tensor, high: Array) -> None:
    """Append high - relu(high - z)."""
    # high - z, by operators in canonical form: z (-1) + high
    negated = work.apply("Mul", "negate", z, MINUS)
    shifted = work.apply("Add", "shift", negated, high)
    fired = work.fire("", shifted)
    negated_back = work.apply("Mul", "negate_back", fired, MINUS)
    work.apply("Add", "shift_back", negated_back, high, out=work.out)


def _leaky(work: _Replacement) -> None:
    """leakyrelu(z) = relu(z) - α relu(-z)."""
    slope = np.asarray(work.node.attrs.get("alpha", 0.01))
    if not _clipped_leaky(work, slope):
        _two_neurons(work, slope)


def _prelu(work: _Replacement) -> None:
    """prelu(z) = relu(z) - α relu(-z), α a constant tensor."""
    slope = constant(work.node.inputs[1])
    if slope is None or not keeps_shape(work.z, slope):
        return
    if not _clipped_leaky(work, slope):
        _two_neurons(work, slope)


def _clipped_leaky(work: _Replacement, slope: Array) -> bool:
    """Take in the Clip behind a leakyrelu(z), if nothing else reads that; return whether it did.

    clip(leakyrelu(z), a, b) = clip(z, 0, b) - clip(-α z, 0, -a) for a < 0 < b, and clip(z, a, b)
    for a >= 0, both for α >= 0.
    """
    graph = work.editor.graph
    if is_output(graph, work.out) or len(work.out.outputs) != 1 or np.any(slope < 0):
        return False
    clip = work.out.outputs[0]
    bounds = bounds_of(clip)
    if bounds is None or bounds[1] <= 0:
        return False
    low, high = bounds
    if low >= 0:
        clip.inputs[0] = work.z
        work.start()
        return True
    out = clip.outputs[0]
    drop(graph, clip)
    work.start()
    positive = work.fire("", work.z, high)
    scaled = work.apply("Mul", "negate", work.z, -slope)
    negative = work.fire("negative", scaled, -low)
    turned = work.apply("Mul", "slope", negative, MINUS)
    work.editor.node("Add", f"{work.node.name}/sum", [positive, turned], [out])
    return True


def _two_neurons(work: _Replacement, slope: Array) -> None:
    work.start()
    # with no slope at all it is a Relu, which one neuron does
    if np.all(slope == 0):
        work.fire("", work.z, out=work.out)
        return
    positive = work.fire("", work.z)
    negated = work.apply("Mul", "negate", work.z, MINUS)
    negative = work.fire("negative", negated)
    # the slope is that of the negative side, which comes in as relu(-z): hence its sign
    scaled = work.apply("Mul", "slope", negative, -slope)
    work.editor.node("Add", f"{work.node.name}/sum", [positive, scaled], [work.out])


def _thresholded(work: _Replacement) -> None:
    """Relu, where the threshold is 0; with any other the function jumps, as no neuron's does."""
    if work.node.attrs.get("alpha", 1.0) == 0:
        work.node.op = "Relu"
        work.node.attrs = {}


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

RULES: dict[str, Callable[[_Replacement], None]] = {
    "Clip": _clip,
    "Max": _max,
    "Min": _min,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "ThresholdedRelu": _thresholded,
}
