"""The operators around neurons in front of weighted operators: how each is lowered.

s(t) is what arrives as spikes at step t and R(t) = R(t-1) + s(t); all states are 0 at the start.

DifferentialIF: the node stays, with the sum of what it sent as a state: R(t).
Accumulate: Z(t) = Z(t-1) + x(t); y(t) = Z(t) + b. With neurons that start at an estimate m of their
    input, in threshold units, e = y/λ - m - R, and b is the operator of m plus its bias.
SpikingProduct: P(t) = P(t-1) + a(t) B(t-1) + A(t) b(t), A(t) = A(t-1) + a(t), which is A(t) B(t);
    each term has one spiking operand.

Rate coding has means in place of sums; t, the number of steps, is a state as well. A RateIF takes
t y/θ, what it should have sent by now; Accumulate makes y(t) = Z(t)/t + b, and SpikingProduct
P(t)/t² = A(t)/t B(t)/t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import dims_of
from onnx2snn.graph.editing import detach, maker, producer, variable
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.starts import needs_map
from onnx2snn.protos.load import LoadedModel
from onnx2snn.rewrite.lowering import Lowering, dimension_names
from onnx2snn.rewrite.start_shifts import less_start
from onnx2snn.snn.differential import differential_attributes, splitter
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import ESTIMATING
from onnx2snn.snn.rate_if import rate_if_attributes
from onnx2snn.snn.stateful import ACCUMULATE, SPIKING_PRODUCT


@dataclass(frozen=True)
class Ladder:
    """What spikes can say.

    `octaves`: by site, the powers of two a spike can have; `digits`: spikes a neuron may send in
    the first step, `later_digits`: in each later one; `starts`: by site, the estimate before the
    first step in threshold units, per channel; sites without one start at 0; `at_once`: the spikes
    that tell all in the first step, by site that is constant in time.
    """

    octaves: Mapping[str, int]
    digits: int = 1
    later_digits: int = 1
    starts: Mapping[str, Array] = field(default_factory=dict)
    at_once: Mapping[str, int] = field(default_factory=dict)

    def first_digits(self, site: str) -> int:
        """Return the spikes that a neuron of a site may send in the first step."""
        return self.at_once.get(site, self.digits)

    @property
    def changes(self) -> bool:
        """Whether the first step has other digits than the later ones."""
        return self.digits != self.later_digits


@dataclass(frozen=True)
class Levels:
    """What spikes can say in rate coding: -`most` to `most` thresholds."""

    most: int


Alphabet = Ladder | Levels
"""What spikes can say, by coding."""


def lower_differential(
    graph: Graph, model: LoadedModel, alphabet: Alphabet, dtype: Any = np.float32
) -> Lowering:
    """Replace the operators around neurons by standard ones with explicit states.

    Args:
        graph: The folded spiking graph, which is changed.
        model: The ANN, for the names of its inputs' dimensions.
        alphabet: What spikes can say, which tells the coding.
        dtype: The type of states.

    Returns:
        The lowering, with the states.
    """
    low = Lowering(graph, dtype, dimension_names(model))
    own = [node for node in graph.nodes if node.domain == SNN_DOMAIN]
    neurons = [node for node in own if node.op in ESTIMATING]
    sent: dict[int, Tensor] = {}
    """What a neuron has sent so far, by the identity of its spikes."""
    steps: Tensor | None = None
    starts: Mapping[str, Array] = {}
    if isinstance(alphabet, Ladder):
        starts = alphabet.starts
        splitters = _splitters(low, alphabet, [node.name for node in neurons])
        for node in neurons:
            splitter_of_it = splitters.get(node.name)
            sent[id(node.outputs[0])] = _lower_neuron(low, node, alphabet, splitter_of_it)
    else:
        steps = _count_steps(low)[1]
        for node in neurons:
            sent[id(node.outputs[0])] = _lower_neuron(low, node, alphabet, steps)
    for node in own:
        if node.op == ACCUMULATE:
            _lower_accumulate(low, node, starts, steps)
        elif node.op == SPIKING_PRODUCT:
            _lower_product(low, node, sent, steps)
    low.finish()
    return low


def _count_steps(low: Lowering) -> tuple[Tensor, Tensor]:
    """Return t, the number of steps, before and after this one, as a state of shape [1]."""
    scalar = variable("steps", shape=[1], dtype=low.dtype)
    before, steps = low.state("steps", scalar, "count")
    one = low.number("steps/one", 1)
    low.emit("Add", [before, one], steps)
    return before, steps


def _splitters(low: Lowering, ladder: Ladder, sites: Sequence[str]) -> dict[str, Tensor]:
    """Return C by site, of the digits of the step: those of the first one, or of the later ones.

    None where all steps have as many.
    """
    if not ladder.changes:
        return {}
    before, _ = _count_steps(low)
    zero = low.number("steps/zero", 0)
    is_first = low.node("Equal", "steps/is_first", [before, zero], before, np.bool_)
    later = low.number("steps/later_splitter", splitter(ladder.later_digits))
    by_digits: dict[int, Tensor] = {}
    found = {}
    for site in sites:
        digits = ladder.first_digits(site)
        if digits not in by_digits:
            first = low.number(f"steps/splitter_of_{digits}", splitter(digits))
            label = f"steps/splitter_from_{digits}"
            by_digits[digits] = low.node("Where", label, [is_first, first, later], before)
        found[site] = by_digits[digits]
    return found


def _lower_neuron(low: Lowering, node: Node, alphabet: Alphabet, timed: Tensor | None) -> Tensor:
    """Give a neuron its state and attributes; return the state after the step.

    `timed`: what it takes that changes in time: t, or C where that changes.
    """
    spikes = node.outputs[0]
    before, after = low.state(f"{node.name}/sent", spikes, "count")
    scale = node.attrs["scale"]
    if isinstance(alphabet, Levels):
        assert timed is not None
        # t y/θ: what should have been sent by now
        node.inputs[0] = low.node("Mul", f"{node.name}/due", [node.inputs[0], timed], spikes)
        node.attrs = rate_if_attributes(alphabet.most, scale)
    else:
        start = alphabet.starts.get(node.name)
        if start is not None:
            # e = y/λ - m - R
            node.inputs[0] = less_start(low, node.inputs[0], start, node.name)
        octaves = alphabet.octaves[node.name]
        node.attrs = differential_attributes(octaves, alphabet.first_digits(node.name), scale)
    node.inputs.append(before)
    if isinstance(alphabet, Ladder) and timed is not None:
        node.inputs.append(low.beside(timed, spikes))
    node.outputs.append(after)
    return after


def _lower_accumulate(
    low: Lowering, node: Node, starts: Mapping[str, Array], steps: Tensor | None
) -> None:
    """Z(t) = Z(t-1) + x(t) and y(t) = Z(t) + b, or Z(t)/t + b."""
    x, y = node.inputs[0], node.outputs[0]
    bias = node.inputs[1] if len(node.inputs) > 1 else None
    detach(node)
    before, total = low.state(f"{x.name}/sum", y, "sum")
    low.emit("Add", [before, x], total)
    estimate = total
    if steps is not None:
        estimate = low.node("Div", f"{x.name}/mean", [total, steps], y)
    bias = _with_start(low, x, bias, starts)
    if bias is None:
        low.emit("Identity", [estimate], y)
    else:
        low.emit("Add", [estimate, bias], y)


def _with_start(
    low: Lowering, x: Tensor, bias: Tensor | None, starts: Mapping[str, Array]
) -> Tensor | None:
    """Return a bias plus what an operator makes of the estimate that its neurons start at."""
    operator = maker(x)
    for index, tensor in enumerate(operator.inputs):
        neuron = producer(tensor)
        start = None if neuron is None else starts.get(neuron.name)
        if start is None:
            continue
        inputs = list(operator.inputs)
        inputs[index] = _map_of(low, operator, tensor, start)
        base = low.editor.variable(f"{operator.name}/start", like=x)
        low.editor.append(operator.op, base.name, inputs, [base], dict(operator.attrs))
        if bias is None:
            return base
        return low.node("Add", f"{operator.name}/start_with_bias", [base, bias], x)
    return bias


def _map_of(low: Lowering, operator: Node, spikes: Tensor, start: Array) -> Tensor:
    """Return an estimate as large as an operator needs it: a convolution with a border, whole."""
    values = start.astype(low.dtype)
    fixed = low.editor.constant(f"{operator.name}/start_values", values)
    if not needs_map(operator):
        return fixed
    sizes = dims_of(spikes)[2:]
    shape = np.array([1, start.shape[1], *sizes], np.int64)
    target = low.editor.constant(f"{operator.name}/start_shape", shape)
    return low.node("Expand", f"{operator.name}/start_map", [fixed, target], spikes)


def _lower_product(
    low: Lowering, node: Node, sent: Mapping[int, Tensor], steps: Tensor | None
) -> None:
    """P(t) = P(t-1) + a(t) B(t-1) + A(t) b(t); y(t) = P(t), or P(t)/t²."""
    a, b = node.inputs
    product = node.outputs[0]
    attrs = dict(node.attrs)
    op = attrs.pop("product")
    name = node.name
    detach(node)
    a_sent, b_sent = sent[id(a)], sent[id(b)]
    before, total = low.state(f"{name}/product", product, "sum")
    # B(t-1) in its full shape: at the start the state is a single zero
    held = low.node("Sub", f"{name}/held", [b_sent, b], b)
    first = low.node(op, f"{name}/first", [a, held], product, **attrs)
    second = low.node(op, f"{name}/second", [a_sent, b], product, **attrs)
    change = low.node("Add", f"{name}/change", [first, second], product)
    low.emit("Add", [before, change], total)
    estimate = total
    if steps is not None:
        # A/t times B/t, one factor after the other
        for label in ("once", "twice"):
            estimate = low.node("Div", f"{name}/mean_{label}", [estimate, steps], product)
    low.emit("Identity", [estimate], product)
