"""The choice of a coding: the paper's method where its neurons do all the work, else differential.

Neurons in front of weighted operators can be rate-coded as well, where the options say so.

Rate coding puts neurons in place of ReLU-like activations. Where these feed every weighted operator
behind the encoder, each multiplication there is by a spike. Elsewhere (a linear bottleneck, SiLU,
attention) some operators would take real numbers at every step, and differential coding, which puts
neurons in front of weighted operators, is what the network asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx2snn.errors import UnsupportedGraphError
from onnx2snn.graph.editing import constant
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.shape_inference import Trial
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.arrange import Arrangement, arrange
from onnx2snn.prepare.partition import Partition, partition
from onnx2snn.prepare.weighted_sites import weighted_partition
from onnx2snn.settings import Settings


@dataclass(frozen=True)
class Way:
    """A coding with the graph it works on, and its partition.

    `reason` says why, where neither the options nor the network left a choice open (else empty).
    """

    coding: str
    graph: Graph
    arrangement: Arrangement
    partition: Partition
    reason: str = ""


def choose_coding(graph: Graph, trial: Trial | None, settings: Settings) -> Way:
    """Return the way of a normalised graph: by the options, or else by the network.

    Args:
        graph: The normalised graph, which is not changed.
        trial: What shapes are measured with.
        settings: The options.
    """
    coding = settings.chosen_coding
    if coding == "differential":
        return _weighted("differential", graph, settings)
    if settings.sites == "weighted":
        return _weighted("rate", graph, settings)
    arranged, arrangement = arrange(graph.copy(), trial)
    parts = partition(arranged, arrangement)
    by_rate = Way("rate", arranged, arrangement, parts)
    if coding == "rate":
        return by_rate
    unfed = first_unfed(arranged, parts)
    if unfed is None:
        return by_rate
    other = _weighted("differential", graph, settings)
    if not other.partition.sites:
        # neither has anything to convert: the paper's method says why
        return by_rate
    return replace(other, reason=unfed)


def _weighted(coding: str, graph: Graph, settings: Settings) -> Way:
    """Return the way of a coding with neurons in front of weighted operators."""
    parts = weighted_partition(graph, encode_input=settings.encode_input)
    return Way(coding, graph, Arrangement(), parts)


def first_unfed(graph: Graph, parts: Partition) -> str | None:
    """Return which weighted operator rate coding would not feed by spikes, or None.

    Args:
        graph: The arranged graph, its nodes sorted.
        parts: Its partition for rate coding.
    """
    try:
        parts.require_convertible()
    except UnsupportedGraphError as error:
        return str(error)
    spikes: set[int] = set()
    behind: set[int] = set()
    for node in graph.nodes:
        taken = [tensor for tensor in node.inputs if constant(tensor) is None]
        weighted = is_weighted(node)
        from_weights = any(id(tensor) in behind for tensor in taken)
        if weighted and from_weights and not _all_in(taken, spikes):
            return f"'{node.name}' ({node.op}) would not be fed by spikes"
        if from_weights and _multiplies(node, behind):
            return f"'{node.name}' ({node.op}) multiplies two tensors"
        role = parts.role(node)
        fires = role == "neuron"
        passes = role in ("linear", "pooled", "readout") and not weighted and _all_in(taken, spikes)
        for tensor in node.outputs:
            if fires or passes:
                spikes.add(id(tensor))
            if weighted or from_weights:
                behind.add(id(tensor))
    return None


def _multiplies(node: Node, behind: set[int]) -> bool:
    """Return whether both operands of a product are behind weighted operators."""
    if node.op not in ("MatMul", "Gemm", "Einsum"):
        return False
    return sum(id(tensor) in behind for tensor in node.inputs) > 1


def _all_in(tensors: list[Tensor], known: set[int]) -> bool:
    moving = [tensor for tensor in tensors if not tensor.is_empty()]
    return bool(moving) and all(id(tensor) in known for tensor in moving)
