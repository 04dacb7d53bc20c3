"""Each stage against the one before it: the same outputs, up to rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.calibrate.instrument import RATE, instrument, threshold_input
from onnx2snn.errors import StageMismatchError
from onnx2snn.graph.editing import make_constant, to_proto
from onnx2snn.graph.types import Graph, Node
from onnx2snn.prepare.job import Job
from onnx2snn.protos.sessions import open_session
from onnx2snn.score.closeness import deviation
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP
from onnx2snn.snn.stateful import (
    ACCUMULATED_MAX_POOL,
    INCREASE,
    MEAN_SO_FAR,
    RUNNING_MEAN,
    SPIKING_PRODUCT,
)

TOLERANCE = 1e-3
"""Largest relative L2 difference between two stages; float32 rounding alone stays near 1e-6."""


def check_stage(
    stage: str, before: Sequence[Array], after: Sequence[Array], tolerance: float = TOLERANCE
) -> float:
    """Compare two stages' outputs.

    Args:
        stage: The later stage, for the error's sentence.
        before: The outputs of the stage before it.
        after: Its own outputs, in the same order.
        tolerance: The largest relative L2 difference that passes.

    Returns:
        The largest relative L2 difference; only floating-point outputs are compared.

    Raises:
        StageMismatchError: A difference is beyond the tolerance, or not a number.
    """
    worst = 0.0
    for one, other in zip(before, after, strict=True):
        if one.dtype.kind != "f":
            continue
        changed = relative_error(other, one)
        if not changed <= tolerance:
            raise StageMismatchError(
                f"stage '{stage}' changes the network's output by {changed:.2g} (relative L2; "
                f"rounding stays below {tolerance:.0e}); please report this model"
            )
        worst = max(worst, changed)
    return worst


def relative_error(found: Array, wanted: Array) -> float:
    """Return ||found - wanted|| / ||wanted||, 0 where both are 0.

    Values that are the same infinity in both, or undefined in both, do not differ.
    """
    finite = wanted[np.isfinite(wanted)]
    norm = float(np.linalg.norm(finite.astype(np.float64)))
    error = float(np.linalg.norm(deviation(found, wanted).ravel()))
    if norm == 0:
        return 0.0 if error == 0 else float("inf")
    return error / norm


def run_model(
    model: onnx.ModelProto | Graph, feed: Mapping[str, Array], threads: int | None
) -> list[Array]:
    """Return the outputs of a model or graph; it takes of the feed what it has inputs for."""
    ours = not isinstance(model, onnx.ModelProto)
    proto = to_proto(model) if not isinstance(model, onnx.ModelProto) else model
    session = open_session(proto, threads, used_up=ours, once=True)
    taken = {value.name for value in session.get_inputs()}
    own = {name: value for name, value in feed.items() if name in taken}
    return list(session.run(None, own))


def run_clipped(
    job: Job, graph: Graph, ceilings: Sequence[Array], feed: Mapping[str, Array]
) -> list[Array]:
    """Return the ANN's outputs with every activation clipped at its ceiling.

    Args:
        job: Whose sites are clipped.
        graph: The ANN, corrected or not.
        ceilings: The largest outputs per site, in ANN units.
        feed: A few samples.
    """
    granularity = job.settings.granularity
    clipped = instrument(graph, job.sites, "overshoot", granularity, keep_outputs=True)
    inputs = dict(feed)
    inputs[RATE] = np.zeros(1, np.float32)  # thresholds stay as they are
    for site, ceiling in zip(job.sites, ceilings, strict=True):
        inputs[threshold_input(site)] = ceiling.astype(np.float32)
    outputs = run_model(clipped, inputs, job.threads)
    return outputs[: len(graph.outputs)]


def as_clipped(graph: Graph) -> Graph:
    """Return a copy of a spiking graph in the limit of many steps.

    A neuron's mean output is then clip(x, 0, levels), and the mean of a tensor is the tensor.
    """
    graph = graph.copy()
    for node in graph.nodes:
        if node.domain != SNN_DOMAIN:
            continue
        if node.op in BY_OP:
            _as_clip(node)
        elif node.op in (RUNNING_MEAN, MEAN_SO_FAR, INCREASE):
            node.op = "Identity"
        elif node.op == ACCUMULATED_MAX_POOL:
            node.attrs = dict(node.attrs)
            node.op = node.attrs.pop("pool")
        node.domain = None
    return graph


def as_converged(graph: Graph) -> Graph:
    """Return a copy of a graph with neurons before weighted operators, in the limit of many steps.

    What a neuron has told is then its input, and what an operator made of it its output.
    """
    graph = graph.copy()
    for node in graph.nodes:
        if node.domain != SNN_DOMAIN:
            continue
        node.domain = None
        if node.op == SPIKING_PRODUCT:
            node.attrs = dict(node.attrs)
            node.op = node.attrs.pop("product")
            continue
        node.attrs = {}
        node.op = "Add" if len(node.inputs) > 1 else "Identity"
    return graph


def _as_clip(neuron: Node) -> None:
    bounds = {"low": 0, "high": neuron.attrs["levels"]}
    neuron.op, neuron.attrs = "Clip", {}
    for name, bound in bounds.items():
        value = np.array(bound, np.float32)
        neuron.inputs.append(make_constant(f"{neuron.name}/{name}", value))
