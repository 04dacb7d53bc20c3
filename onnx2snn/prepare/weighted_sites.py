"""Sites in front of weighted operators: the partition of differential coding.

A weighted operator is spiking where the operand that it takes from the network arrives as spikes,
its weights being constant in time: a neuron stands in front of it, one a tensor, shared by all
operators that take it. A product of two tensors that both change has two neurons. What stands
between is evaluated on the receivers' estimates, whatever it is.

- encoder: constant in time; weighted operators behind no other take the input itself, unless the
  input is to arrive as spikes, too.
- spiking: driven by spikes.
- estimated: on the way from spikes to spikes, computed on estimates.
- analog: the same, of an operator that holds weights and no spikes drive.
- readout: behind all spikes, computed when an answer is asked for.
- refused: it draws random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from onnx2snn.graph.dims import dims_of, rank
from onnx2snn.graph.editing import constant, producer
from onnx2snn.graph.flow import nodes_before, shape_only
from onnx2snn.graph.operators import CONTROL, Role, is_weighted, shaped_by
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Partition, Site
from onnx2snn.prepare.roles import Row
from onnx2snn.prepare.spiking_uses import Use, channel_axis, form_of
from onnx2snn.protos.nodes import RANDOM, RECURRENT, standard
from onnx2snn.snn.format import Drive, WeightedEntry

HOLDS_WEIGHTS = ("Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "Einsum")
"""Operators that multiply and add, and are linear in each operand."""

PRODUCTS = ("MatMul", "Einsum")
"""Those whose two operands may both arrive as spikes."""


@dataclass(frozen=True)
class WeightedPartition(Partition):
    """A partition with neurons in front of weighted operators."""

    uses: tuple[Use, ...] = ()
    weighted: tuple[WeightedEntry, ...] = ()

    def _no_site(self) -> str:
        if any(entry["drive"] == "encoder" for entry in self.weighted):
            return (
                "no weighted operator stands behind another; --encode-input lets the input arrive "
                "as spikes"
            )
        return (
            "the network has no weighted operator (Conv, ConvTranspose, Gemm, MatMul ...) that "
            "spikes could drive"
        )


@dataclass
class _Walk:
    """What is known of tensors, by identity, on the way from the inputs on.

    `driven`: made of an input's values; `behind`: behind a weighted operator; `moving`: it changes
    from step to step; `unsteady`: so does its shape.
    """

    encode_input: bool
    driven: set[int] = field(default_factory=set)
    behind: set[int] = field(default_factory=set)
    moving: set[int] = field(default_factory=set)
    unsteady: set[int] = field(default_factory=set)
    uses: list[Use] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """The tensors that get neurons, by the names of their sites."""
    drives: dict[str, tuple[Drive, str]] = field(default_factory=dict)
    """What drives the operators that hold weights, and why, by node."""

    def enter(self, node: Node) -> None:
        """Decide on a node, and pass on what is known of its inputs."""
        inputs = [tensor for tensor in node.inputs if not tensor.is_empty()]
        holds = holds_weights(node)
        if holds and any(id(tensor) in self.driven for tensor in inputs):
            self._decide(node)
        self._pass_on(node, inputs, weighted=holds)

    def _decide(self, node: Node) -> None:
        operands = self._operands(node)
        if not operands:
            inside = any(id(tensor) in self.moving for tensor in node.inputs)
            if inside:
                self.drives[node.name] = ("analog", "only a parameter of it changes")
            else:
                self.drives[node.name] = ("encoder", "it takes the input itself, once")
            return
        refusal = self._refusal(node, operands)
        if refusal is not None:
            moves = any(id(tensor) in self.moving for tensor in node.inputs)
            drive: Drive = "analog" if moves else "encoder"
            self.drives[node.name] = (drive, refusal)
            return
        sites = []
        for index in operands:
            tensor = node.inputs[index]
            name = f"{tensor.name}/neuron"
            self.tensors[name] = tensor
            sites.append(name)
        self.uses.append(Use(node.name, operands, tuple(sites), form_of(node, operands)))
        self.drives[node.name] = ("spiking", "its operand arrives as spikes")

    def _operands(self, node: Node) -> tuple[int, ...]:
        """Return the operands that are to arrive as spikes."""
        arrives = self.driven if self.encode_input else self.behind
        last = 1 if node.op in ("Conv", "ConvTranspose", "DeformConv") else 2
        if node.op == "Einsum":
            last = len(node.inputs)
        several = range(min(last, len(node.inputs)))
        return tuple(index for index in several if id(node.inputs[index]) in arrives)

    def _refusal(self, node: Node, operands: Sequence[int]) -> str | None:
        """Return why spikes cannot drive an operator, or None where they can."""
        if node.op in RECURRENT:
            return "recurrent layers compute on estimates"
        if node.op in CONTROL:
            return "control flow computes on estimates"
        if not standard(node):
            return f"nothing is known about operators of domain '{node.domain}'"
        if len(operands) > 2 or (len(operands) == 2 and node.op not in PRODUCTS):
            return "several of its operands change"
        for index, tensor in enumerate(node.inputs):
            if index not in operands and id(tensor) in self.moving:
                return f"its input '{tensor.name}' changes as well"
        for index in operands:
            reason = self._unsendable(node.inputs[index])
            if reason is not None:
                return reason
        return _unstateable(node.outputs[0])

    def _unsendable(self, tensor: Tensor) -> str | None:
        if id(tensor) in self.unsteady:
            return f"the shape of '{tensor.name}' depends on values that change"
        return _unstateable(tensor)

    def _pass_on(self, node: Node, inputs: Sequence[Tensor], *, weighted: bool) -> None:
        shapes = shape_only(node)
        driven = not shapes and any(id(tensor) in self.driven for tensor in inputs)
        behind = not shapes and any(id(tensor) in self.behind for tensor in inputs)
        moving = not shapes and any(id(tensor) in self.moving for tensor in inputs)
        spiking = node.name in self.drives and self.drives[node.name][0] == "spiking"
        unsteady = any(id(tensor) in self.unsteady for tensor in inputs)
        # the shape of a tensor without a steady one changes, too
        moving = moving or (shapes and unsteady)
        if not unsteady and moving:
            unsteady = shaped_by(node, lambda i: id(node.inputs[i]) in self.moving)
        for tensor in node.outputs:
            for known, holds in (
                (self.driven, driven or moving),
                (self.behind, behind or (driven and weighted)),
                (self.moving, moving or spiking),
                (self.unsteady, unsteady and not spiking),
            ):
                if holds:
                    known.add(id(tensor))


def weighted_partition(graph: Graph, *, encode_input: bool = False) -> WeightedPartition:
    """Return the role of every node of a graph, and sites in front of its weighted operators.

    Args:
        graph: The normalised graph, its nodes sorted.
        encode_input: Whether the operators that take the input are driven by spikes, too.
    """
    nodes = list(graph.nodes)
    walk = _Walk(encode_input)
    walk.driven.update(id(tensor) for tensor in graph.inputs)
    for node in nodes:
        walk.enter(node)
    by_node = {use.node: use for use in walk.uses}

    def spikes(node: Node) -> bool:
        return node.name in by_node

    upstream = nodes_before(nodes, spikes)
    rows = [_row(node, walk, node.name in upstream) for node in nodes]
    sites = _sites(graph, walk)
    weighted = []
    for node in nodes:
        if node.name in walk.drives:
            drive, reason = walk.drives[node.name]
            weighted.append(WeightedEntry(node=node.name, op=node.op, drive=drive, reason=reason))
    return WeightedPartition(tuple(rows), tuple(sites), tuple(walk.uses), tuple(weighted))


def _row(node: Node, walk: _Walk, before_spikes: bool) -> Row:
    role, reason = _role(node, walk, before_spikes)
    return Row(node.name, node.op, role, reason)


def _role(node: Node, walk: _Walk, before_spikes: bool) -> tuple[Role, str]:
    if node.name in walk.drives:
        drive, reason = walk.drives[node.name]
        return drive, reason
    moving = any(id(tensor) in walk.moving for tensor in node.outputs)
    if node.op in RANDOM and standard(node) and (moving or before_spikes):
        return "refused", "it draws random numbers at every step"
    if not moving:
        return "encoder", "constant in time: computed once per input"
    if not before_spikes:
        return "readout", "computed on the estimates when an answer is asked for"
    return "estimated", "computed on the estimates at each step"


def _sites(graph: Graph, walk: _Walk) -> list[Site]:
    nodes = {node.name: node for node in graph.nodes}
    axes: dict[str, set[int | None]] = {}
    for use in walk.uses:
        for index, name in zip(use.operands, use.sites, strict=True):
            axis = channel_axis(nodes[use.node], index) if use.form == "folded" else None
            axes.setdefault(name, set()).add(axis)
    return [_site(name, tensor, axes[name]) for name, tensor in walk.tensors.items()]


def _site(name: str, tensor: Tensor, axes: set[int | None]) -> Site:
    """Return a site; it has a λ per channel where all that read it agree on the channels' axis."""
    shape = dims_of(tensor)
    axis = next(iter(axes))
    channels = None
    if len(axes) == 1 and axis is not None:
        size = shape[axis]
        channels = size if isinstance(size, int) else None
    made = producer(tensor)
    return Site(
        name=name,
        source=tensor.name if made is None else made.name,
        tensor=tensor.name,
        upper=np.inf,
        axis=min(1 if axis is None else axis, len(shape) - 1),
        channels=channels,
        shape=shape,
    )


def holds_weights(node: Node) -> bool:
    """Return whether an operator multiplies by weights, inside a subgraph of it maybe."""
    if not standard(node):
        # an operator that is not known and takes a constant matrix
        values = [constant(tensor) for tensor in node.inputs]
        return any(value is not None and value.ndim > 1 for value in values)
    if node.op in CONTROL:
        return any(is_weighted(inner) or inner.op in RECURRENT for inner in _inside(node))
    return node.op in HOLDS_WEIGHTS or node.op in RECURRENT


def _inside(node: Node) -> list[Node]:
    """Return the nodes in the subgraphs of control flow."""
    found = []
    for value in node.attrs.values():
        for inner in getattr(value, "nodes", ()):
            found += [inner, *_inside(inner)]
    return found


def _unstateable(tensor: Tensor) -> str | None:
    """Return why no state can be kept for a tensor, or None where it can."""
    if not rank(tensor):
        return f"the rank of '{tensor.name}' is unknown or 0"
    if tensor.dtype is not None and tensor.dtype != np.float32:
        kind = np.dtype(tensor.dtype)
        return f"'{tensor.name}' is {kind}; export the model in float32"
    return None
