"""Activations whose spikes would reach a weighted operator: the candidates for neurons.

A neuron saves what its spikes save in the weighted operators behind it. So its spikes have to get
there as spikes: through operators that are linear in them, through max-pools and through other
candidates. Anything else turns them into real numbers, whose rounding it may magnify (a logarithm,
a division): what feeds only such an operator stays as it is.

A product with a tensor that comes from the same weighted operators as the spikes is a gate
(x clip(x + 3, 0, 6), say): behind it are real numbers, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from onnx2snn.graph.editing import constant
from onnx2snn.graph.flow import between_weights, time_varying
from onnx2snn.graph.operators import is_weighted, nonlinearity
from onnx2snn.graph.types import Node, Tensor
from onnx2snn.prepare.activations import can_fire
from onnx2snn.protos.nodes import MAX_POOLS, standard

PRODUCTS = ("Mul", "Div", "MatMul", "Gemm", "Einsum")
"""Operators that multiply their operands."""


@dataclass
class Feeding:
    """The candidates of a graph, and the activations that are none.

    `candidates` holds names; `blocked` gives of each other activation between weighted operators
    the first node that its spikes would not get through (None: there is none such).
    """

    candidates: set[str] = field(default_factory=set)
    blocked: dict[str, Node | None] = field(default_factory=dict)


def feeding(nodes: Sequence[Node], kept: Collection[str] = ()) -> Feeding:
    """Return the activations between weighted operators that feed one by spikes, and the others.

    Args:
        nodes: Sorted.
        kept: Names of activations that shall not fire.
    """
    between = between_weights(nodes) - set(kept)
    activations = {node.name for node in nodes if node.name in between and can_fire(node)}
    walk = _Walk(nodes, activations)
    found = Feeding()
    # from the end: what a tensor feeds is known before its maker is looked at
    for node in reversed(nodes):
        if node.name in activations:
            out = node.outputs[0]
            if walk.feeds(out):
                found.candidates.add(node.name)
            else:
                found.blocked[node.name] = walk.blocker(out)
        walk.enter(node, fires=node.name in found.candidates)
    return found


class _Walk:
    """The walk against the edges: which tensors feed a weighted operator, were they spikes."""

    def __init__(self, nodes: Sequence[Node], activations: set[str]) -> None:
        self._varying = time_varying(nodes, activations)
        self._origins = _weighted_origins(nodes)
        self._feeding: set[int] = set()
        self._blockers: dict[int, Node] = {}

    def feeds(self, tensor: Tensor) -> bool:
        return id(tensor) in self._feeding

    def blocker(self, tensor: Tensor) -> Node | None:
        return self._blockers.get(id(tensor))

    def enter(self, node: Node, *, fires: bool) -> None:
        """Note of each input of a node whether spikes in it reach a weighted operator."""
        leads_on = any(self.feeds(tensor) for tensor in node.outputs)
        beyond = [self._blockers[id(out)] for out in node.outputs if id(out) in self._blockers]
        weighted = is_weighted(node)
        linear = not weighted and not fires and self._is_linear(node)
        for index, tensor in enumerate(node.inputs):
            if constant(tensor) is not None:
                continue
            if weighted:
                self._feeding.add(id(tensor))
            elif not (fires or (linear and self._passes(node, index))):
                self._blockers.setdefault(id(tensor), node)
            elif leads_on:
                self._feeding.add(id(tensor))
            elif beyond:
                self._blockers.setdefault(id(tensor), beyond[0])

    def _is_linear(self, node: Node) -> bool:
        """Return whether a node is a max-pool, or linear in its inputs that vary in time."""
        if node.op in MAX_POOLS and standard(node):
            return True
        return nonlinearity(node, self._varies(node)) is None

    def _passes(self, node: Node, index: int) -> bool:
        """Return whether spikes in one input of a linear node leave it as spikes, but for a factor.

        Those in a max-pool do.
        """
        if node.op in MAX_POOLS and standard(node):
            return True
        if node.inputs[index].name not in self._varying:
            return False
        return not (node.op in PRODUCTS and self._is_gate(node, index))

    def _varies(self, node: Node) -> Callable[[int], bool]:
        return lambda index: node.inputs[index].name in self._varying

    def _is_gate(self, node: Node, index: int) -> bool:
        """Return whether another operand shares a weighted operator upstream with this one."""
        own = self._origins.get(id(node.inputs[index]), 0)
        for other, tensor in enumerate(node.inputs):
            if other != index and self._origins.get(id(tensor), 0) & own:
                return True
        return False


def _weighted_origins(nodes: Sequence[Node]) -> dict[int, int]:
    """Return, by the identity of each tensor, the weighted operators upstream of it, as bits."""
    origins: dict[int, int] = {}
    bit = 1
    for node in nodes:
        found = 0
        for tensor in node.inputs:
            found |= origins.get(id(tensor), 0)
        if is_weighted(node):
            found |= bit
            bit <<= 1
        for tensor in node.outputs:
            origins[id(tensor)] = found
    return origins
