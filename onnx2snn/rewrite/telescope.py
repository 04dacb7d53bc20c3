"""Operators that are not linear inside the spiking core: applied to the mean of their input so far.

With S(t) the sum of x over steps 1..t, a telescoped f sends y(t) = t f(S(t)/t) - (t-1) f(S(t-1)/(t-1)), y(1) = f(x(1)).
The sum of y over T steps is T f(mean of x), exact for every f. A graph is split for it along its edges: on an edge from
the rest of the core into a telescoped operator stands `MeanSoFar`, S(t)/t; on one out of it `Increase`, which keeps
t f(S(t)/t) for the next step, so that nothing is divided by t - 1. Between telescoped operators nothing stands: each
region is one f, of as many inputs and outputs as it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx2snn.graph.editing import (
    add_node,
    drop,
    is_output,
    names_in,
    redirect,
    unique_name,
    variable,
)
from onnx2snn.graph.flow import shape_only, time_varying
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Partition
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.stateful import INCREASE, MEAN_SO_FAR

if TYPE_CHECKING:
    from onnx2snn.rewrite.lowering import Lowering


def telescope(graph: Graph, parts: Partition) -> None:
    """Put `MeanSoFar` and `Increase` around the telescoped regions of an arranged graph, which is changed."""
    analog = parts.names("analog")
    if not analog:
        return
    taken = names_in(graph)
    moving = time_varying(list(graph.nodes), {site.name for site in parts.sites})
    for node in list(graph.nodes):
        for tensor in [t for t in node.outputs if t.name in moving]:
            inside = [n for n in tensor.outputs if n.name in analog]
            outside = [n for n in tensor.outputs if n.name not in analog and not shape_only(n)]
            if node.name not in analog and inside:
                mean = variable(unique_name(taken, f"{tensor.name}/so_far"), like=tensor)
                redirect(graph, tensor, mean, inside)
                _stateful(graph, MEAN_SO_FAR, tensor, mean, taken)
            elif node.name in analog and (outside or is_output(graph, tensor)):
                sent = variable(unique_name(taken, f"{tensor.name}/increase"), like=tensor)
                redirect(graph, tensor, sent, outside)
                if is_output(graph, tensor):
                    graph.outputs = [sent if t is tensor else t for t in graph.outputs]
                    sent.name, tensor.name = tensor.name, sent.name
                _stateful(graph, INCREASE, tensor, sent, taken)


def _stateful(graph: Graph, op: str, source: Tensor, target: Tensor, taken: set[str]) -> Node:
    name = unique_name(taken, f"{target.name}/{op}")
    return add_node(graph, op, name, [source], [target], domain=SNN_DOMAIN)


def lower_telescoped(step: Lowering, nodes: list[Node]) -> None:
    """Replace `MeanSoFar` and `Increase` by standard operators with states; they count their own steps."""
    if not nodes:
        return
    before, elapsed = step.state("telescoped/steps", variable("telescoped", shape=[1]), "count")
    step.emit("Add", [before, step.number("telescoped/one", 1)], elapsed)
    for node in nodes:
        x, y = node.inputs[0], node.outputs[0]
        drop(step.graph, node)
        (_mean_so_far if node.op == MEAN_SO_FAR else _increase)(
            step, x, y, step.number_for(elapsed, x)
        )


def _mean_so_far(step: Lowering, x: Tensor, mean: Tensor, elapsed: Tensor) -> None:
    """S(t) / t."""
    before, total = step.state(f"{x.name}/sum", x, "sum")
    step.emit("Add", [before, step.computed(x)], total)
    step.emit_computed("Div", [total, elapsed], mean)


def _increase(step: Lowering, x: Tensor, sent: Tensor, elapsed: Tensor) -> None:
    """P(t) - P(t-1), P(t) = t x.

    Where that is no number (0/0 before the first spike, the root of a negative current) P stays as it was and nothing
    is sent; the next step that has one catches up, since only the last P counts in the sum.
    """
    before, after = step.state(f"{x.name}/history", x, "history")
    label = f"{x.name}/scaled"
    scaled = step.node("Mul", label, [step.computed(x), elapsed], after)
    most = step.number_for(step.number(f"{label}/most", float(np.finfo(step.dtype).max)), x)
    size = step.node("Abs", f"{label}/size", [scaled], after)
    finite = step.node("LessOrEqual", f"{label}/finite", [size, most], after, dtype=np.bool_)
    step.emit("Where", [finite, scaled, before], after)
    step.emit_computed("Sub", [after, before], sent)
