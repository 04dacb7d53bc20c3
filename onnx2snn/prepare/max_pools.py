"""What moves or splits before statistics are taken: max-pools to the front of their activation, activations into the
ones that fire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onnx2snn.graph.editing import (
    add_node,
    constant,
    drop,
    infer_shapes,
    is_output,
    maker,
    names_in,
    producer,
    rank,
    tidy,
    unique_name,
    variable,
)
from onnx2snn.graph.flow import between_weights, nodes_behind
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare import activations
from onnx2snn.protos.nodes import MAX_POOLS, standard


@dataclass
class Arrangement:
    """What `arrange` did: `sources` maps an activation's name to the ANN node it came from where the two differ."""

    moved_pools: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)


def arrange(graph: Graph) -> tuple[Graph, Arrangement]:
    """Pool the input current, then fire (paper, theorem 2); and bring every activation into the form that fires.

    Algebra: maxpool(f(z)) = f(maxpool(z)) for a non-decreasing f, since padding never wins; a pool of a Concat of
    channels is the Concat of the pools; an activation changes places with a Pad or Transpose behind it, since it acts
    on single elements (a padding with zeros needs f(0) = 0).
    Cases: what feeds other nodes too stays for them, and the pool gets one of its own; pool after pool: both move; of a
    Concat all branches have to get to an activation, or be constant in time. Refused, and left to be pooled on the
    accumulated current: anything else, and a pool whose indices are used.
    """
    done = Arrangement()
    activations.bound(graph)
    moving = _Pools(graph, done)
    pending = [node for node in graph.nodes if node.op in MAX_POOLS and standard(node)]
    while pending:
        pending = [pool for stayed in pending for pool in moving.move(stayed)]
    if done.moved_pools:
        graph = tidy(graph)
        infer_shapes(graph)
    activations.split(graph, done.sources)
    graph = tidy(graph)
    infer_shapes(graph)
    return graph, done


class _Pools:
    """Moves max-pools towards the input, as far as each gets."""

    def __init__(self, graph: Graph, done: Arrangement) -> None:
        self.graph, self.done = graph, done
        nodes = list(graph.nodes)
        self.inside = between_weights(nodes)
        self.spiking = nodes_behind(nodes, self._fires) | {n.name for n in nodes if self._fires(n)}
        self.origins: dict[str, str] = {}

    def move(self, pool: Node) -> list[Node]:
        """Move a pool past what makes its input; returns the pools that may move on."""
        x = pool.inputs[0]
        if (len(pool.outputs) > 1 and pool.outputs[1].outputs) or not self._reaches(x):
            return []
        origin = self.origins.get(pool.name, pool.name)
        if origin not in self.done.moved_pools:
            self.done.moved_pools.append(origin)
        if maker(x).op == "Concat":
            return self._branch(pool, maker(x))
        self._surface(x)
        self._swap(pool)
        return [pool]

    def _fires(self, node: Node) -> bool:
        return node.name in self.inside and activations.is_monotone(node)

    def _reaches(self, tensor: Tensor) -> bool:
        """Whether a pool of this tensor gets to an activation."""
        concat = producer(tensor)
        if concat is None or concat.op != "Concat" or not standard(concat):
            return self._origin(tensor) is not None
        ndim = rank(concat.outputs[0])
        if ndim is None or concat.attrs["axis"] % ndim > 1:
            return False
        ends = [self._reaches(t) for t in concat.inputs]
        return any(ends) and all(
            end or self._static(t) for end, t in zip(ends, concat.inputs, strict=True)
        )

    def _origin(self, tensor: Tensor) -> Node | None:
        """The activation at the end of a chain of operators that move elements, or None."""
        node = producer(tensor)
        if node is None or self._fires(node):
            return node
        passes = _MOVERS.get(node.op) if standard(node) else None
        activation = self._origin(node.inputs[0]) if passes is not None else None
        return (
            activation
            if passes is not None and activation is not None and passes(node, activation)
            else None
        )

    def _static(self, tensor: Tensor) -> bool:
        node = producer(tensor)
        return node is None or node.name not in self.spiking

    def _branch(self, pool: Node, concat: Node) -> list[Node]:
        """pool(concat(x, y)) = concat(pool(x), pool(y))."""
        taken = names_in(self.graph)
        pools, parts = [], []
        for tensor in concat.inputs:
            name = unique_name(taken, f"{pool.name}/{concat.name}")
            self.origins[name] = self.origins.get(pool.name, pool.name)
            parts.append(_unsized(f"{name}_out", tensor))
            pools.append(
                add_node(self.graph, pool.op, name, [tensor], [parts[-1]], dict(pool.attrs))
            )
        out = pool.outputs[0]
        drop(self.graph, pool)
        name = unique_name(taken, f"{concat.name}/{pool.name}")
        self.spiking.add(name)
        add_node(self.graph, "Concat", name, parts, [out], dict(concat.attrs))
        return pools

    def _surface(self, tensor: Tensor) -> None:
        """Bring the activation before a chain of operators that move elements to its end."""
        mover = maker(tensor)
        if not self._fires(mover):
            self._surface(mover.inputs[0])
            self._swap(mover)

    def _swap(self, node: Node) -> None:
        """node(f(z)) = f(node(z)): the node and the activation before it change places."""
        activation, out = maker(node.inputs[0]), node.outputs[0]
        z, a = activation.inputs[0], activation.outputs[0]
        taken = names_in(self.graph)
        moved = _unsized(unique_name(taken, f"{node.name}_current"), z)
        node.outputs.clear()
        node.outputs.append(moved)
        node.inputs[0] = z
        alone = not a.outputs and not is_output(self.graph, a)
        source = self.done.sources.get(activation.name, activation.name)
        name = activation.name if alone else unique_name(taken, f"{activation.name}/{node.name}")
        others, attrs = list(activation.inputs[1:]), dict(activation.attrs)
        op = activation.op
        if alone:
            drop(self.graph, activation)
        add_node(self.graph, op, name, [moved, *others], [out], attrs)
        self.inside.add(name)
        self.spiking.add(name)
        if name != source:
            self.done.sources[name] = source


def _unsized(name: str, like: Tensor) -> Tensor:
    """A new tensor of another's type and rank."""
    return variable(
        name, dtype=like.dtype, shape=None if like.shape is None else [None] * len(like.shape)
    )


def _transposed(_node: Node, activation: Node) -> bool:
    return activations.is_uniform(activation)


def _padded(node: Node, activation: Node) -> bool:
    if not activations.is_uniform(activation):
        return False
    if node.attrs.get("mode", "constant") != "constant":
        return True
    value = (
        constant(node.inputs[2])
        if len(node.inputs) > 2 and not node.inputs[2].is_empty()
        else np.zeros(1)
    )
    return value is not None and not np.any(value) and activations.keeps_zero(activation)


_MOVERS: dict[str, Callable[[Node, Node], bool]] = {"Transpose": _transposed, "Pad": _padded}
"""Operators that move single elements, and whether an activation before one can change places with it."""
