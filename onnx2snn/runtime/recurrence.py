"""Which nodes of a core hand a state from one time-step to the next.

Everything else in a core knows only its own time-step, so it can be computed for many of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx

from onnx2snn.runtime.cut import Carried


@dataclass(frozen=True)
class Recurrence:
    """Nodes (sorted) on the ways from states to their own next values, and those states.

    No node: the next value does not depend on the one before, it is kept for one step.
    """

    states: tuple[Carried, ...]
    nodes: tuple[onnx.NodeProto, ...]

    @property
    def accumulates(self) -> bool:
        """Whether one Add makes the next value, so that all of it is a sum over time."""
        return len(self.states) == len(self.nodes) == 1 and self.nodes[0].op_type == "Add"


def recurrences(nodes: Sequence[onnx.NodeProto], states: Iterable[Carried]) -> list[Recurrence]:
    """The recurrences of a core's sorted nodes; no node is in two of them."""
    found: list[tuple[list[Carried], set[int]]] = []
    for state in states:
        cycle = _behind(nodes, state.input) & _before(nodes, state.output)
        joined = [state]
        for other in [f for f in found if f[1] & cycle]:
            found.remove(other)
            joined, cycle = other[0] + joined, other[1] | cycle
        found.append((joined, cycle))
    return [
        Recurrence(tuple(states), tuple(nodes[i] for i in sorted(cycle))) for states, cycle in found
    ]


def _behind(nodes: Sequence[onnx.NodeProto], start: str) -> set[int]:
    """Indices of the nodes that depend on a tensor."""
    lit, reached = {start}, set()
    for index, node in enumerate(nodes):
        if lit.intersection(node.input):
            reached.add(index)
            lit.update(node.output)
    return reached


def _before(nodes: Sequence[onnx.NodeProto], end: str) -> set[int]:
    """Indices of the nodes a tensor depends on."""
    lit, reached = {end}, set()
    for index in range(len(nodes) - 1, -1, -1):
        if lit.intersection(nodes[index].output):
            reached.add(index)
            lit.update(nodes[index].input)
    return reached
