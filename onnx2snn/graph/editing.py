"""Editing a graph: constants, wiring, names and shapes, over onnx-graphsurgeon.

Graphs travel between stages as `graph.types.Graph`. A constant is never changed in place: several
nodes may share it. Nodes are appended; `tidy` sorts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import logger as gs_logger

from onnx2snn.aliases import Array, Dim
from onnx2snn.graph.references import as_references, map_references
from onnx2snn.graph.sorting import by_level, needed, subgraphs
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.protos import apart
from onnx2snn.protos.quiet import quiet


class _Node(gs.Node):  # type: ignore[misc]
    """A node that is equal to itself alone.

    The library compares nodes by all they have, and compares them with all other readers of a
    tensor whenever one of these leaves.
    """

    # those of Python's own code: a list of nodes compares hundreds of them to find one
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def copy(self, *arguments: Any, **named: Any) -> _Node:
        made: _Node = super().copy(*arguments, **named)
        made.__class__ = _Node
        return made


def to_graph(proto: onnx.ModelProto) -> Graph:
    """Return a model as a graph, sorted; constants are loaded late, or mapped (`protos.apart`)."""
    with quiet(gs_logger):
        graph: Graph = gs.import_onnx(proto)
        map_references(graph)
    for node in graph.nodes:
        node.__class__ = _Node
    return _sorted(graph)


def to_proto(graph: Graph, ir_version: int = 10) -> onnx.ModelProto:
    """Return a graph as a model; the IR version is ours, not the newest the library knows."""
    with quiet(gs_logger), as_references(graph):
        proto: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    proto.ir_version = ir_version
    apart.let_go()
    return proto


def submodel(
    graph: Graph, nodes: Sequence[Node], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> onnx.ModelProto:
    """Return some nodes of a graph as a model of their own.

    Args:
        graph: The graph they belong to; of its own inputs the model has those that the nodes take.
        nodes: The nodes, sorted.
        inputs: Tensors that the model is given beside them.
        outputs: Tensors that the model returns.
    """
    taken = {tensor.name for node in nodes for tensor in node.inputs}
    own = [tensor for tensor in graph.inputs if tensor.name in taken]
    part = gs.Graph(
        nodes=list(nodes),
        inputs=[*own, *inputs],
        outputs=list(outputs),
        opset=graph.opset,
        import_domains=graph.import_domains,
    )
    return to_proto(part)


def tidy(graph: Graph) -> Graph:
    """Drop nodes and tensors nobody needs, and sort; the graph is changed and returned."""
    for tensor in graph.inputs:
        tensor.inputs.clear()
    for node in graph.nodes:
        for inner in subgraphs(node):
            with quiet(gs_logger):
                inner.cleanup(recurse_functions=False)
    kept = needed(graph)
    wanted = {id(node) for node in kept}
    for node in graph.nodes:
        if id(node) not in wanted:
            detach(node)
    graph.nodes = kept
    return _sorted(graph)


def _sorted(graph: Graph) -> Graph:
    """Sort the nodes, and those of graphs inside them; the graph is changed and returned."""
    for node in graph.nodes:
        for inner in subgraphs(node):
            with quiet(gs_logger):
                inner.toposort(recurse_functions=False, mode="nodes")
    graph.nodes = by_level(graph)
    return graph


def is_constant(tensor: Tensor) -> bool:
    """Return whether a tensor is a constant, without a look at its value."""
    return isinstance(tensor, gs.Constant)


def constant(tensor: Tensor) -> Array | None:
    """Return the value of a constant tensor, or None where it is computed."""
    if not isinstance(tensor, gs.Constant):
        return None
    if isinstance(tensor._values, np.ndarray):
        return tensor._values
    if isinstance(tensor.dtype, np.dtype):
        return np.asarray(tensor.values)
    with quiet(gs_logger):  # of types that NumPy does not know with a notice
        return np.asarray(tensor.values)


def make_constant(name: str, values: Array) -> Tensor:
    """Return a new constant tensor."""
    made: Tensor = gs.Constant(name, apart.put_apart(np.ascontiguousarray(values)))
    return made


def variable(
    name: str, like: Tensor | None = None, shape: Sequence[Dim] | None = None, dtype: Any = None
) -> Tensor:
    """Return a new variable tensor; `like` gives its shape and type where these are left out."""
    if like is not None and shape is None:
        shape = like.shape
    if like is not None and dtype is None:
        dtype = like.dtype
    dims = None if shape is None else list(shape)
    made: Tensor = gs.Variable(name, dtype=dtype, shape=dims)
    return made


def unique_name(taken: set[str], base: str) -> str:
    """Return `base`, or `base_2`, `base_3` ... where that is taken; from then on it is taken."""
    name = base
    count = 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


class Editor:
    """Adds to a graph under names that nothing in it has.

    It reads the graph's names once, so that adding a node does not depend on the graph's size;
    whoever adds to the graph while an editor is at work does it through that editor.
    """

    def __init__(self, graph: Graph) -> None:
        """Read the names of all nodes and tensors."""
        self.graph = graph
        with quiet(gs_logger):
            tensors = graph.tensors()
        self._taken = {node.name for node in graph.nodes} | set(tensors)

    def name(self, base: str) -> str:
        """Return an unused name like `base`, as `unique_name` does; from now on it is taken."""
        return unique_name(self._taken, base)

    def constant(self, label: str, values: Array) -> Tensor:
        """Return a new constant, its name made from a label."""
        return make_constant(self.name(label), values)

    def variable(
        self,
        label: str,
        like: Tensor | None = None,
        shape: Sequence[Dim] | None = None,
        dtype: Any = None,
    ) -> Tensor:
        """Return a new variable as `variable` does, its name made from a label."""
        return variable(self.name(label), like, shape, dtype)

    def node(
        self,
        op: str,
        label: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        attrs: dict[str, Any] | None = None,
        *,
        domain: str | None = None,
    ) -> Node:
        """Append a node, its name made from a label."""
        return self.append(op, self.name(label), inputs, outputs, attrs, domain=domain)

    def append(
        self,
        op: str,
        name: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        attrs: dict[str, Any] | None = None,
        *,
        domain: str | None = None,
    ) -> Node:
        """Append a node whose name is settled: that of a node it takes the place of, say."""
        node: Node = _Node(
            op=op,
            name=name,
            attrs=attrs or {},
            inputs=list(inputs),
            outputs=list(outputs),
            domain=domain,
        )
        self.graph.nodes.append(node)
        return node


def producer(tensor: Tensor) -> Node | None:
    """Return the node that makes a tensor, or None for graph inputs and constants."""
    return tensor.inputs[0] if tensor.inputs else None


def maker(tensor: Tensor) -> Node:
    """Return the node that makes a tensor which is known to be made by one."""
    (node,) = tensor.inputs
    return node


def consumers(tensor: Tensor) -> list[Node]:
    """Return the nodes that read a tensor, each once."""
    by_identity = {id(node): node for node in tensor.outputs}
    return list(by_identity.values())


def redirect(graph: Graph, old: Tensor, new: Tensor, readers: Iterable[Node] | None = None) -> None:
    """Let the readers of a tensor read another.

    Args:
        graph: The graph, which is changed.
        old: The tensor read so far.
        new: The tensor read from now on.
        readers: The nodes meant; None for all, and then outputs of the graph follow as well.
    """
    followers = old.outputs if readers is None else readers
    # each once: a node may read a tensor thousands of times
    by_identity = {id(node): node for node in followers}
    for node in by_identity.values():
        for index, tensor in enumerate(list(node.inputs)):
            if tensor is old:
                node.inputs[index] = new
    if readers is None:
        graph.outputs = [new if tensor is old else tensor for tensor in graph.outputs]


def drop(graph: Graph, node: Node) -> None:
    """Take a node out of the graph."""
    detach(node)
    graph.nodes.remove(node)


def detach(node: Node) -> None:
    """Take all tensors from a node, so that `tidy` drops it, with all others in one pass."""
    node.inputs.clear()
    node.outputs.clear()


def is_output(graph: Graph, tensor: Tensor) -> bool:
    """Return whether a tensor is an output of the graph."""
    return any(tensor is output for output in graph.outputs)
