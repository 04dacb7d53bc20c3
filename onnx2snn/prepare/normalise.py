"""Any supported graph -> few canonical operators, every node named.

What onnxruntime's own optimisation leaves (`prepare.simplify`) is brought to the canonical form here, which `check_canonical`
asserts:

* opset 18 or newer;
* Dropout and Identity are gone, except a Dropout whose mask is used and an Identity between graph inputs or outputs;
* BatchNormalization that had no convolution to be folded into is a Mul and an Add by per-channel constants (one whose
  parameters are computed at run time stays);
* a Gemm whose third input is no constant is a Gemm and an Add;
* floating-point Sub, Div and Neg by a constant are Add and Mul, the constant second;
* Clip(0, infinity) is Relu.
"""

from __future__ import annotations

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import StageMismatchError, UnsupportedGraphError
from onnx2snn.graph.editing import (
    add_node,
    constant,
    drop,
    infer_shapes,
    is_output,
    make_constant,
    names_in,
    producer,
    rank,
    redirect,
    tidy,
    to_graph,
    unique_name,
    variable,
)
from onnx2snn.graph.operators import clip_bounds
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.simplify import simplify
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.nodes import standard


def normalise(model: LoadedModel) -> Graph:
    """The canonical graph of a model.

    Raises ModelFileError where onnxruntime cannot load the model, UnsupportedGraphError where its opset cannot be
    raised to 18, a node is in training mode, the network is quantised, or a subgraph is not closed.
    """
    graph = to_graph(simplify(model))
    _name_nodes(graph)
    infer_shapes(graph)
    for node in list(graph.nodes):
        rule = _RULES.get(node.op)
        if rule is not None and standard(node):
            rule(graph, node)
    graph = tidy(graph)
    infer_shapes(graph)
    check_canonical(graph)
    return graph


def check_canonical(graph: Graph) -> None:
    """Assert the canonical form (StageMismatchError: a bug here, never the user's fault)."""
    for node in graph.nodes:
        if standard(node) and (
            node.op == "Constant" or (node.op == "Dropout" and not _mask_used(graph, node))
        ):
            raise StageMismatchError(
                f"normalisation left node '{node.name}' ({node.op}) in place; please report this model"
            )


def _name_nodes(graph: Graph) -> None:
    taken: set[str] = set()
    for node in graph.nodes:
        node.name = unique_name(
            taken, node.name or (node.outputs[0].name if node.outputs else node.op)
        )


def _mask_used(graph: Graph, node: Node) -> bool:
    return len(node.outputs) > 1 and (
        bool(node.outputs[1].outputs) or is_output(graph, node.outputs[1])
    )


def _dropout(graph: Graph, node: Node) -> None:
    if not _mask_used(graph, node):
        node.op, node.attrs = "Identity", {}
        node.inputs, node.outputs = [node.inputs[0]], [node.outputs[0]]
        _bypass(graph, node)


def _bypass(graph: Graph, node: Node) -> None:
    """Identity: y = x."""
    source, out = node.inputs[0], node.outputs[0]
    if not is_output(graph, out):
        redirect(graph, out, source)
        drop(graph, node)
    elif (maker := producer(source)) is not None and not is_output(graph, source):
        redirect(graph, source, out)
        maker.outputs[[t is source for t in maker.outputs].index(True)] = _detached(out, node)
        drop(graph, node)


def _detached(out: Tensor, node: Node) -> Tensor:
    node.outputs.clear()
    return out


def _batch_norm(graph: Graph, node: Node) -> None:
    """gamma (x - mean) / sqrt(var + epsilon) + beta, as a Mul and an Add over axis 1."""
    if node.attrs.get("training_mode", 0):
        raise UnsupportedGraphError(
            node.name, node.op, "it is in training mode; export the model for inference"
        )
    values = [constant(t) for t in node.inputs[1:5]]
    x = node.inputs[0]
    if any(v is None for v in values) or rank(x) is None:
        return
    gamma, beta, mean, var = (np.asarray(v, np.float64) for v in values)
    factor = gamma / np.sqrt(var + node.attrs.get("epsilon", 1e-5))
    shape = [1, -1] + [1] * ((rank(x) or 2) - 2)
    _mul_add(graph, node, factor.reshape(shape), (beta - mean * factor).reshape(shape))


def _arithmetic(graph: Graph, node: Node) -> None:
    """Add, Sub, Mul and Div with one floating-point constant: y = x * factor + offset, one of them trivial."""
    values = [constant(t) for t in node.inputs]
    if all(v is None for v in values) or all(v is not None for v in values):
        return
    position = 1 if values[1] is not None else 0
    c = values[position]
    assert c is not None
    if not np.issubdtype(c.dtype, np.floating):
        return
    c = c.astype(np.float64)
    if node.op in ("Add", "Mul"):
        if position == 0:
            node.inputs[0], node.inputs[1] = node.inputs[1], node.inputs[0]
    elif node.op == "Sub":
        _mul_add(graph, node, None, -c) if position == 1 else _mul_add(
            graph, node, np.float64(-1.0), c, x=1
        )
    elif position == 1 and np.all(c != 0):
        _mul_add(graph, node, 1.0 / c, None)


def _gemm(graph: Graph, node: Node) -> None:
    """alpha A B + beta C, C not a constant: the product and the sum apart."""
    if len(node.inputs) < 3 or node.inputs[2].is_empty() or constant(node.inputs[2]) is not None:
        return
    taken = names_in(graph)
    term, out = node.inputs[2], node.outputs[0]
    product = variable(unique_name(taken, f"{node.name}/product"), like=out)
    del node.inputs[2]
    node.outputs[0] = product
    beta = node.attrs.get("beta", 1.0)
    if beta != 1.0:
        scaled = variable(unique_name(taken, f"{node.name}/beta_out"), like=term)
        fixed = make_constant(
            unique_name(taken, f"{node.name}/beta_constant"), np.asarray(beta, term.dtype)
        )
        add_node(graph, "Mul", unique_name(taken, f"{node.name}/beta"), [term, fixed], [scaled])
        term = scaled
    add_node(graph, "Add", unique_name(taken, f"{node.name}/add"), [product, term], [out])


def _negate(graph: Graph, node: Node) -> None:
    if node.inputs[0].dtype is not None and np.issubdtype(node.inputs[0].dtype, np.floating):
        _mul_add(graph, node, np.float64(-1.0), None)


def _mul_add(
    graph: Graph, node: Node, factor: Array | np.float64 | None, offset: Array | None, x: int = 0
) -> None:
    """Replace a node by y = input[x] * factor + offset; the last new node takes over its name."""
    taken = names_in(graph)
    current, out = node.inputs[x], node.outputs[0]
    dtype = current.dtype or np.float32
    steps = [(op, value) for op, value in (("Mul", factor), ("Add", offset)) if value is not None]
    name = node.name
    drop(graph, node)
    for position, (op, value) in enumerate(steps):
        last = position == len(steps) - 1
        label = name if last else unique_name(taken, f"{name}/{op.lower()}")
        target = out if last else variable(unique_name(taken, f"{label}_out"), like=current)
        fixed = make_constant(
            unique_name(taken, f"{label}_constant"), np.asarray(value).astype(dtype)
        )
        add_node(graph, op, label, [current, fixed], [target])
        current = target


def _clip(graph: Graph, node: Node) -> None:
    low, high = clip_bounds(node)
    if (
        low is not None
        and high is not None
        and low.size == 1
        and low.item() == 0
        and np.all(high == np.inf)
    ):
        node.op = "Relu"
        node.inputs = [node.inputs[0]]


_RULES = {
    "Dropout": _dropout,
    "Identity": _bypass,
    "BatchNormalization": _batch_norm,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Neg": _negate,
    "Gemm": _gemm,
    "Clip": _clip,
}
