"""Operators that are not linear inside the spiking core: applied to the mean of their input so far.

With S(t) the sum of x over steps 1..t, a telescoped f sends

    y(1) = f(x(1)),   y(t) = t f(S(t)/t) - (t-1) f(S(t-1)/(t-1)).

The sum of y over T steps is T f(mean of x), exact for every f. The graph is split along its edges:

into a telescoped operator, from the rest of the core: `MeanSoFar`, S(t)/t.
out of a telescoped operator, to the rest of the core: `Increase`, which keeps t f(S(t)/t) for the
    next step, so that nothing is divided by t - 1.
between telescoped operators: nothing. Each region is one f of many inputs and outputs.
"""

from __future__ import annotations

from onnx2snn.graph.editing import Editor, is_output, redirect
from onnx2snn.graph.flow import shape_only, time_varying
from onnx2snn.graph.types import Graph, Tensor
from onnx2snn.prepare.partition import Partition
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.stateful import INCREASE, MEAN_SO_FAR


def telescope(graph: Graph, parts: Partition) -> None:
    """Put `MeanSoFar` and `Increase` around the telescoped regions of a graph, in place."""
    analog = parts.names("analog")
    if not analog:
        return
    editor = Editor(graph)
    sites = {site.name for site in parts.sites}
    varying = time_varying(list(graph.nodes), sites)
    for node in list(graph.nodes):
        for tensor in list(node.outputs):
            if tensor.name not in varying:
                continue
            if node.name in analog:
                _leave(editor, tensor, analog)
            else:
                _enter(editor, tensor, analog)


def _enter(editor: Editor, tensor: Tensor, analog: set[str]) -> None:
    """Let telescoped operators read the mean so far of a tensor made outside them."""
    inside = [node for node in tensor.outputs if node.name in analog]
    if not inside:
        return
    # S(t)/t: inside a region every operator sees means
    mean = editor.variable(f"{tensor.name}/so_far", like=tensor)
    redirect(editor.graph, tensor, mean, inside)
    _append_stateful(editor, MEAN_SO_FAR, tensor, mean)


def _leave(editor: Editor, tensor: Tensor, analog: set[str]) -> None:
    """Let all others, and the model's output, read the increase of an analog operator's tensor."""
    graph = editor.graph
    others = [node for node in tensor.outputs if node.name not in analog]
    outside = [node for node in others if not shape_only(node)]
    leaves = is_output(graph, tensor)
    if not outside and not leaves:
        return
    # t f(S(t)/t) less that of the step before: outside, the sum over steps counts
    sent = editor.variable(f"{tensor.name}/increase", like=tensor)
    redirect(graph, tensor, sent, outside)
    if leaves:
        replace_output(graph, tensor, sent)
    _append_stateful(editor, INCREASE, tensor, sent)


def _append_stateful(editor: Editor, op: str, source: Tensor, target: Tensor) -> None:
    label = f"{target.name}/{op}"
    editor.node(op, label, [source], [target], domain=SNN_DOMAIN)


def replace_output(graph: Graph, old: Tensor, new: Tensor) -> None:
    """Make another tensor an output of the graph; the two exchange their names."""
    graph.outputs = [new if tensor is old else tensor for tensor in graph.outputs]
    new.name, old.name = old.name, new.name
