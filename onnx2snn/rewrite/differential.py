"""ANN graph -> spiking graph with neurons in front of weighted operators, factors still outside the
weights: differential coding, and rate coding of the same sites.

a site y: Mul(1/λ) -> DifferentialIF or RateIF, a neuron for each tensor.
a spiking operator: it takes the spikes, in place of y; Accumulate adds up what it makes and adds
    its bias, so that what comes behind sees the operator's output on the estimate of y.
λ: Mul(λ) before an operator whose constant weights can take it, else behind it.
a product of two: SpikingProduct, and Mul(λ_A λ_B) behind it.

What the ANN has between them stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import rank
from onnx2snn.graph.editing import Editor, constant, tidy
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.spiking_uses import Use
from onnx2snn.prepare.weighted_sites import WeightedPartition
from onnx2snn.rewrite.factors import scale_edge
from onnx2snn.snn.differential import DIFFERENTIAL_IF
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.stateful import ACCUMULATE, SPIKING_PRODUCT


def rewrite_differential(
    graph: Graph, parts: WeightedPartition, scales: Sequence[Array], neuron: str = DIFFERENTIAL_IF
) -> Graph:
    """Return a copy of the normalised graph with neurons in front of its weighted operators.

    Args:
        graph: The normalised ANN.
        parts: Its partition.
        scales: λ per site, in ANN units, broadcastable to its tensor.
        neuron: The operator of the neurons, by coding.
    """
    graph = graph.copy()
    work = _Rewriting(graph, parts, scales)
    for site in parts.sites:
        work.fire(site.name, site.tensor, neuron)
    for use in parts.uses:
        work.drive(use)
    return tidy(graph)


class _Rewriting:
    """The rewriting at work: λ and the spikes of each site by its name."""

    def __init__(self, graph: Graph, parts: WeightedPartition, scales: Sequence[Array]) -> None:
        self.editor = Editor(graph)
        self.nodes: Mapping[str, Node] = {node.name: node for node in graph.nodes}
        self.tensors = graph.tensors()
        self.scales: dict[str, Array] = {}
        for site, scale in zip(parts.sites, scales, strict=True):
            self.scales[site.name] = np.asarray(scale, np.float64)
        self.spikes: dict[str, Tensor] = {}

    def fire(self, name: str, tensor: str, op: str) -> None:
        """Put a neuron behind a tensor: s = DifferentialIF(y / λ), say."""
        y = self.tensors[tensor]
        current = self.editor.variable(f"{name}/input", like=y)
        spikes = self.editor.variable(f"{name}/spikes", like=y)
        scale = self.scales[name]
        scale_edge(self.editor, y, 1.0 / scale, current)
        self.editor.append(op, name, [current], [spikes], {"scale": scale}, domain=SNN_DOMAIN)
        self.spikes[name] = spikes

    def drive(self, use: Use) -> None:
        """Let a weighted operator take spikes, and what is behind it their sum."""
        node = self.nodes[use.node]
        out = node.outputs[0]
        if use.form == "product":
            self._drive_product(use, node, out)
            return
        (index,) = use.operands
        (name,) = use.sites
        scale = self.scales[name]
        source = self.spikes[name]
        if use.form == "folded":
            scaled = self.editor.variable(f"{node.name}/spikes_scaled", like=source)
            scale_edge(self.editor, source, scale, scaled)
            source = scaled
        node.inputs[index] = source
        bias = self._taken_bias(node)
        change = self.editor.variable(f"{node.name}/change", like=out)
        node.outputs[0] = change
        if use.form == "behind":
            # the operator is linear, and λ is one number
            scaled = self.editor.variable(f"{node.name}/change_scaled", like=out)
            one = scale.reshape([1] * (rank(out) or 0))
            scale_edge(self.editor, change, one, scaled)
            change = scaled
        terms = [change] if bias is None else [change, bias]
        label = f"{node.name}/estimate"
        self.editor.node(ACCUMULATE, label, terms, [out], domain=SNN_DOMAIN)

    def _drive_product(self, use: Use, node: Node, out: Tensor) -> None:
        for index, name in zip(use.operands, use.sites, strict=True):
            node.inputs[index] = self.spikes[name]
        first, second = (self.scales[name] for name in use.sites)
        node.attrs = {**node.attrs, "product": node.op}
        node.op = SPIKING_PRODUCT
        node.domain = SNN_DOMAIN
        product = self.editor.variable(f"{node.name}/product", like=out)
        node.outputs[0] = product
        # A B of what was sent, times both factors
        factor = (first.ravel() * second.ravel()).reshape([1] * (rank(out) or 0))
        scale_edge(self.editor, product, factor, out)

    def _taken_bias(self, node: Node) -> Tensor | None:
        """Take the constant bias off an operator, as a tensor that broadcasts to its output."""
        if node.op not in ("Conv", "ConvTranspose", "Gemm", "DeformConv"):
            return None
        place = 3 if node.op == "DeformConv" else 2
        if len(node.inputs) <= place or node.inputs[place].is_empty():
            return None
        tensor = node.inputs[place]
        values = constant(tensor)
        assert values is not None
        del node.inputs[place]
        if node.op == "Gemm":
            # α x W + β C
            values = values * np.asarray(node.attrs.get("beta", 1.0), values.dtype)
        else:
            ndim = rank(node.outputs[0]) or 0
            values = values.reshape([1, -1] + [1] * (ndim - 2))
        return self.editor.constant(f"{node.name}/bias", values)
