"""Nodes that hand a state on, as Scans over the time-steps: as a rule a neuron's few operators.

A state that only adds up its input needs no Scan: it is a sum over the axis of the steps.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from onnx2snn.runtime.cut import Carried
from onnx2snn.runtime.recurrence import Recurrence
from onnx2snn.runtime.time_core import OWN
from onnx2snn.runtime.time_forms import TICKS, Forms, unfolded_name


def emit_recurrence(unit: Recurrence, forms: Forms) -> None:
    """Append the nodes that hand some states on through all time-steps."""
    core = forms.core
    inner = [*unit.made, *unit.before]
    sent = [name for name in inner if name in core.wanted]
    taken = dict.fromkeys(unit.taken)
    outer = [name for name in taken if name not in core.facts.constants]
    scanned = [name for name in outer if core.facts.varies(name)]
    is_sum = unit.accumulates and not sent and len(scanned) == 1
    if is_sum:
        _emit_sum(unit.states[0], scanned[0], forms)
    else:
        _emit_scan(unit, outer, sent, forms)


def _emit_sum(state: Carried, x: str, forms: Forms) -> None:
    """Append final = first + sum over steps of x."""
    build = forms.build
    unfolded = forms.unfolded(x)
    steps_axis = forms.ints([0])
    summed = f"{OWN}{x}/summed"
    build.emit("ReduceSum", [unfolded, steps_axis], summed, keepdims=0)
    first = forms.core.first[state.input]
    final = forms.core.final[state.input]
    build.emit("Add", [first, summed], final)


def _emit_scan(unit: Recurrence, outer: list[str], sent: list[str], forms: Forms) -> None:
    """Append a Scan.

    Args:
        unit: The nodes that make its body, and their states.
        outer: The tensors from outside that the body takes.
        sent: The tensors of the body that nodes outside take.
        forms: The core and its builder.
    """
    core = forms.core
    # by their names in the body: along [K, M, ...] a Scan goes step by step
    scanned = {name: forms.unfolded(name) for name in outer if core.facts.varies(name)}
    if not scanned:
        # a Scan needs something to go along
        scanned[f"{TICKS}/{unit.before[0]}"] = TICKS
    body = _graph_of_step(unit, list(scanned), sent, forms)
    first = [_in_full_shape(state, outer, forms) for state in unit.states]
    final = [core.final[name] for name in unit.before]
    unfolded = [unfolded_name(name) for name in sent]
    forms.build.node(
        "Scan",
        [*first, *scanned.values()],
        [*final, *unfolded],
        f"{unit.before[0]}/scan",
        body=body,
        num_scan_inputs=len(scanned),
    )
    for name, steps in zip(sent, unfolded, strict=True):
        rank = core.facts.ranks[name]
        forms.fold(steps, name, rank)


def _graph_of_step(
    unit: Recurrence, scanned: list[str], sent: list[str], forms: Forms
) -> onnx.GraphProto:
    """Return the graph of one step: states, scanned tensors -> next states, sent tensors.

    An output of a body is neither one of its inputs nor an output twice, so such ones are copied.
    """
    nodes = list(unit.nodes)
    after = unit.after
    copied = [name for name in sent if name in unit.before or name in after]
    if not nodes:
        # the next state is an input of the body: the value is kept for one step
        copied += after
    copies = {}
    for name in dict.fromkeys(copied):
        copy = f"{OWN}{name}/sent"
        copies[name] = copy
        identity = helper.make_node("Identity", [name], [copy], f"{name}/sent/identity")
        nodes.append(identity)
    if not unit.nodes:
        after = [copies[after[0]]]

    inputs = [_step_info(name, name, forms) for name in [*unit.before, *scanned]]
    outputs = []
    for before, name in zip(unit.before, after, strict=True):
        outputs.append(_step_info(name, before, forms))
    for name in sent:
        leaving = copies.get(name, name)
        outputs.append(_step_info(leaving, name, forms))
    return helper.make_graph(nodes, f"{unit.before[0]}/step", inputs, outputs)


def _step_info(name: str, like: str, forms: Forms) -> onnx.ValueInfoProto:
    """Declare an input or output of a body, in the shape of one time-step of the tensor `like`."""
    if like.startswith(TICKS):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [])
    kind = forms.core.types.get(like, TensorProto.FLOAT)
    rank = forms.core.facts.ranks[like]
    return helper.make_tensor_value_info(name, kind, [None] * rank)


def _in_full_shape(state: Carried, outer: list[str], forms: Forms) -> str:
    """Return a state in its full shape, which a Scan asks for.

    It may come as zeros of shape [1, ..., 1]. A tensor of its rank that the body takes tells the
    shape.
    """
    build = forms.build
    facts = forms.core.facts
    first = forms.core.first[state.input]
    alike = [name for name in outer if facts.ranks.get(name) == state.rank]
    if not alike or state.rank == 0:
        return first
    model = alike[0]
    shape = f"{OWN}{model}/shape"
    if facts.varies(model):
        # of [K, M, ...] all but K
        unfolded = forms.unfolded(model)
        build.emit("Shape", [unfolded], shape, start=1)
    else:
        build.emit("Shape", [model], shape)
    return build.emit("Expand", [first, shape], f"{OWN}{state.input}/whole")
