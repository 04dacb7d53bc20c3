"""Which nodes of a core hand a state from one time-step to the next.

Everything else in a core knows only its own time-step, so it can be computed for many of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx

from onnx2snn.protos.reach import downstream, upstream
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
        if len(self.states) != 1 or len(self.nodes) != 1:
            return False
        return self.nodes[0].op_type == "Add"

    @property
    def made(self) -> list[str]:
        """The tensors its nodes make."""
        return [name for node in self.nodes for name in node.output]

    @property
    def taken(self) -> list[str]:
        """The tensors it needs from outside, once for each node that takes one."""
        if not self.nodes:
            return [self.states[0].output]
        own = {*self.made, *(state.input for state in self.states)}
        taken = [name for node in self.nodes for name in node.input]
        return [name for name in taken if name and name not in own]


def recurrences(nodes: Sequence[onnx.NodeProto], states: Iterable[Carried]) -> list[Recurrence]:
    """Return the recurrences of a core's sorted nodes; no node is in two of them."""
    found: list[tuple[list[Carried], set[int]]] = []
    for state in states:
        members = [state]
        cycle = _between(nodes, state)
        # states whose ways share a node are handed on together
        for other in [one for one in found if one[1] & cycle]:
            found.remove(other)
            members = other[0] + members
            cycle = other[1] | cycle
        found.append((members, cycle))
    made = []
    for members, cycle in found:
        inside = tuple(node for node in nodes if id(node) in cycle)
        made.append(Recurrence(tuple(members), inside))
    return made


def _between(nodes: Sequence[onnx.NodeProto], state: Carried) -> set[int]:
    """Identities of the nodes between a state and its next value."""
    behind = {id(node) for node in downstream(nodes, [state.input]).nodes}
    before = {id(node) for node in upstream(nodes, [state.output]).nodes}
    return behind & before
