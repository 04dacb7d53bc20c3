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
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.shape_inference import Trial
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.activation_drives import operator_drives
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
    for found in operator_drives(graph, parts):
        if not found.behind:
            continue
        node = found.node
        if found.product:
            return f"'{node.name}' ({node.op}) multiplies two tensors"
        if not found.fed and is_weighted(node):
            return f"'{node.name}' ({node.op}) would not be fed by spikes"
    return None
