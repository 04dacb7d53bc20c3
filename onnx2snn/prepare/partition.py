"""Encoder / core / readout, and the neuron sites; refusals with their reason.

The very same table drives the converter and `onnx2snn inspect`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from onnx2snn.aliases import Dim
from onnx2snn.errors import GateError, UnsupportedGraphError
from onnx2snn.graph.editing import constant, dims_of, producer, rank
from onnx2snn.graph.flow import (
    between_weights,
    nodes_before,
    nodes_behind,
    shape_only,
    time_varying,
)
from onnx2snn.graph.operators import Role, is_weighted, nonlinearity, refusal, upper_bound
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.max_pools import Arrangement
from onnx2snn.protos.nodes import MAX_POOLS, standard


@dataclass(frozen=True)
class Site:
    """One activation that becomes a layer of neurons.

    `axis` is the channel axis of its tensor and `channels` their number; `channels` is None where that size is not
    static, and the layer then has a single threshold. `upper` is u of clip(z, 0, u), infinity for Relu.
    """

    name: str
    source: str
    tensor: str
    upper: float
    axis: int
    channels: int | None
    shape: tuple[Dim, ...]

    def threshold_shape(self, granularity: str) -> tuple[int, ...]:
        """Shape of the site's thresholds, broadcastable to its tensor: one a channel, or one in all."""
        count = self.channels if granularity == "channel" and self.channels is not None else 1
        return tuple(count if axis == self.axis else 1 for axis in range(len(self.shape)))

    @property
    def neurons(self) -> int:
        """Neurons per sample, with a size that is not static taken as 64."""
        return math.prod(size if isinstance(size, int) else 64 for size in self.shape[1:])


@dataclass(frozen=True)
class Row:
    """What becomes of one node; `reason` says why."""

    node: str
    op: str
    role: Role
    reason: str


@dataclass(frozen=True)
class Partition:
    """The three parts of a network, by node name, and its neuron sites in topological order."""

    rows: tuple[Row, ...]
    sites: tuple[Site, ...]

    def role(self, node: Node) -> Role:
        """What becomes of a node."""
        return self._roles[node.name]

    @property
    def _roles(self) -> dict[str, Role]:
        return {row.node: row.role for row in self.rows}

    def names(self, *roles: Role) -> set[str]:
        """The names of the nodes with one of these roles."""
        return {row.node for row in self.rows if row.role in roles}

    def require_convertible(self) -> None:
        """Raise UnsupportedGraphError for the first refused node, or where there is nothing to convert."""
        for row in self.rows:
            if row.role == "refused":
                raise UnsupportedGraphError(row.node, row.op, row.reason)
        if not self.sites:
            reason = (
                "there is nothing to convert: the network has no activation (Relu, Clip or the like) "
                "between two weighted operators (Conv, ConvTranspose, Gemm, MatMul)"
            )
            raise UnsupportedGraphError("", "", reason)

    def require_spiking(self) -> None:
        """Raise GateError where an operator of the core is analog."""
        analog = [row for row in self.rows if row.role == "analog"]
        if analog:
            first, others = analog[0], f" and {len(analog) - 1} more" if len(analog) > 1 else ""
            raise GateError(
                f"node '{first.node}' ({first.op}){others} would be analog ({first.reason}), which --strict forbids; "
                "convert without it, or exchange the operator in the network"
            )


def partition(graph: Graph, arrangement: Arrangement) -> Partition:
    """Sort the nodes of an arranged graph into encoder, core and readout.

    A neuron site is a supported activation with a weighted operator on a path before it and another on a path after it.
    encoder: whatever is not downstream of a neuron; readout: what is, and leads to no neuron; core: the rest.
    In the core, what is linear runs per step; what is not is telescoped, together with the linear operators that lie
    between two such without a neuron between.
    """
    nodes = list(graph.nodes)
    weighted = between_weights(nodes)
    sites = {n.name for n in nodes if n.name in weighted and upper_bound(n) is not None}
    downstream = nodes_behind(nodes, lambda n: n.name in sites)
    upstream = nodes_before(nodes, lambda n: n.name in sites)
    moving = time_varying(nodes, sites)
    rows = {}
    for node in nodes:
        rows[node.name] = _row(node, sites, downstream, upstream, moving)
    _widen(nodes, rows)
    outputs = {t.name for t in graph.outputs}
    for node in nodes:
        problem = (
            _unstateable(node, rows, moving, outputs) if rows[node.name].role in CORE else None
        )
        if problem is not None:
            rows[node.name] = Row(node.name, node.op, "refused", problem)
    found = [_site(node, arrangement) for node in nodes if rows[node.name].role == "neuron"]
    for site in found:
        if site.source != site.name:
            rows[site.name] = replace(
                rows[site.name], reason=f"fires, for a part of '{site.source}'"
            )
    return Partition(tuple(rows.values()), tuple(found))


def _row(
    node: Node, sites: set[str], downstream: set[str], upstream: set[str], moving: set[str]
) -> Row:
    return Row(node.name, node.op, *_role(node, sites, downstream, upstream, moving))


def _role(
    node: Node, sites: set[str], downstream: set[str], upstream: set[str], moving: set[str]
) -> tuple[Role, str]:
    if node.name in sites:
        tensor = node.outputs[0]
        if not rank(tensor):
            return "refused", "the rank of its tensor is unknown"
        if tensor.dtype is not None and tensor.dtype != np.float32:
            return (
                "refused",
                f"it computes in {np.dtype(tensor.dtype)}; export the model in float32",
            )
        return "neuron", "fires"
    if node.name not in downstream:
        return "encoder", "constant in time: computed once per input"
    if node.name not in upstream:
        return "readout", "acts on the mean over the evaluation window"
    varies = [t.name in moving for t in node.inputs]
    if not any(varies) or shape_only(node):
        return "linear", CONSTANT
    reason = refusal(node, varies.__getitem__)
    if reason is not None:
        return "refused", reason
    if node.op in MAX_POOLS and standard(node):
        if len(node.outputs) > 1 and node.outputs[1].outputs:
            return "analog", "telescoped: its indices are used"
        before = any(taker.name in sites for taker in node.outputs[0].outputs)
        return (
            "pooled",
            "pools the input current of its neuron" if before else "pools its input in place",
        )
    reason = nonlinearity(node, varies.__getitem__) or _not_floating(node, moving)
    return ("analog", f"telescoped: {reason}") if reason else ("linear", "exact per time-step")


CONSTANT = "constant in time"
CORE: tuple[Role, ...] = ("neuron", "linear", "pooled", "analog")
INSIDE, STEPPED = {"analog", "refused"}, {"neuron", "linear", "refused"}
"""Roles that take what a telescoped operator makes, and what any other makes, as it is."""


def _not_floating(node: Node, moving: set[str]) -> str | None:
    """Whole numbers and booleans have no mean: what handles them acts on the mean of what came before."""
    for tensor in [*node.inputs, *node.outputs]:
        if tensor.name in moving and not _floating(tensor):
            return f"'{tensor.name}' is {np.dtype(tensor.dtype)}"
    return None


def _floating(tensor: Tensor) -> bool:
    return tensor.dtype is None or np.issubdtype(tensor.dtype, np.floating)


def _widen(nodes: list[Node], rows: dict[str, Row]) -> None:
    """Telescope the linear operators and max-pools that lie between telescoped ones with no neuron between."""
    inside = {
        r.node
        for r in rows.values()
        if r.role in ("linear", "pooled", "analog") and r.reason != CONSTANT
    }
    core = [node for node in nodes if node.name in inside]

    def telescoped(node: Node) -> bool:
        return rows[node.name].role == "analog"

    for name in nodes_behind(core, telescoped) & nodes_before(core, telescoped):
        if rows[name].role != "analog":
            rows[name] = Row(
                name, rows[name].op, "analog", "telescoped: lies between operators that are"
            )


def _unstateable(
    node: Node, rows: dict[str, Row], moving: set[str], outputs: set[str]
) -> str | None:
    """Why a state that is needed between a core node and those behind it cannot be kept."""
    for tensor in [t for t in node.outputs if t.name in moving]:
        takers = {rows[n.name].role for n in tensor.outputs if not shape_only(n)}
        others = takers - (INSIDE if rows[node.name].role == "analog" else STEPPED)
        if (others or tensor.name in outputs) and rank(tensor) is None:
            return f"the rank of '{tensor.name}' is unknown"
        if (others or tensor.name in outputs) and not _floating(tensor):
            return f"'{tensor.name}' is {np.dtype(tensor.dtype)}, which has no mean for what comes behind"
    return None


def _site(node: Node, arrangement: Arrangement) -> Site:
    tensor = node.outputs[0]
    shape = dims_of(tensor)
    axis = channel_axis(node.inputs[0], len(shape))
    size = shape[axis]
    upper = upper_bound(node)
    assert upper is not None
    return Site(
        name=node.name,
        source=arrangement.sources.get(node.name, node.name),
        tensor=tensor.name,
        upper=upper,
        axis=axis,
        channels=size if isinstance(size, int) else None,
        shape=shape,
    )


def channel_axis(tensor: Tensor, rank_: int) -> int:
    """The axis along which the weighted operator before a site has its output channels.

    Conv: axis 1; Gemm and MatMul: the last. Found by walking back through operators that keep or permute axes; where
    the walk ends at anything else, axis 1.
    """
    axis = None
    permutations = []
    while (node := producer(tensor)) is not None:
        if node.op in ("Gemm", "MatMul") and is_weighted(node):
            axis = rank_ - 1
            break
        if node.op == "Transpose" and "perm" in node.attrs:
            permutations.append(list(node.attrs["perm"]))
        elif node.op not in (
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Concat",
            "Pad",
            "Slice",
            *MAX_POOLS,
            "AveragePool",
        ):
            break
        computed = [t for t in node.inputs if constant(t) is None]
        if not computed or rank(computed[0]) != rank_:
            break
        tensor = computed[0]
    axis = 1 if axis is None else axis
    for perm in reversed(permutations):
        axis = perm.index(axis)
    return axis if axis < rank_ else rank_ - 1
