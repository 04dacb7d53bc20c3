"""Encoder / core / readout, and the neuron sites.

The very same table drives the converter and `onnx2snn inspect`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

from onnx2snn.aliases import Dim
from onnx2snn.errors import GateError, UnsupportedGraphError
from onnx2snn.graph.bounds import upper_bound
from onnx2snn.graph.dims import dims_of, rank
from onnx2snn.graph.editing import constant, producer
from onnx2snn.graph.operators import Role, is_weighted
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.arrange import Arrangement
from onnx2snn.prepare.roles import Row, roles_of
from onnx2snn.protos.nodes import MAX_POOLS

ASSUMED_SIZE = 64
"""Of an axis whose size is not static, where neurons are counted."""


@dataclass(frozen=True)
class Site:
    """One activation that becomes a layer of neurons.

    `axis` is the channel axis of its tensor and `channels` their number; `channels` is None where
    that size is not static, and the layer then has a single threshold. `upper` is u of clip(z, 0,
    u) in ANN units, infinity for Relu. `source` names the ANN's node that it came from.
    """

    name: str
    source: str
    tensor: str
    upper: float
    axis: int
    channels: int | None
    shape: tuple[Dim, ...]

    def threshold_shape(self, granularity: str) -> tuple[int, ...]:
        """Return the shape of its thresholds: one a channel, or one in all; it broadcasts."""
        shape = [1] * len(self.shape)
        if granularity == "channel" and self.channels is not None:
            shape[self.axis] = self.channels
        return tuple(shape)

    @property
    def neurons(self) -> int:
        """Neurons per sample, with a size that is not static taken as 64."""
        count = 1
        for size in self.shape[1:]:
            count *= size if isinstance(size, int) else ASSUMED_SIZE
        return count


@dataclass(frozen=True)
class Partition:
    """The three parts of a network, by node name, and its neuron sites in topological order."""

    rows: tuple[Row, ...]
    sites: tuple[Site, ...]

    def role(self, node: Node) -> Role:
        """Return what becomes of a node."""
        return self._roles[node.name]

    @cached_property
    def _roles(self) -> dict[str, Role]:
        return {row.node: row.role for row in self.rows}

    def names(self, *roles: Role) -> set[str]:
        """Return the names of the nodes with one of these roles."""
        return {row.node for row in self.rows if row.role in roles}

    def require_convertible(self) -> None:
        """Raise UnsupportedGraphError for the first refused node, or where no node would fire."""
        for row in self.rows:
            if row.role == "refused":
                raise UnsupportedGraphError(row.node, row.op, row.reason)
        if not self.sites:
            raise UnsupportedGraphError("", "", f"there is nothing to convert: {self._no_site()}")

    def _no_site(self) -> str:
        """Return why no activation fires."""
        for row in self.rows:
            if row.unfed:
                return f"the activation '{row.node}' ({row.op}) stays as it is, since {row.unfed}"
        return (
            "the network has no activation (Relu, Clip or the like) between two weighted operators "
            "(Conv, ConvTranspose, Gemm, MatMul)"
        )

    def require_spiking(self) -> None:
        """Raise GateError where an operator of the core is analog."""
        analog = [row for row in self.rows if row.role == "analog"]
        if not analog:
            return
        first = analog[0]
        others = f" and {len(analog) - 1} more" if len(analog) > 1 else ""
        raise GateError(
            f"node '{first.node}' ({first.op}){others} would be analog ({first.reason}), "
            "which --strict forbids; convert without it, or exchange the operator in the network"
        )


def partition(graph: Graph, arrangement: Arrangement, keep: Collection[str] = ()) -> Partition:
    """Return the role of every node of an arranged graph, and its neuron sites.

    Args:
        graph: The arranged graph.
        arrangement: How its nodes are called in the ANN.
        keep: Names of activations, here or in the ANN, that shall not fire.
    """
    kept = set()
    for node in graph.nodes:
        if node.name in keep or arrangement.sources.get(node.name) in keep:
            kept.add(node.name)
    rows = roles_of(graph, kept)
    sites = []
    for node in graph.nodes:
        row = rows[node.name]
        if row.role != "neuron":
            continue
        # an activation that was split, or copied for a pool, is reported by the ANN's name
        source = arrangement.sources.get(node.name, node.name)
        sites.append(_site(node, source))
        if source != node.name:
            rows[node.name] = replace(row, reason=f"fires, for a part of '{source}'")
    return Partition(tuple(rows.values()), tuple(sites))


def _site(node: Node, source: str) -> Site:
    tensor = node.outputs[0]
    shape = dims_of(tensor)
    axis = channel_axis(node.inputs[0], len(shape))
    size = shape[axis]
    if axis == 0:
        # channels in front: none of them has a threshold of its own
        size = None
    upper = upper_bound(node)
    assert upper is not None
    return Site(
        name=node.name,
        source=source,
        tensor=tensor.name,
        upper=upper,
        axis=axis,
        channels=size if isinstance(size, int) else None,
        shape=shape,
    )


KEEPS_AXES = ("Add", "Sub", "Mul", "Div", "Concat", "Pad", "Slice", "AveragePool", *MAX_POOLS)
"""Operators whose output has the axes of their input, each in its place."""


def channel_axis(tensor: Tensor, ndim: int) -> int:
    """Return the axis along which the weighted operator before a site has its output channels.

    Conv: axis 1; Gemm and MatMul: the last, but of a matrix W x with a constant on the left axis 0.
    Found by walking back through operators that keep or permute axes; where the walk ends at
    anything else, axis 1.

    Args:
        tensor: The site's input current.
        ndim: Its rank.
    """
    axis = 1
    permutations: list[list[int]] = []
    node = producer(tensor)
    while node is not None:
        if node.op in ("Gemm", "MatMul") and is_weighted(node):
            axis = ndim - 1
            # W x has its channels in front, and samples behind
            if ndim == 2 and constant(node.inputs[0]) is not None:
                axis = 0
            break
        # a Transpose without an order turns all axes about: the walk ends there
        if node.op == "Transpose" and "perm" in node.attrs:
            permutations.append(list(node.attrs["perm"]))
        elif node.op not in KEEPS_AXES:
            break
        # back along the operand that is computed; a constant has no part in the axes
        computed = [operand for operand in node.inputs if constant(operand) is None]
        if not computed or rank(computed[0]) != ndim:
            break
        node = producer(computed[0])
    # axis i of a Transpose's output is axis perm[i] of its input; the one met last comes first
    for permutation in reversed(permutations):
        axis = permutation.index(axis)
    return min(axis, ndim - 1)
