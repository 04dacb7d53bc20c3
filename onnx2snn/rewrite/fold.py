"""Thresholds into the weights: moves every constant factor as far as the algebra of `rewrite.fold_rules.tables` lets it.

First backwards, into the weights of the operators before a neuron; then forwards, into the weights of those behind it.
Neighbouring factors merge. What is left - an identity shortcut meets θ_in / θ_out - stays as one Mul per channel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import (
    constant,
    drop,
    is_output,
    keeps_shape,
    make_constant,
    names_in,
    producer,
    rank,
    tidy,
    unique_name,
    variable,
)
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.rewrite.fold_rules.moves import FoldOutcome, Move
from onnx2snn.rewrite.fold_rules.tables import BACKWARD, FORWARD, KNOWN_DOMAINS
from onnx2snn.rewrite.spiking import scale_edge, unique_consumers
from onnx2snn.snn.neurons import IF


@dataclass(frozen=True)
class Kept:
    """A factor that could not be folded: the Mul that applies it, where it stands, and why it had to stay."""

    name: str
    before: str
    channels: int
    reason: str


@dataclass(frozen=True)
class Folding:
    """What `fold` did: the weighted nodes whose initializers took factors in, and the factors left as Mul."""

    folded: tuple[str, ...]
    kept: tuple[Kept, ...]


def fold(graph: Graph, fixed: Collection[str] = ()) -> tuple[Graph, Folding]:
    """Move all constant factors of a spiking graph; the graph given is changed.

    `fixed` names products that stay where they are, whatever moves past them: those of telescoped regions.
    """
    state = _Fold(graph, names_in(graph), fixed)
    state.split()
    state.run(state.move_back)
    state.run(state.move_forward)
    return tidy(graph), Folding(tuple(sorted(state.folded)), tuple(state.finish()))


def _is_scale(node: Node) -> bool:
    """A Mul of a floating-point tensor with a constant that keeps its shape."""
    if node.op != "Mul" or node.domain not in KNOWN_DOMAINS or len(node.inputs) != 2:
        return False
    factor = constant(node.inputs[1])
    if (
        factor is None
        or constant(node.inputs[0]) is not None
        or not np.issubdtype(factor.dtype, np.floating)
    ):
        return False
    return keeps_shape(node.inputs[0], factor) and rank(node.outputs[0]) == rank(node.inputs[0])


def _scale_of(node: Node) -> Array:
    factor, ndim = constant(node.inputs[1]), rank(node.inputs[0])
    assert factor is not None and ndim is not None
    return factor.astype(np.float64).reshape([1] * (ndim - factor.ndim) + list(factor.shape))


class _Fold:
    def __init__(self, graph: Graph, taken: set[str], fixed: Collection[str]) -> None:
        self.graph, self.taken, self.fixed = graph, taken, fixed
        self.folded: set[str] = set()
        self.reasons: dict[str, str] = {}

    def scales(self) -> Iterator[Node]:
        yield from [node for node in self.graph.nodes if self._moves(node)]

    def _moves(self, node: Node) -> bool:
        return node.name not in self.fixed and _is_scale(node)

    def run(self, move: Callable[[Node], bool]) -> None:
        moved = True
        while moved:
            moved = False
            for node in self.scales():
                if node.outputs:  # still in the graph
                    moved = move(node) or moved

    def split(self) -> None:
        """Give every consumer of a factor its own, so that each can move alone; the last ones first, since a factor
        before them gets new consumers by it."""
        for node in reversed(list(self.scales())):
            out = node.outputs[0]
            for consumer in unique_consumers(out)[0 if is_output(self.graph, out) else 1 :]:
                self._insert(
                    node.inputs[0],
                    _scale_of(node),
                    consumer,
                    [i for i, t in enumerate(consumer.inputs) if t is out],
                )

    def _insert(self, source: Tensor, scale: Array, consumer: Node, indices: list[int]) -> None:
        if np.all(scale == 1.0):
            for index in indices:
                consumer.inputs[index] = source
            return
        scaled = variable(unique_name(self.taken, f"{consumer.name}/in{indices[0]}"), like=source)
        scale_edge(self.graph, source, scale, scaled, self.taken)
        for index in indices:
            consumer.inputs[index] = scaled

    def _set_constants(self, node: Node, move: Move) -> None:
        for index, values in move.constants.items():
            node.inputs[index] = make_constant(
                unique_name(self.taken, f"{node.name}/folded{index}"), values
            )
        if is_weighted(node):
            self.folded.add(node.name)

    def move_back(self, mul: Node) -> bool:
        """s * f(x): into the constants of f and onto its inputs."""
        y = mul.inputs[0]
        maker = producer(y)
        outcome = self._move_back(mul, y, maker)
        if isinstance(outcome, str) or maker is None:
            self.reasons[mul.name] = str(outcome)
            return False
        out = mul.outputs[0]
        drop(self.graph, mul)
        maker.outputs[0] = out
        self._set_constants(maker, outcome)
        sources = {index: maker.inputs[index] for index in outcome.scales}
        for index, scale in outcome.scales.items():
            self._insert(sources[index], scale, maker, [index])
        return True

    def _move_back(self, mul: Node, y: Tensor, maker: Node | None) -> FoldOutcome:
        if maker is None:
            return "its input is an input of the model"
        if len(unique_consumers(y)) > 1 or is_output(self.graph, y):
            return f"'{maker.name}' ({maker.op}) feeds others too"
        rule = BACKWARD.get(maker.op) if maker.domain in KNOWN_DOMAINS else None
        if rule is None or maker.outputs[0] is not y:
            return f"no factor passes '{maker.name}' ({maker.op})"
        return rule(maker, _scale_of(mul))

    def move_forward(self, mul: Node) -> bool:
        """f(s * x): into the constants of f and onto its output."""
        out = mul.outputs[0]
        if is_output(self.graph, out) or not out.outputs:
            self.reasons[mul.name] = "its output is an output of the model"
            return False
        if len(unique_consumers(out)) > 1:
            self.reasons[mul.name] = "it feeds several nodes"
            return False
        consumer = out.outputs[0]
        feeding = {i: producer(t) for i, t in enumerate(consumer.inputs)}
        muls = {
            i: n
            for i, n in feeding.items()
            if n is not None and self._moves(n) and len(unique_consumers(n.outputs[0])) == 1
        }
        outcome = self._move_forward(consumer, {i: _scale_of(n) for i, n in muls.items()})
        if isinstance(outcome, str):
            if (
                consumer.op != IF or mul.name not in self.reasons
            ):  # why it could not move backward says more
                self.reasons[mul.name] = outcome
            return False
        results = list(consumer.outputs)
        for index, node in muls.items():
            consumer.inputs[index] = node.inputs[0]
        for node in {id(n): n for n in muls.values()}.values():
            drop(self.graph, node)
        self._set_constants(consumer, outcome)
        for output, scale in outcome.scales.items():
            for after in unique_consumers(results[output]):
                at = [i for i, t in enumerate(after.inputs) if t is results[output]]
                self._insert(results[output], scale, after, at)
        return True

    def _move_forward(self, consumer: Node, scales: dict[int, Array]) -> FoldOutcome:
        rule = FORWARD.get(consumer.op) if consumer.domain in KNOWN_DOMAINS else None
        if rule is None:
            return f"no factor passes '{consumer.name}' ({consumer.op})"
        outcome = rule(consumer, scales)
        if (
            isinstance(outcome, Move)
            and outcome.scales
            and any(is_output(self.graph, t) for t in consumer.outputs)
        ):
            return f"'{consumer.name}' ({consumer.op}) makes an output of the model"
        return (
            f"at '{consumer.name}' ({consumer.op}): {outcome}"
            if isinstance(outcome, str)
            else outcome
        )

    def _retype(self, node: Node) -> None:
        values = _scale_of(node).astype(node.inputs[0].dtype or np.float32)
        node.inputs[1] = make_constant(node.inputs[1].name, values)

    def finish(self) -> Iterator[Kept]:
        """Merge equal factors of one tensor, bring the constants to their tensor's type, and list what is left."""
        for node in [n for n in self.graph.nodes if n.name in self.fixed and _is_scale(n)]:
            self._retype(node)
        seen: dict[tuple[int, bytes, tuple[int, ...]], Node] = {}
        left: list[Node] = []
        for node in self.scales():
            scale = _scale_of(node)
            key = (id(node.inputs[0]), scale.tobytes(), scale.shape)
            out = node.outputs[0]
            if key in seen and not is_output(self.graph, out):
                for consumer in unique_consumers(out):
                    for index in [i for i, t in enumerate(consumer.inputs) if t is out]:
                        consumer.inputs[index] = seen[key].outputs[0]
                drop(self.graph, node)
                continue
            seen[key] = node
            left.append(node)
            self._retype(node)
        for node in left:
            out = node.outputs[0]
            before = ", ".join(n.name for n in unique_consumers(out)) or out.name
            reason = self.reasons.get(node.name, "nothing behind it takes a factor")
            yield Kept(node.name, before, _scale_of(node).size, reason)
