"""ANN graph -> spiking graph, thresholds still outside the weights.

Each activation becomes Mul(1/θ) -> IF -> Mul(θ) (paper, section 4.3), what the readout takes from the core becomes a
running mean, a max-pool inside the core pools the accumulated current, and what is not linear is telescoped. The
operators that stand for this are stateful; `annotate` lowers them to standard ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import (
    add_node,
    is_output,
    make_constant,
    names_in,
    redirect,
    tidy,
    unique_name,
    variable,
)
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Partition
from onnx2snn.prepare.roles import CORE
from onnx2snn.protos.nodes import MAX_POOLS
from onnx2snn.rewrite.telescope import telescope
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import INITIAL_POTENTIAL, neuron_for
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, INCREASE, RUNNING_MEAN


def rewrite(
    graph: Graph,
    parts: Partition,
    thresholds: Sequence[Array],
    maxpool: str = "accumulate",
    neuron: str = "if",
    levels: int = 1,
    potentials: Sequence[Array] | None = None,
) -> Graph:
    """A copy of the arranged graph with neurons in place of activations; `thresholds` are per site, in ANN units.

    `potentials`: initial potentials per site in threshold units, broadcastable to its tensor (None: half a threshold);
    `levels`: the most thresholds a spike is high.

    maxpool "accumulate" pools the sum of the current so far and sends the increase, which is exact in the mean;
    "current" pools each step's current (paper, theorem 2).
    """
    graph = graph.copy()
    telescope(graph, parts)
    taken = names_in(graph)
    by_name = {node.name: node for node in graph.nodes}
    crossing = _crossing(graph, parts)
    for node in graph.nodes:
        if maxpool == "accumulate" and node.op in MAX_POOLS and parts.role(node) == "pooled":
            node.attrs = {**node.attrs, "pool": node.op}
            node.op, node.domain = ACCUMULATED_MAX_POOL, SNN_DOMAIN
    readout = {
        tensor.name: _average(graph, tensor, consumers, taken) for tensor, consumers in crossing
    }
    kind = neuron_for(neuron, levels)
    starts = (
        potentials if potentials is not None else [np.array([INITIAL_POTENTIAL])] * len(parts.sites)
    )
    for site, theta, start in zip(parts.sites, thresholds, starts, strict=True):
        node, scale = by_name[site.name], np.asarray(theta, np.float64)
        _fire(graph, node, kind.op, scale, readout.get(site.tensor), taken)
        node.attrs = {"scale": scale, "v_init": start, "levels": levels}
    return tidy(graph)


def _crossing(graph: Graph, parts: Partition) -> list[tuple[Tensor, list[Node]]]:
    """Tensors that core nodes hand to the readout (or out of the model), with the readout nodes that take them."""
    readout, core = parts.names("readout"), parts.names(*CORE)
    found = []
    for node in graph.nodes:
        for tensor in node.outputs if node.name in core or node.op == INCREASE else ():
            consumers = [n for n in tensor.outputs if n.name in readout]
            if (consumers or is_output(graph, tensor)) and (
                tensor.dtype is None or np.issubdtype(tensor.dtype, np.floating)
            ):
                found.append((tensor, consumers))
    return found


def _average(graph: Graph, tensor: Tensor, consumers: list[Node], taken: set[str]) -> Node:
    """Put a running mean between a core tensor and the readout; a model output keeps its name."""
    mean = variable(unique_name(taken, f"{tensor.name}/mean"), like=tensor)
    redirect(graph, tensor, mean, consumers)
    if is_output(graph, tensor):
        graph.outputs = [mean if t is tensor else t for t in graph.outputs]
        mean.name, tensor.name = tensor.name, mean.name
    return add_node(
        graph,
        RUNNING_MEAN,
        unique_name(taken, f"{mean.name}/running_mean"),
        [tensor],
        [mean],
        domain=SNN_DOMAIN,
    )


def _fire(
    graph: Graph, node: Node, op: str, theta: Array, mean: Node | None, taken: set[str]
) -> None:
    z, a = node.inputs[0], node.outputs[0]
    current = variable(unique_name(taken, f"{node.name}/current"), like=z)
    spikes = variable(unique_name(taken, f"{node.name}/spikes"), like=a)
    node.inputs.clear()
    node.outputs.clear()
    node.op, node.domain = op, SNN_DOMAIN
    node.inputs.append(current)
    node.outputs.append(spikes)
    scale_edge(graph, z, 1.0 / theta, current, taken)
    if mean is not None:  # average the spikes themselves: the threshold comes behind the mean
        averaged = variable(unique_name(taken, f"{node.name}/rate"), like=a)
        result = mean.outputs[0]
        mean.inputs[0] = spikes
        mean.outputs[0] = averaged
        scale_edge(graph, averaged, theta, result, taken)
    for consumer in unique_consumers(a):
        scaled = variable(unique_name(taken, f"{a.name}/to/{consumer.name}"), like=a)
        redirect(graph, a, scaled, [consumer])
        scale_edge(graph, spikes, theta, scaled, taken)


def unique_consumers(tensor: Tensor) -> list[Node]:
    """The nodes that read a tensor, each once."""
    return list({id(n): n for n in tensor.outputs}.values())


def scale_edge(graph: Graph, source: Tensor, scale: Array, target: Tensor, taken: set[str]) -> Node:
    """target = source * scale; the constant stays in float64 until folding is done."""
    name = unique_name(taken, f"{target.name}/scale")
    fixed = make_constant(unique_name(taken, f"{name}/factor"), np.asarray(scale, np.float64))
    return add_node(graph, "Mul", name, [source, fixed], [target])
