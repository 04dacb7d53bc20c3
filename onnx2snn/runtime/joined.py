"""Recurrences joined with the elementwise nodes and recurrences beside them, for chains.

    sum over time, bias, ReLU, neuron      one recurrence with two states

A pass over memory for each of them becomes one for all. onnxruntime's own operators gain nothing
by that: a Scan runs its body's nodes one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import onnx

from onnx2snn.protos.nodes import standard
from onnx2snn.runtime.chain_programs import ELEMENTWISE
from onnx2snn.runtime.grouping import Item, grouped
from onnx2snn.runtime.recurrence import Recurrence
from onnx2snn.runtime.time_core import TimedCore, Unit, inputs_of, outputs_of
from onnx2snn.runtime.time_nodes import is_depthwise

MOST_OPERANDS = 60
"""Operands and states of a recurrence, which a chain has registers for."""


def joined_core(core: TimedCore) -> TimedCore:
    """Return a core with recurrences as large as chains can be."""
    units = list(core.in_order())
    by_convolutions = {
        name
        for unit in units
        if not isinstance(unit, Recurrence) and unit.op_type == "Conv"
        for name in unit.output
    }
    items = []
    for unit in units:
        if isinstance(unit, Recurrence):
            joins = bool(unit.nodes)
        else:
            # right behind a convolution onnxruntime adds as it convolves
            joins = _joins(unit, core) and by_convolutions.isdisjoint(unit.input)
        deepens = any(core.facts.varies(name) for name in outputs_of(unit))
        items.append(Item(inputs_of(unit), outputs_of(unit), joins, deepens))
    places = {id(node): place for place, node in enumerate(core.nodes)}
    found: list[Recurrence] = []
    for group in grouped(items):
        members = [units[place] for place in group]
        found += _as_one(members, places)
    return replace(core, recurrences=found)


def _joins(node: onnx.NodeProto, core: TimedCore) -> bool:
    """Return whether a node is elementwise, of numbers that vary, and would stay so."""
    operation = ELEMENTWISE.get(node.op_type) if standard(node) else None
    if operation is None or operation.logical or operation.takes_logical:
        return False
    if node.output[0] in core.facts.shapes or is_depthwise(node, core):
        return False
    return core.facts.varies(node.output[0])


def _as_one(members: Sequence[Unit], places: dict[int, int]) -> list[Recurrence]:
    """Return the recurrences of a group: one, or its own where that would be too large."""
    own = [unit for unit in members if isinstance(unit, Recurrence)]
    if not own or len(members) == 1:
        return own
    states = tuple(chain.from_iterable(unit.states for unit in own))
    nodes: list[onnx.NodeProto] = []
    for unit in members:
        nodes += unit.nodes if isinstance(unit, Recurrence) else [unit]
    taken = [name for node in nodes for name in node.input]
    if len(taken) + len(states) > MOST_OPERANDS:
        return own
    nodes.sort(key=lambda node: places[id(node)])
    return [Recurrence(states, tuple(nodes))]
