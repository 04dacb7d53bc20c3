"""Max-pools move before their activation: pool the input current, then fire (paper, theorem 2).

Algebra:
* maxpool(f(z)) = f(maxpool(z)) for a non-decreasing f, since padding never wins;
* maxpool(concat(x, y)) = concat(maxpool(x), maxpool(y)) along channels (or samples);
* maxpool(s x + b) = s maxpool(x) + b for s >= 0 along channels (BatchNormalization behind an
  activation), and for signs g of s: maxpool(s f(z) + b) = s f(g maxpool(g z)) + b;
* move(f(z)) = f(move(z)) for a Transpose or Pad behind an activation, since it acts on single
  elements (a padding with zeros needs f(0) = 0).

Cases: an activation that feeds other nodes too stays for them, and the pool gets one of its own;
pool after pool: both move; of a Concat all branches have to get to an activation, or be constant in
time. Left in place, to be pooled on the accumulated current: anything else, and a pool whose
indices are used. Activations with negative slopes are `prepare.turning_pools`'s.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.dims import rank
from onnx2snn.graph.editing import Editor, constant, drop, is_output, maker, producer, variable
from onnx2snn.graph.flow import between_weights, nodes_behind
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.affine import affine_chain, channel_signs
from onnx2snn.prepare.monotone import is_monotone, is_uniform, keeps_zero
from onnx2snn.protos.nodes import MAX_POOLS, standard


def move_pools(graph: Graph, sources: dict[str, str]) -> list[str]:
    """Move every max-pool as far towards the input as it gets; the graph is changed.

    Args:
        graph: Nodes that are moved go to its end; whoever calls sorts it.
        sources: Gets the ANN node of every activation that is made for a pool.

    Returns:
        The names of the pools that moved.
    """
    mover = _PoolMover(graph, sources)
    pending = [node for node in graph.nodes if node.op in MAX_POOLS and standard(node)]
    # a pool that moved past one operator is before the next, and a Concat makes several of one
    while pending:
        further: list[Node] = []
        for pool in pending:
            further += mover.move(pool)
        pending = further
    return mover.moved


class _PoolMover:
    """Moves max-pools, one operator at a time."""

    def __init__(self, graph: Graph, sources: dict[str, str]) -> None:
        self.graph = graph
        self.sources = sources
        self.editor = Editor(graph)
        self.moved: list[str] = []
        self.origins: dict[str, str] = {}  # of each pool made for a branch, the ANN's pool
        self.inside = between_weights(graph.nodes)
        firing = {node.name for node in graph.nodes if self._fires(node)}
        self.spiking = firing | nodes_behind(graph.nodes, self._fires)

    def move(self, pool: Node) -> list[Node]:
        """Move a pool past the node that makes its input; return the pools that may move on."""
        indices_used = len(pool.outputs) > 1 and pool.outputs[1].outputs
        if indices_used or not self._reaches(pool.inputs[0]):
            return []
        origin = self.origins.get(pool.name, pool.name)
        if origin not in self.moved:
            self.moved.append(origin)
        before = maker(pool.inputs[0])
        if before.op == "Concat":
            return self._branch(pool, before)
        if channel_signs(before) is not None:
            self._pass_affine(pool)
            return [pool]
        self._surface(pool.inputs[0])
        self._swap(pool)
        return [pool]

    def _fires(self, node: Node) -> bool:
        return node.name in self.inside and is_monotone(node)

    def _reaches(self, tensor: Tensor) -> bool:
        """Return whether a pool of this tensor gets to an activation."""
        chain, start, signs = affine_chain(tensor)
        if chain:
            activation = producer(start)
            fires = activation is not None and self._fires(activation)
            return fires or (bool(np.all(signs > 0)) and self._reaches(start))
        concat = producer(tensor)
        if concat is None or concat.op != "Concat" or not standard(concat):
            return self._activation_behind(tensor) is not None
        ndim = rank(concat.outputs[0])
        # a pool mixes positions, so that only samples and channels may be joined
        if ndim is None or concat.attrs["axis"] % ndim > 1:
            return False
        found = False
        for branch in concat.inputs:
            if self._reaches(branch):
                found = True
            elif not self._constant_in_time(branch):
                return False
        return found

    def _activation_behind(self, tensor: Tensor) -> Node | None:
        """Return the activation at the end of a chain of operators that move elements, or None."""
        node = producer(tensor)
        if node is None or self._fires(node):
            return node
        if node.op not in _MOVERS or not standard(node):
            return None
        activation = self._activation_behind(node.inputs[0])
        if activation is None:
            return None
        can_swap = _MOVERS[node.op]
        return activation if can_swap(node, activation) else None

    def _constant_in_time(self, tensor: Tensor) -> bool:
        node = producer(tensor)
        return node is None or node.name not in self.spiking

    def _branch(self, pool: Node, concat: Node) -> list[Node]:
        """pool(concat(x, y)) = concat(pool(x), pool(y)): return the pools of the branches."""
        pools = []
        pooled = []
        for tensor in concat.inputs:
            name = self.editor.name(f"{pool.name}/{concat.name}")
            self.origins[name] = self.origins.get(pool.name, pool.name)
            out = _unsized(f"{name}_out", tensor)
            pooled.append(out)
            pools.append(self.editor.append(pool.op, name, [tensor], [out], dict(pool.attrs)))
        out = pool.outputs[0]
        drop(self.graph, pool)
        joined = self.editor.node(
            "Concat", f"{concat.name}/{pool.name}", pooled, [out], dict(concat.attrs)
        )
        self.spiking.add(joined.name)
        return pools

    def _pass_affine(self, pool: Node) -> None:
        """Bring a pool before the affine operators, and where their signs differ the activation.

        maxpool(s f(z) + b) = s f(g maxpool(g z)) + b, g the signs of s.
        """
        chain, _, signs = affine_chain(pool.inputs[0])
        for _ in chain:
            self._swap(pool)
        if np.all(signs > 0):
            return
        self._swap(pool)
        dtype = pool.inputs[0].dtype or np.float32
        turned = self._times_signs(f"{pool.name}/turn", pool.inputs[0], signs.astype(dtype))
        pool.inputs[0] = turned
        out = pool.outputs[0]
        pooled = _unsized(self.editor.name(f"{pool.name}/turned"), out)
        pool.outputs[0] = pooled
        self._times_signs(f"{pool.name}/turn_back", pooled, signs.astype(dtype), out)

    def _times_signs(
        self, label: str, x: Tensor, signs: Array, out: Tensor | None = None
    ) -> Tensor:
        """Append x times signs by channel, and return the product (`out`, or a new tensor)."""
        if out is None:
            out = _unsized(self.editor.name(f"{label}_out"), x)
        factor = self.editor.constant(f"{label}_signs", signs)
        node = self.editor.node("Mul", label, [x, factor], [out])
        self.spiking.add(node.name)
        return out

    def _surface(self, tensor: Tensor) -> None:
        """Bring the activation before a chain of operators that move elements to its end."""
        mover = maker(tensor)
        if not self._fires(mover):
            self._surface(mover.inputs[0])
            self._swap(mover)

    def _swap(self, node: Node) -> None:
        """node(f(z)) = f(node(z)): a node and the activation before it change places.

        An activation that others read stays for them, and a copy of it goes behind the node.
        """
        activation = maker(node.inputs[0])
        fired = activation.outputs[0]
        current = activation.inputs[0]
        out = node.outputs[0]
        moved_current = _unsized(self.editor.name(f"{node.name}_current"), current)
        # current -> f -> fired -> node -> out becomes current -> node -> moved_current -> f -> out
        node.outputs.clear()
        node.outputs.append(moved_current)
        node.inputs[0] = current
        name = activation.name
        source = self.sources.get(name, name)
        inputs = [moved_current, *activation.inputs[1:]]
        if fired.outputs or is_output(self.graph, fired):
            name = self.editor.name(f"{activation.name}/{node.name}")
        else:
            drop(self.graph, activation)
        self.editor.append(activation.op, name, inputs, [out], dict(activation.attrs))
        self.inside.add(name)
        self.spiking.add(name)
        if name != source:
            self.sources[name] = source


def _unsized(name: str, like: Tensor) -> Tensor:
    """Return a new tensor of another's type and rank."""
    ndim = rank(like)
    shape = None if ndim is None else [None] * ndim
    return variable(name, dtype=like.dtype, shape=shape)


def _transposed(_node: Node, activation: Node) -> bool:
    return is_uniform(activation)


def _padded(node: Node, activation: Node) -> bool:
    if not is_uniform(activation):
        return False
    if node.attrs.get("mode", "constant") != "constant":
        return True
    # constant padding: with zeros, where no value is given
    if len(node.inputs) <= 2 or node.inputs[2].is_empty():
        return keeps_zero(activation)
    value = constant(node.inputs[2])
    if value is None or np.any(value):
        return False
    return keeps_zero(activation)


_MOVERS: dict[str, Callable[[Node, Node], bool]] = {"Transpose": _transposed, "Pad": _padded}
"""Operators that move single elements, and whether one changes places with an activation."""
