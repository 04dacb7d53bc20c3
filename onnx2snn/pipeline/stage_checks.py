"""Each stage against the one before it: the same outputs, up to rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnx2snn.aliases import Array
from onnx2snn.calibrate.instrument import RATE, instrument, threshold_input
from onnx2snn.errors import StageMismatchError
from onnx2snn.graph.editing import make_constant, to_proto
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.job import Job
from onnx2snn.protos.sessions import open_session
from onnx2snn.score.closeness import deviation
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import BY_OP
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, INCREASE, MEAN_SO_FAR, RUNNING_MEAN

TOLERANCE = 1e-3
"""Largest relative L2 difference between two stages; float32 rounding alone stays near 1e-6."""


def check_stage(
    stage: str, before: Sequence[Array], after: Sequence[Array], tolerance: float = TOLERANCE
) -> float:
    """The largest relative L2 difference between two stages' outputs; StageMismatchError beyond the tolerance."""
    worst = 0.0
    for one, other in zip(before, after, strict=True):
        if one.dtype.kind != "f":
            continue
        changed = relative_error(other, one)
        if not changed <= tolerance:
            raise StageMismatchError(
                f"stage '{stage}' changes the network's output by {changed:.2g} (relative L2; rounding stays below "
                f"{tolerance:.0e}); please report this model"
            )
        worst = max(worst, changed)
    return worst


def relative_error(found: Array, wanted: Array) -> float:
    """||found - wanted|| / ||wanted||, 0 where both are 0; the same infinity, or both undefined, is no difference."""
    norm = float(np.linalg.norm(wanted[np.isfinite(wanted)].astype(np.float64)))
    error = float(np.linalg.norm(deviation(found, wanted).ravel()))
    return error / norm if norm else (0.0 if error == 0 else float("inf"))


def run_model(
    model: onnx.ModelProto | Graph, feed: Mapping[str, Array], threads: int | None
) -> list[Array]:
    """The outputs of a model or graph for one feed."""
    proto = model if isinstance(model, onnx.ModelProto) else to_proto(model)
    session = open_session(proto, threads)
    taken = {i.name for i in session.get_inputs()}
    return list(session.run(None, {name: value for name, value in feed.items() if name in taken}))


def run_clipped(
    job: Job, graph: Graph, ceilings: Sequence[Array], feed: Mapping[str, Array]
) -> list[Array]:
    """The ANN's outputs with every activation clipped at its threshold."""
    sites = job.sites
    clipped = instrument(graph, sites, "overshoot", job.settings.granularity, keep_outputs=True)
    extra = {threshold_input(s): t.astype(np.float32) for s, t in zip(sites, ceilings, strict=True)}
    outputs = run_model(clipped, {**feed, **extra, RATE: np.zeros(1, np.float32)}, job.threads)
    return outputs[: len(graph.outputs)]


def as_clipped(graph: Graph) -> Graph:
    """A copy of a spiking graph in the limit of many steps: neurons are clip(x, 0, levels), means are their input."""
    graph = graph.copy()
    for node in graph.nodes:
        if node.domain != SNN_DOMAIN:
            continue
        if node.op in BY_OP:
            bounds = {"low": 0, "high": node.attrs["levels"]}
            node.op, node.attrs = "Clip", {}
            node.inputs.extend(
                [
                    make_constant(f"{node.name}/{n}", np.array(b, np.float32))
                    for n, b in bounds.items()
                ]
            )
        elif node.op in (RUNNING_MEAN, MEAN_SO_FAR, INCREASE):
            node.op = "Identity"
        elif node.op == ACCUMULATED_MAX_POOL:
            node.attrs = dict(node.attrs)
            node.op = node.attrs.pop("pool")
        node.domain = None
    return graph
