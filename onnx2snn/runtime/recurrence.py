"""Which nodes of a core hand a state from one time-step to the next.

Everything else in a core knows only its own time-step, so it can be computed for many of them at
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    carried = list(states)
    cycles: dict[int, _Cycle] = {}
    # by the position of a node, the number of the cycle it is in
    owners: dict[int, int] = {}
    for number, inside in enumerate(_positions_of_cycles(nodes, carried)):
        cycle = _Cycle([carried[number]], inside)
        # states whose ways share a node are handed on together
        shared = {owners[place] for place in inside if place in owners}
        for other in sorted(shared):
            joined = cycles.pop(other)
            cycle = _Cycle(joined.states + cycle.states, joined.nodes | cycle.nodes)
        cycles[number] = cycle
        owners.update(dict.fromkeys(cycle.nodes, number))
    found = []
    for cycle in cycles.values():
        sorted_nodes = [nodes[place] for place in sorted(cycle.nodes)]
        found.append(Recurrence(tuple(cycle.states), tuple(sorted_nodes)))
    return found


@dataclass(frozen=True)
class _Cycle:
    """States, and the positions of the nodes on the ways to their next values."""

    states: list[Carried]
    nodes: set[int]


def _positions_of_cycles(
    nodes: Sequence[onnx.NodeProto], states: Sequence[Carried]
) -> list[set[int]]:
    """Return, for each state, the positions of the nodes between it and its next value.

    One walk for all states: a number has a bit for each of them.
    """
    behind = {state.input: 1 << number for number, state in enumerate(states)}
    before: dict[str, int] = {}
    for number, state in enumerate(states):
        before[state.output] = before.get(state.output, 0) | 1 << number
    from_states = []
    for node in nodes:
        mask = 0
        for name in node.input:
            mask |= behind.get(name, 0)
        from_states.append(mask)
        if mask:
            for name in filter(None, node.output):
                behind[name] = behind.get(name, 0) | mask
    found: list[set[int]] = [set() for _ in states]
    for place in reversed(range(len(nodes))):
        mask = 0
        for name in nodes[place].output:
            mask |= before.get(name, 0)
        if not mask:
            continue
        for name in filter(None, nodes[place].input):
            before[name] = before.get(name, 0) | mask
        for number in _bits(mask & from_states[place]):
            found[number].add(place)
    return found


def _bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
