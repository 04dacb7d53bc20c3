"""ANN graph -> spiking graph, thresholds still outside the weights.

an activation: Mul(1/θ) -> IF -> Mul(θ) (paper, section 4.3).
a tensor that the readout takes from the core: a running mean before the readout.
a max-pool inside the core: it pools the accumulated current.
an operator of the core that is not linear: telescoped (`rewrite.telescope`).

The operators that stand for this are stateful (`snn.stateful`); `rewrite.emit` lowers them to
standard ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import Editor, consumers, is_output, redirect, tidy
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Partition
from onnx2snn.prepare.roles import CORE
from onnx2snn.protos.nodes import MAX_POOLS
from onnx2snn.rewrite.factors import scale_edge
from onnx2snn.rewrite.telescope import replace_output, telescope
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import INITIAL_POTENTIAL, neuron_for
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, INCREASE, RUNNING_MEAN


@dataclass(frozen=True)
class Firing:
    """How neurons fire.

    `neuron` is "if" or "signed", `levels` the most thresholds a spike is high. `potentials` are
    initial potentials per site in threshold units, broadcastable to its tensor; None is half a
    threshold.
    """

    neuron: str = "if"
    levels: int = 1
    potentials: Sequence[Array] | None = None


def rewrite(
    graph: Graph,
    parts: Partition,
    thresholds: Sequence[Array],
    maxpool: str = "accumulate",
    firing: Firing | None = None,
) -> Graph:
    """Return a copy of the arranged graph with neurons in place of activations.

    Args:
        graph: The arranged ANN.
        parts: Its partition.
        thresholds: Per site, in ANN units, broadcastable to its tensor.
        maxpool: "accumulate" pools the sum of the current so far and sends the increase, which is
            exact in the mean; "current" pools each step's current (paper, theorem 2).
        firing: The neurons; None for the paper's.
    """
    firing = firing or Firing()
    graph = graph.copy()
    # first, since the readout may take what a telescoped region sends
    telescope(graph, parts)
    editor = Editor(graph)
    by_name = {node.name: node for node in graph.nodes}
    crossing = _crossing(graph, parts)
    if maxpool == "accumulate":
        _accumulate(graph, parts)
    # by the name of the tensor that is averaged, before `_average` may change it
    means = {}
    for tensor, readers in crossing:
        name = tensor.name
        means[name] = _average(editor, tensor, readers)
    potentials = firing.potentials
    if potentials is None:
        half = np.array([INITIAL_POTENTIAL])
        potentials = [half] * len(parts.sites)
    op = neuron_for(firing.neuron, firing.levels).op
    for site, threshold, potential in zip(parts.sites, thresholds, potentials, strict=True):
        node = by_name[site.name]
        theta = np.asarray(threshold, np.float64)
        mean = means.get(site.tensor)
        _fire(editor, node, op, theta, mean)
        node.attrs = {
            "scale": theta,
            "v_init": potential,
            "levels": firing.levels,
        }
    return tidy(graph)


def _accumulate(graph: Graph, parts: Partition) -> None:
    """Let the max-pools inside the core pool the accumulated current."""
    for node in graph.nodes:
        if node.op in MAX_POOLS and parts.role(node) == "pooled":
            node.attrs = {**node.attrs, "pool": node.op}
            node.op = ACCUMULATED_MAX_POOL
            node.domain = SNN_DOMAIN


def _crossing(graph: Graph, parts: Partition) -> list[tuple[Tensor, list[Node]]]:
    """Return the tensors that core nodes hand to the readout, or out, with their readers there."""
    readout = parts.names("readout")
    core = parts.names(*CORE)
    found = []
    for node in graph.nodes:
        if node.name not in core and node.op != INCREASE:
            continue
        for tensor in node.outputs:
            readers = [reader for reader in tensor.outputs if reader.name in readout]
            leaves = bool(readers) or is_output(graph, tensor)
            if leaves and _has_mean(tensor):
                found.append((tensor, readers))
    return found


def _has_mean(tensor: Tensor) -> bool:
    if tensor.dtype is None:
        return True
    return np.issubdtype(tensor.dtype, np.floating)


def _average(editor: Editor, tensor: Tensor, readers: list[Node]) -> Node:
    """Put a running mean between a core tensor and the readout; a model output keeps its name."""
    mean = editor.variable(f"{tensor.name}/mean", like=tensor)
    redirect(editor.graph, tensor, mean, readers)
    if is_output(editor.graph, tensor):
        replace_output(editor.graph, tensor, mean)
    label = f"{mean.name}/running_mean"
    return editor.node(RUNNING_MEAN, label, [tensor], [mean], domain=SNN_DOMAIN)


def _fire(editor: Editor, node: Node, op: str, theta: Array, mean: Node | None) -> None:
    """Make a neuron of an activation: a = relu(z) becomes a = θ IF(z / θ), in the mean over time.

    `mean` is the running mean of the activation, if there is one.
    """
    z = node.inputs[0]
    a = node.outputs[0]
    current = editor.variable(f"{node.name}/current", like=z)
    spikes = editor.variable(f"{node.name}/spikes", like=a)
    node.inputs.clear()
    node.outputs.clear()
    node.op = op
    node.domain = SNN_DOMAIN
    node.inputs.append(current)
    node.outputs.append(spikes)
    # current = z / θ, so that the threshold is 1
    scale_edge(editor, z, 1.0 / theta, current)
    if mean is not None:
        # mean(θ s) = θ mean(s): the spikes are averaged, and the threshold comes behind the mean
        rate = editor.variable(f"{node.name}/rate", like=a)
        result = mean.outputs[0]
        mean.inputs[0] = spikes
        mean.outputs[0] = rate
        scale_edge(editor, rate, theta, result)
    # one Mul(θ) for each reader, so that each can move alone when thresholds are folded
    for reader in consumers(a):
        scaled = editor.variable(f"{a.name}/to/{reader.name}", like=a)
        redirect(editor.graph, a, scaled, [reader])
        scale_edge(editor, spikes, theta, scaled)
