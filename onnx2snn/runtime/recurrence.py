"""Which nodes of a core hand a state from one time-step to the next.

Everything else in a core knows only its own time-step, so it can be computed for many of them at
once.
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
    def before(self) -> list[str]:
        """The states before the step."""
        return [state.input for state in self.states]

    @property
    def after(self) -> list[str]:
        """The states after the step."""
        return [state.output for state in self.states]

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
            return self.after
        # "" stands for an optional input that is left out
        own = {*self.made, *self.before, ""}
        taken = []
        for node in self.nodes:
            taken += [name for name in node.input if name not in own]
        return taken


def recurrences(nodes: Sequence[onnx.NodeProto], states: Iterable[Carried]) -> list[Recurrence]:
    """Return the recurrences of a core's sorted nodes; no node is in two of them."""
    cycles: list[_Cycle] = []
    for state in states:
        cycle = _Cycle([state], _nodes_of_cycle(nodes, state))
        # states whose ways share a node are handed on together
        apart = []
        for other in cycles:
            if other.nodes & cycle.nodes:
                cycle = _Cycle(other.states + cycle.states, other.nodes | cycle.nodes)
            else:
                apart.append(other)
        cycles = [*apart, cycle]
    found = []
    for cycle in cycles:
        inside = [node for node in nodes if id(node) in cycle.nodes]
        found.append(Recurrence(tuple(cycle.states), tuple(inside)))
    return found


@dataclass(frozen=True)
class _Cycle:
    """States, and the identities of the nodes on the ways to their next values."""

    states: list[Carried]
    nodes: set[int]


def _nodes_of_cycle(nodes: Sequence[onnx.NodeProto], state: Carried) -> set[int]:
    """Identities of the nodes between a state and its next value."""
    behind = {id(node) for node in downstream(nodes, [state.input]).nodes}
    before = {id(node) for node in upstream(nodes, [state.output]).nodes}
    return behind & before
