"""Thresholds into the weights: every constant factor moves as far as the fold rules let it.

1. Each reader of a factor gets a factor of its own.
2. Backwards, s f(x): into the weights of the operators before a neuron. Of several factors of one
   tensor that nothing else reads one goes, and the others are divided by it.
3. Forwards, f(s x): into the weights of those behind it. Neighbouring factors merge on the way.
4. Equal factors of one tensor become one again. A factor that is left, where an identity shortcut
   meets θ_in / θ_out say, stays as one Mul per channel, with the reason why.

The rules are in `rewrite.fold_rules.tables`. The passes 2 and 3 repeat until no factor moves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import consumers, detach, is_output, producer, redirect, tidy
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.rewrite.factors import Factors, places, scale_of
from onnx2snn.rewrite.fold_rules.moves import BackwardRule, FoldOutcome, Move, Scales
from onnx2snn.rewrite.fold_rules.tables import BACKWARD, FORWARD, KNOWN_DOMAINS
from onnx2snn.snn.neurons import IF


@dataclass(frozen=True)
class Kept:
    """A factor that could not be folded: its Mul, the readers, and why it had to stay."""

    name: str
    before: str
    channels: int
    reason: str


@dataclass(frozen=True)
class Folding:
    """The weighted nodes whose initializers took factors in, and the factors left as Mul."""

    folded: tuple[str, ...]
    kept: tuple[Kept, ...]


def fold(
    graph: Graph, fixed: Collection[str] = (), more: Mapping[str, BackwardRule] | None = None
) -> tuple[Graph, Folding]:
    """Move all constant factors of a spiking graph; the graph given is changed.

    Args:
        graph: The spiking graph.
        fixed: Names of products that stay where they are, whatever moves past them: those of
            telescoped regions.
        more: Backward rules beside those of the table.

    Returns:
        The graph, and what became of the factors.
    """
    factors = Factors(graph, fixed)
    factors.split()
    moves = _Moves(factors, BACKWARD | dict(more or {}))
    moves.repeat(moves.back)
    moves.repeat(moves.forward)
    left = factors.merge()
    factors.retype()
    kept = tuple(moves.kept(node) for node in left)
    folded = tuple(sorted(moves.folded))
    return tidy(graph), Folding(folded, kept)


class _Moves:
    """Moves factors one node back or forward.

    `folded` collects the weighted nodes that took a factor in, `reasons` why a factor could not
    move, by its name.
    """

    def __init__(self, factors: Factors, backward: Mapping[str, BackwardRule]) -> None:
        self.factors = factors
        self.backward = backward
        self.graph = factors.graph
        self.folded: set[str] = set()
        self.reasons: dict[str, str] = {}

    def repeat(self, move: Callable[[Node], bool]) -> None:
        """Try to move every factor until none moves."""
        moved = True
        while moved:
            moved = False
            for node in self.factors.nodes():
                in_graph = bool(node.outputs)  # a move before may have dropped it
                if in_graph and move(node):
                    moved = True

    def kept(self, node: Node) -> Kept:
        """Tell about a factor that is left."""
        out = node.outputs[0]
        readers = [reader.name for reader in consumers(out)]
        before = ", ".join(readers) or out.name
        reason = self.reasons.get(node.name, "nothing behind it takes a factor")
        return Kept(node.name, before, scale_of(node).size, reason)

    def back(self, factor: Node) -> bool:
        """s * f(x): into the constants of f and onto its inputs."""
        y = factor.inputs[0]
        node = producer(y)
        outcome = self._back_outcome(factor, node)
        if isinstance(outcome, str) or node is None:
            self.reasons[factor.name] = str(outcome)
            return False
        # y = f(x), out = s y becomes out = f(x), with s in f's constants and on its inputs
        out, moved = factor.outputs[0], scale_of(factor)
        detach(factor)
        if y.outputs:
            # other factors read y: q y becomes (q / s) (s y)
            self._divide(consumers(y), moved)
            redirect(self.graph, out, y)
        else:
            node.outputs[0] = out
        self._set_constants(node, outcome)
        for index, scale in outcome.scales.items():
            source = node.inputs[index]
            self.factors.insert(source, scale, node, [index])
        return True

    def _back_outcome(self, factor: Node, node: Node | None) -> FoldOutcome:
        """Ask the rule of the node that makes a factor's input."""
        y = factor.inputs[0]
        if node is None:
            return "its input is an input of the model"
        if is_output(self.graph, y) or not self._may_leave(factor, y):
            return f"'{node.name}' ({node.op}) feeds others too"
        rule = self.backward.get(node.op) if node.domain in KNOWN_DOMAINS else None
        if rule is None or node.outputs[0] is not y:
            return f"no factor passes '{node.name}' ({node.op})"
        return rule(node, scale_of(factor))

    def _may_leave(self, factor: Node, y: Tensor) -> bool:
        """Return whether a factor reads y alone, or all that read y are factors that can divide."""
        others = [reader for reader in consumers(y) if reader is not factor]
        if not others:
            return True
        if is_output(self.graph, factor.outputs[0]) or not np.all(scale_of(factor)):
            return False
        return all(self.factors.movable(reader) for reader in others)

    def _divide(self, factors: Sequence[Node], scale: Array) -> None:
        """Let factors be smaller by a scale; those that become 1 are dropped."""
        for factor in factors:
            left = scale_of(factor) / scale
            out, y = factor.outputs[0], factor.inputs[0]
            if np.all(left == 1.0) and not is_output(self.graph, out):
                detach(factor)
                redirect(self.graph, out, y)
            else:
                factor.inputs[1] = self.factors.editor.constant(f"{factor.name}/left", left)

    def forward(self, factor: Node) -> bool:
        """f(s * x): into the constants of f and onto its outputs."""
        out = factor.outputs[0]
        if is_output(self.graph, out) or not out.outputs:
            self.reasons[factor.name] = "its output is an output of the model"
            return False
        if len(consumers(out)) > 1:
            self.reasons[factor.name] = "it feeds several nodes"
            return False
        node = out.outputs[0]
        before = self._factors_before(node)
        scales = {index: scale_of(other) for index, other in before.items()}
        outcome = self._forward_outcome(node, scales)
        if isinstance(outcome, str):
            # at a neuron, the reason why it could not move backward says more
            if node.op != IF or factor.name not in self.reasons:
                self.reasons[factor.name] = outcome
            return False
        # y = f(s x) becomes y' = f(x), and what read y reads s y'
        self._take_off(before, node)
        self._set_constants(node, outcome)
        outputs = list(node.outputs)
        for index, scale in outcome.scales.items():
            self._put_behind(outputs[index], scale)
        return True

    def _factors_before(self, node: Node) -> dict[int, Node]:
        """Return the factors that feed a node and nothing else, by the index of its input."""
        found = {}
        # by tensor: a node may read one thousands of times
        alone: dict[int, bool] = {}
        for index, tensor in enumerate(node.inputs):
            other = producer(tensor)
            if other is None or not self.factors.movable(other):
                continue
            if id(tensor) not in alone:
                alone[id(tensor)] = len(consumers(other.outputs[0])) == 1
            if alone[id(tensor)]:
                found[index] = other
        return found

    def _forward_outcome(self, node: Node, scales: Scales) -> FoldOutcome:
        """Ask the rule of the node that reads factors."""
        about = f"'{node.name}' ({node.op})"
        rule = FORWARD.get(node.op) if node.domain in KNOWN_DOMAINS else None
        if rule is None:
            return f"no factor passes {about}"
        outcome = rule(node, scales)
        if isinstance(outcome, str):
            return f"at {about}: {outcome}"
        outputs = [is_output(self.graph, tensor) for tensor in node.outputs]
        if outcome.scales and any(outputs):
            return f"{about} makes an output of the model"
        return outcome

    def _take_off(self, before: dict[int, Node], node: Node) -> None:
        """Let a node read the tensors before some factors, which are dropped."""
        for index, factor in before.items():
            node.inputs[index] = factor.inputs[0]
        # one factor may feed several inputs
        once = {id(factor): factor for factor in before.values()}
        for factor in once.values():
            detach(factor)

    def _put_behind(self, tensor: Tensor, scale: Array) -> None:
        for reader in consumers(tensor):
            indices = places(reader, tensor)
            self.factors.insert(tensor, scale, reader, indices)

    def _set_constants(self, node: Node, move: Move) -> None:
        for index, values in move.constants.items():
            label = f"{node.name}/folded{index}"
            node.inputs[index] = self.factors.editor.constant(label, values)
        if is_weighted(node):
            self.folded.add(node.name)
