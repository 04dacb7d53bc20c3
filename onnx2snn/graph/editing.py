"""A typed handful of helpers over onnx-graphsurgeon: constants, wiring, names and shapes.

Graphs travel between stages as `graphsurgeon.Graph`. A constant is never changed in place: several nodes may share it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnx2snn.aliases import Array, Dim
from onnx2snn.protos import large
from onnx2snn.protos.sessions import types_of

Graph = Any
"""`onnx_graphsurgeon.Graph` (the library ships no types)."""
Node = Any
"""`onnx_graphsurgeon.Node`."""
Tensor = Any
"""`onnx_graphsurgeon.Variable` or `Constant`."""


def to_graph(proto: onnx.ModelProto) -> Graph:
    """A model as a graph, sorted, with lazily loaded constants made real."""
    with _quiet():
        graph = gs.import_onnx(proto)
        graph.toposort()
    return graph


def to_proto(graph: Graph, ir_version: int = 10) -> onnx.ModelProto:
    """A graph as a model; the IR version is ours, not the newest the library knows."""
    with _quiet():
        proto: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    proto.ir_version = ir_version
    return proto


def part(graph: Graph, nodes: Sequence[Node], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> onnx.ModelProto:
    """Some nodes of a graph as a model, from these tensors and those of the graph's own inputs that the nodes take."""
    taken = {t.name for node in nodes for t in node.inputs}
    own = [t for t in graph.inputs if t.name in taken]
    return to_proto(
        gs.Graph(
            nodes=list(nodes),
            inputs=[*own, *inputs],
            outputs=list(outputs),
            opset=graph.opset,
            import_domains=graph.import_domains,
        )
    )


def tidy(graph: Graph) -> Graph:
    """Drop nodes and tensors nobody needs, and sort."""
    with _quiet():
        return graph.cleanup(remove_unused_graph_inputs=False).toposort()


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    # the library prints its warnings to stdout, where machine output goes
    return contextlib.redirect_stdout(io.StringIO())


def constant(tensor: Tensor) -> Array | None:
    """The value of a constant tensor, or None."""
    return np.asarray(tensor.values) if isinstance(tensor, gs.Constant) else None


def make_constant(name: str, values: Array) -> Tensor:
    """A new constant tensor."""
    return gs.Constant(name, np.ascontiguousarray(values))


def variable(name: str, like: Tensor | None = None, shape: Sequence[Dim] | None = None, dtype: Any = None) -> Tensor:
    """A new variable tensor, its shape and type taken from `like` where not given."""
    if like is not None:
        shape = list(like.shape) if shape is None and like.shape is not None else shape
        dtype = like.dtype if dtype is None else dtype
    return gs.Variable(name, dtype=dtype, shape=list(shape) if shape is not None else None)


def add_node(
    graph: Graph,
    op: str,
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    attrs: dict[str, Any] | None = None,
    domain: str | None = None,
) -> Node:
    """Append a node; sorting is left to `tidy`."""
    node = gs.Node(op=op, name=name, attrs=attrs or {}, inputs=list(inputs), outputs=list(outputs), domain=domain)
    graph.nodes.append(node)
    return node


def producer(tensor: Tensor) -> Any:
    """The node that makes a tensor, or None for graph inputs and constants."""
    return tensor.inputs[0] if tensor.inputs else None


def redirect(graph: Graph, old: Tensor, new: Tensor, consumers: Iterable[Node] | None = None) -> None:
    """Let the consumers of `old` (or just the ones given) read `new`; graph outputs follow when all are meant."""
    for node in list(old.outputs) if consumers is None else list(consumers):
        for index, tensor in enumerate(list(node.inputs)):
            if tensor is old:
                node.inputs[index] = new
    if consumers is None:
        graph.outputs = [new if tensor is old else tensor for tensor in graph.outputs]


def drop(graph: Graph, node: Node) -> None:
    """Take a node out of the graph."""
    node.inputs.clear()
    node.outputs.clear()
    graph.nodes.remove(node)


def is_output(graph: Graph, tensor: Tensor) -> bool:
    """Whether a tensor is an output of the graph."""
    return any(tensor is output for output in graph.outputs)


def rank(tensor: Tensor) -> int | None:
    """A tensor's rank, or None where shape inference could not tell."""
    return None if tensor.shape is None else len(tensor.shape)


def static_dims(tensor: Tensor, start: int = 1) -> tuple[int, ...] | None:
    """A tensor's sizes from axis `start` on, or None where one of them is not static."""
    dims = None if tensor.shape is None else tensor.shape[start:]
    if dims is None or not all(isinstance(d, int) and d > 0 for d in dims):
        return None
    return tuple(dims)


def dims_of(tensor: Tensor) -> tuple[Dim, ...]:
    """A tensor's dimensions; unknown ones are None (empty where the rank is unknown)."""
    return tuple(
        d if isinstance(d, int) and d > 0 else (str(d) if isinstance(d, str) and d else None)
        for d in tensor.shape or ()
    )


def unique_name(taken: set[str], base: str) -> str:
    """`base`, or `base_2`, `base_3` ... where that is taken; the result is marked as taken."""
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def names_in(graph: Graph) -> set[str]:
    """All node and tensor names of a graph."""
    return {node.name for node in graph.nodes} | set(graph.tensors())


def infer_shapes(graph: Graph) -> None:
    """Write inferred types and shapes onto the graph's tensors (a tensor that cannot be inferred keeps None).

    What ONNX knows nothing about, operators of other domains above all, onnxruntime is asked for.
    """
    proto = to_proto(graph)
    inferred = large.infer_shapes(proto)
    tensors = {name: t for name, t in graph.tensors().items() if not isinstance(t, gs.Constant)}
    for value in inferred.graph.value_info:
        tensor, kind = tensors.get(value.name), value.type.tensor_type
        if tensor is None or not value.type.HasField("tensor_type"):
            continue
        tensor.dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if kind.HasField("shape"):
            tensor.shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
    unknown = [name for name, tensor in tensors.items() if name and tensor.shape is None and tensor.inputs]
    for name, (dtype, shape) in (types_of(proto, unknown) if unknown else {}).items():
        tensors[name].dtype, tensors[name].shape = dtype, list(shape)


def scaled_values(values: Array, factor: Array) -> Array:
    return (values.astype(np.float64) * factor).astype(values.dtype)


def keeps_shape(tensor: Tensor, factor: Array) -> bool:
    """Whether multiplying a tensor with a factor keeps its shape, so that neither is broadcast along a scaled axis."""
    ndim = rank(tensor)
    if ndim is None or factor.ndim > ndim:
        return False
    dims = tensor.shape[ndim - factor.ndim :]
    return all(size == 1 or size == dim for size, dim in zip(factor.shape, dims, strict=True))
