"""Nodes that hand a state on, as Scans over the time-steps: as a rule a neuron's few operators.

A state that only adds up its input needs no Scan: it is a sum over the axis of the steps.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from onnx2snn.runtime.cut import Carried
from onnx2snn.runtime.recurrence import Recurrence
from onnx2snn.runtime.time_core import OWN
from onnx2snn.runtime.time_forms import TICKS, Forms


def emit_recurrence(unit: Recurrence, forms: Forms) -> None:
    """Append the nodes that hand some states on through all time-steps."""
    core = forms.core
    inner = [*unit.made, *(state.input for state in unit.states)]
    sent = [name for name in inner if name in core.wanted]
    outer = [name for name in dict.fromkeys(unit.taken) if name not in core.facts.constants]
    time_varying = [name for name in outer if core.facts.varies(name)]
    if unit.accumulates and not sent and len(time_varying) == 1:
        _emit_sum(unit.states[0], time_varying[0], forms)
    else:
        _emit_scan(unit, outer, sent, forms)


def _emit_sum(state: Carried, x: str, forms: Forms) -> None:
    """Append final = first + sum over steps of x."""
    build = forms.build
    unfolded = forms.unfolded(x)
    summed = build.emit("ReduceSum", [unfolded, forms.ints([0])], f"{OWN}{x}/summed", keepdims=0)
    first, final = forms.core.first[state.input], forms.core.final[state.input]
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
    states = [state.input for state in unit.states]
    scanned = {name: forms.unfolded(name) for name in outer if core.facts.varies(name)}
    if not scanned:
        # a Scan needs something to go along
        scanned = {f"{TICKS}/{states[0]}": TICKS}
    body = _body(unit, list(scanned), sent, forms)
    whole = [_whole(state, outer, forms) for state in unit.states]
    unfolded = [f"{OWN}{name}/unfolded" for name in sent]
    forms.build.node(
        "Scan",
        [*whole, *scanned.values()],
        [*(core.final[name] for name in states), *unfolded],
        f"{states[0]}/scan",
        body=body,
        num_scan_inputs=len(scanned),
    )
    for name in sent:
        forms.fold(f"{OWN}{name}/unfolded", name, core.facts.ranks[name])


def _body(unit: Recurrence, scanned: list[str], sent: list[str], forms: Forms) -> onnx.GraphProto:
    """Return the graph of one step: states, what is scanned -> next states, what is sent.

    An output of a body is neither one of its inputs nor an output twice, so such ones are copied.
    """
    before = [state.input for state in unit.states]
    after = [state.output for state in unit.states]
    nodes = list(unit.nodes)
    leaving = list(sent)
    if not nodes:
        # the next state is an input of the body: the value is kept for one step
        leaving += after
    copies: dict[str, str] = {}
    for name in dict.fromkeys(leaving):
        if name in before or name in after:
            copies[name] = f"{OWN}{name}/sent"
            copy_name = f"{name}/sent/identity"
            nodes.append(helper.make_node("Identity", [name], [copies[name]], copy_name))
    if not unit.nodes:
        after = [copies[after[0]]]
    inputs = [_step_info(name, name, forms) for name in [*before, *scanned]]
    outputs = [_step_info(new, old, forms) for new, old in zip(after, before, strict=True)]
    outputs += [_step_info(copies.get(name, name), name, forms) for name in sent]
    return helper.make_graph(nodes, f"{before[0]}/step", inputs, outputs)


def _step_info(name: str, like: str, forms: Forms) -> onnx.ValueInfoProto:
    """Declare an input or output of a body, in the shape of one time-step of the tensor `like`."""
    if like.startswith(TICKS):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [])
    kind = forms.core.types.get(like, TensorProto.FLOAT)
    return helper.make_tensor_value_info(name, kind, [None] * forms.core.facts.ranks[like])


def _whole(state: Carried, outer: list[str], forms: Forms) -> str:
    """Return a state in its full shape, which a Scan asks for; it may come as zeros of shape [1, ..., 1]."""
    build = forms.build
    facts = forms.core.facts
    first = forms.core.first[state.input]
    alike = [name for name in outer if facts.ranks.get(name) == state.rank]
    if not alike or state.rank == 0:
        return first
    shape = f"{OWN}{alike[0]}/shape"
    if facts.varies(alike[0]):
        build.emit("Shape", [forms.unfolded(alike[0])], shape, start=1)
    else:
        build.emit("Shape", [alike[0]], shape)
    return build.emit("Expand", [first, shape], f"{OWN}{state.input}/whole")
