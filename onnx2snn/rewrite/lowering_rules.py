"""The stateful operators of a spiking graph (`snn.stateful`) and its neurons: how each is lowered.

t counts time-steps from 1 and d is the delay; every state is 0 before the first step.

neurons: the node stays, with its states as further inputs and outputs.
RunningMean: S(t) = S(t-1) + x(t), but S(t) = x(t) at t = d + 1; y(t) = S(t) / n, where n is t up to
    the delay and t - d beyond.
AccumulatedMaxPool: S(t) = S(t-1) + x(t), P(t) = maxpool(S(t)); y(t) = P(t) - P(t-1).
MeanSoFar: S(t) = S(t-1) + x(t); y(t) = S(t) / t.
Increase: P(t) = t x(t); y(t) = P(t) - P(t-1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx2snn.graph.editing import detach, variable
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.protos.load import LoadedModel
from onnx2snn.rewrite.lowering import Lowering, dimension_names, onnx_type
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP, attributes
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, INCREASE, MEAN_SO_FAR, RUNNING_MEAN


@dataclass(frozen=True)
class Window:
    """The evaluation window, as tensors of shape [1].

    `count` is the number of steps that means go over. `keep` is 0 in the step that starts them
    afresh and 1 in all others; None where there is no delay.
    """

    count: Tensor
    keep: Tensor | None


def lower(graph: Graph, model: LoadedModel, delay: int, dtype: Any = np.float32) -> Lowering:
    """Replace the stateful operators by standard ones and neuron functions with explicit states.

    Args:
        graph: The spiking graph, which is changed.
        model: The ANN, for the names of its inputs' dimensions.
        delay: Steps left out of the answer.
        dtype: The type of states.

    Returns:
        The lowering, with the states.
    """
    low = Lowering(graph, dtype, dimension_names(model))
    window = _count_steps(low, delay)
    stateful = [node for node in graph.nodes if node.domain == SNN_DOMAIN]
    ends = [node for node in stateful if node.op in (MEAN_SO_FAR, INCREASE)]
    _lower_telescoped(low, ends)
    for node in stateful:
        if node.op in BY_OP:
            _lower_neuron(low, node)
        elif node.op == RUNNING_MEAN:
            _lower_running_mean(low, node, window)
        elif node.op == ACCUMULATED_MAX_POOL:
            _lower_max_pool(low, node)
    low.finish()
    return low


def _count_steps(low: Lowering, delay: int) -> Window:
    """Count the steps: t, and where there is a delay d also t - d beyond it."""
    scalar = variable("scalar", shape=[1], dtype=low.dtype)
    before, now = low.state("step", scalar, "step")
    one = low.number("step/one", 1)
    low.emit("Add", [before, one], now)
    if delay == 0:
        return Window(now, None)
    bound = low.number("delay", delay)
    # count = t - d where t > d, else t
    since = low.node("Sub", "step/since_delay", [now, bound], scalar)
    passed = low.node("Greater", "delay/passed", [now, bound], scalar, np.bool_)
    count = low.node("Where", "step/window", [passed, since, now], scalar)
    # keep = 0 where t = d + 1, else 1
    first = low.number("delay/first", delay + 1)
    over = low.node("Equal", "delay/over", [now, first], scalar, np.bool_)
    not_over = low.node("Not", "delay/not_over", [over], scalar, np.bool_)
    kind = onnx_type(low.dtype)
    keep = low.node("Cast", "delay/keep", [not_over], scalar, to=kind)
    return Window(count, keep)


def _lower_neuron(low: Lowering, node: Node) -> None:
    """Give a neuron its states, and the attributes that stand in the file."""
    spikes = node.outputs[0]
    neuron = BY_OP[node.op]
    for label, kind in neuron.states:
        before, after = low.state(f"{node.name}/{label}", spikes, kind)
        node.inputs.append(before)
        node.outputs.append(after)
    levels = node.attrs["levels"]
    v_init = node.attrs["v_init"]
    scale = node.attrs["scale"]
    node.attrs = attributes(neuron, levels, v_init, scale)


def _lower_running_mean(low: Lowering, node: Node, window: Window) -> None:
    """S(t) = keep S(t-1) + x(t) and y(t) = S(t) / count."""
    x = node.inputs[0]
    mean = node.outputs[0]
    before, after = low.state(f"{x.name}/sum", mean, "sum", mean.name)
    detach(node)
    kept = before
    if window.keep is not None:
        keep = low.beside(window.keep, x)
        kept = low.node("Mul", f"{x.name}/kept", [before, keep], before)
    # S(t) = keep S(t-1) + x(t)
    added = low.in_state_type(x)
    low.emit("Add", [kept, added], after)
    # y(t) = S(t) / count
    count = low.beside(window.count, x)
    low.emit_from_states("Div", [after, count], mean)


def _lower_max_pool(low: Lowering, node: Node) -> None:
    """P(t) = maxpool(S(t)) and y(t) = P(t) - P(t-1), S the sum of the current so far."""
    x = node.inputs[0]
    y = node.outputs[0]
    attrs = dict(node.attrs)
    op = attrs.pop("pool")
    detach(node)
    before, total = low.state(f"{node.name}/sum", x, "sum")
    pooled_before, pooled = low.state(f"{node.name}/history", y, "history")
    # S(t) = S(t-1) + x(t)
    low.emit("Add", [before, x], total)
    # P(t) = maxpool(S(t)), under the name that the pool had
    low.editor.append(op, node.name, [total], [pooled], attrs)
    # y(t) = P(t) - P(t-1)
    low.emit("Sub", [pooled, pooled_before], y)


def _lower_telescoped(low: Lowering, nodes: list[Node]) -> None:
    """Lower the ends of telescoped regions; no delay starts afresh the steps they count."""
    if not nodes:
        return
    scalar = variable("telescoped", shape=[1])
    before, elapsed = low.state("telescoped/steps", scalar, "count")
    one = low.number("telescoped/one", 1)
    low.emit("Add", [before, one], elapsed)
    for node in nodes:
        x = node.inputs[0]
        y = node.outputs[0]
        detach(node)
        steps = low.beside(elapsed, x)
        if node.op == MEAN_SO_FAR:
            _lower_mean_so_far(low, x, y, steps)
        else:
            _lower_increase(low, x, y, steps)


def _lower_mean_so_far(low: Lowering, x: Tensor, mean: Tensor, steps: Tensor) -> None:
    """S(t) = S(t-1) + x(t) and y(t) = S(t) / t."""
    before, total = low.state(f"{x.name}/sum", x, "sum")
    added = low.in_state_type(x)
    low.emit("Add", [before, added], total)
    low.emit_from_states("Div", [total, steps], mean)


def _lower_increase(low: Lowering, x: Tensor, sent: Tensor, steps: Tensor) -> None:
    """P(t) = t x(t) and y(t) = P(t) - P(t-1).

    Where t x(t) is no number (0/0 before the first spike, the root of a negative current) P stays
    as it was and nothing is sent; the next step that has one catches up, since only the last P
    counts in the sum.
    """
    before, after = low.state(f"{x.name}/history", x, "history")
    label = f"{x.name}/scaled"
    # t x(t)
    value = low.in_state_type(x)
    scaled = low.node("Mul", label, [value, steps], after)
    # a comparison with the largest number is false for infinities and for what is no number
    most = float(np.finfo(low.dtype).max)
    largest = low.number(f"{label}/most", most)
    largest = low.beside(largest, x)
    size = low.node("Abs", f"{label}/size", [scaled], after)
    finite = low.node("LessOrEqual", f"{label}/finite", [size, largest], after, np.bool_)
    # P(t), and y(t) = P(t) - P(t-1)
    low.emit("Where", [finite, scaled, before], after)
    low.emit_from_states("Sub", [after, before], sent)
