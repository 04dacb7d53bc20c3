"""Encoder / core / readout, and the neuron sites; refusals with their reason.

The very same table drives the converter and `onnx2snn inspect`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._arrange import Arrangement
from ._errors import UnsupportedGraphError
from ._graph import Graph, Node, Tensor, constant, dims_of, producer, rank
from ._operators import MAX_POOLS, SHAPE_ONLY, Role, is_weighted, refusal, standard, upper_bound
from ._specs import Dim


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
                "there is nothing to convert: the network has no activation (Relu or Clip(0, u)) "
                "between two weighted operators (Conv, ConvTranspose, Gemm, MatMul)"
            )
            raise UnsupportedGraphError("", "", reason)


def partition(graph: Graph, arrangement: Arrangement) -> Partition:
    """Sort the nodes of an arranged graph into encoder, core and readout.

    A neuron site is a supported activation with a weighted operator on a path before it and another on a path after it.
    encoder: whatever is not downstream of a neuron; readout: what is, and leads to no neuron; core: the rest.
    """
    nodes = list(graph.nodes)
    weights_before = _reach(nodes, is_weighted)
    weights_after = _reach_back(nodes, is_weighted)
    sites = {
        n.name
        for n in nodes
        if upper_bound(n) is not None and n.name in weights_before and n.name in weights_after and n.outputs
    }
    downstream = _reach(nodes, lambda n: n.name in sites)
    upstream = _reach_back(nodes, lambda n: n.name in sites)
    varying = _varying(nodes, sites)
    rows, found = [], []
    for node in nodes:
        role, reason = _row(node, sites, downstream, upstream, varying)
        rows.append(Row(node.name, node.op, role, reason))
        if role == "neuron":
            found.append(_site(node, arrangement))
    return Partition(tuple(rows), tuple(found))


def _row(node: Node, sites: set[str], downstream: set[str], upstream: set[str], varying: set[str]) -> tuple[Role, str]:
    if node.name in sites:
        tensor = node.outputs[0]
        if not rank(tensor):
            return "refused", "the rank of its tensor is unknown"
        if tensor.dtype is not None and tensor.dtype != np.float32:
            return "refused", f"it computes in {np.dtype(tensor.dtype)}; export the model in float32"
        return "neuron", "fires"
    if node.name not in downstream:
        return "encoder", "constant in time: computed once per input"
    if node.name not in upstream:
        return "readout", "acts on the mean over the evaluation window"
    moving = [t.name in varying for t in node.inputs]
    if not any(moving) or (node.op in SHAPE_ONLY and standard(node)):
        return "linear", "constant in time"
    if node.op in MAX_POOLS and standard(node):
        if len(node.outputs) > 1 and node.outputs[1].outputs:
            return "refused", "its indices are used"
        return "pooled", "pools the input current"
    reason = refusal(node, lambda index: moving[index])
    return ("refused", reason) if reason else ("linear", "exact per time-step")


def _reach(nodes: list[Node], start: object) -> set[str]:
    """Names of the nodes strictly downstream of those for which `start` holds (nodes sorted)."""
    return _spread(nodes, start, lambda n: n.inputs, lambda n: n.outputs)


def _reach_back(nodes: list[Node], start: object) -> set[str]:
    """Names of the nodes strictly upstream of those for which `start` holds (nodes sorted)."""
    return _spread(nodes[::-1], start, lambda n: n.outputs, lambda n: n.inputs)


def _spread(nodes: list[Node], start: object, entering: object, leaving: object) -> set[str]:
    assert callable(start) and callable(entering) and callable(leaving)
    lit: set[int] = set()
    reached: set[str] = set()
    for node in nodes:
        hit = any(id(t) in lit for t in entering(node))
        if hit:
            reached.add(node.name)
        if hit or start(node):
            lit.update(id(t) for t in leaving(node))
    return reached


def _varying(nodes: list[Node], sites: set[str]) -> set[str]:
    """Names of the tensors whose values change from one time-step to the next."""
    varying: set[str] = set()
    for node in nodes:
        moves = any(t.name in varying for t in node.inputs) and not (node.op in SHAPE_ONLY and standard(node))
        if node.name in sites or moves:
            varying.update(t.name for t in node.outputs)
    return varying


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
        elif node.op not in ("Add", "Sub", "Mul", "Div", "Concat", "Pad", "Slice", *MAX_POOLS, "AveragePool"):
            break
        tensor = next((t for t in node.inputs if constant(t) is None), None)
        if tensor is None or rank(tensor) != rank_:
            break
    axis = 1 if axis is None else axis
    for perm in reversed(permutations):
        axis = perm.index(axis)
    return axis if axis < rank_ else rank_ - 1
