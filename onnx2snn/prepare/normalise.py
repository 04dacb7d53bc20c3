"""Any supported graph -> few canonical operators, every node named.

The canonical form, brought about here from what onnxruntime's own optimisation leaves
(`prepare.simplify`) and asserted by `check_canonical`:

* opset 18 or newer;
* Dropout and Identity are gone, except a Dropout whose mask is used and an Identity between graph
  inputs or outputs;
* BatchNormalization that had no convolution to be folded into is a Mul and an Add by per-channel
  constants (one whose parameters are computed at run time stays);
* a Gemm whose third input is no constant is a Gemm and an Add;
* floating-point Sub, Div and Neg by a constant are Add and Mul, the constant second;
* Clip(0, infinity) is Relu;
* a max-pool whose size would be inferred wrongly has padding in place of `ceil_mode`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import StageMismatchError, UnsupportedGraphError
from onnx2snn.graph.bounds import clip_bounds
from onnx2snn.graph.dims import rank
from onnx2snn.graph.editing import (
    Editor,
    constant,
    detach,
    is_constant,
    is_output,
    producer,
    redirect,
    tidy,
    to_graph,
)
from onnx2snn.graph.shape_inference import Trial, infer_shapes
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.ceil_pools import ceil_pools, settle_ceil_pools
from onnx2snn.prepare.finite import require_finite
from onnx2snn.prepare.names import free_reserved_names, name_nodes
from onnx2snn.prepare.simplify import simplify
from onnx2snn.protos.freeing import uncollected
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.nodes import standard

MINUS_ONE = np.float64(-1.0)


@uncollected()
def normalise(model: LoadedModel, trial: Trial | None = None) -> Graph:
    """Return the canonical graph of a model.

    `trial` tells the shapes that cannot be inferred.

    Raises: ModelFileError: onnxruntime cannot load the model. UnsupportedGraphError: Its opset
        cannot be raised to 18, a node is in training mode, the network is quantised, a weight is
        not finite, or a subgraph is not closed.
    """
    graph = to_graph(simplify(model))
    name_nodes(graph)
    pools = any(ceil_pools(graph))
    infer_shapes(graph, trial, confirm=pools)
    wiring = _wiring(graph)
    settle_ceil_pools(graph)
    editor = Editor(graph)
    free_reserved_names(editor)
    for node in list(graph.nodes):
        rule = _RULES.get(node.op)
        if rule is not None and standard(node):
            rule(editor, node)
    graph = tidy(graph)
    if pools or wiring is None or _wiring(graph) != wiring:
        infer_shapes(graph, trial)
    check_canonical(graph)
    require_finite(graph)
    return graph


def _wiring(graph: Graph) -> list[object] | None:
    """Return what shapes follow from, for a comparison; None where some are not known."""
    found: list[object] = []
    for node in graph.nodes:
        if any(tensor.shape is None for tensor in node.outputs):
            return None
        tensors = [id(tensor) for tensor in (*node.inputs, *node.outputs)]
        found.append((id(node), node.op, tensors))
    return found


def check_canonical(graph: Graph) -> None:
    """Assert the canonical form (StageMismatchError: a bug here, never the user's fault)."""
    for node in graph.nodes:
        if not standard(node):
            continue
        unused_dropout = node.op == "Dropout" and not _mask_used(graph, node)
        if node.op == "Constant" or unused_dropout:
            raise StageMismatchError(
                f"normalisation left node '{node.name}' ({node.op}) in place; "
                "please report this model"
            )


def _mask_used(graph: Graph, node: Node) -> bool:
    """Return whether a Dropout's second output is needed."""
    if len(node.outputs) < 2:
        return False
    mask = node.outputs[1]
    return bool(mask.outputs) or is_output(graph, mask)


def _dropout(editor: Editor, node: Node) -> None:
    """Dropout without its mask: y = x."""
    if _mask_used(editor.graph, node):
        return
    node.op = "Identity"
    node.attrs = {}
    node.inputs = [node.inputs[0]]
    node.outputs = [node.outputs[0]]
    _identity(editor, node)


def _identity(editor: Editor, node: Node) -> None:
    """Identity, y = x: readers of y read x; if y is an output of the graph, x's maker makes it."""
    graph = editor.graph
    source = node.inputs[0]
    out = node.outputs[0]
    if not is_output(graph, out):
        redirect(graph, out, source)
        detach(node)
        return
    # an output keeps its name; a node between it and another output (or an input) stays
    before = producer(source)
    if before is None or is_output(graph, source):
        return
    redirect(graph, source, out)
    node.outputs.clear()
    for index, tensor in enumerate(list(before.outputs)):
        if tensor is source:
            before.outputs[index] = out
    detach(node)


def _batch_norm(editor: Editor, node: Node) -> None:
    """γ (x - mean) / sqrt(variance + ε) + β, as a Mul and an Add over axis 1."""
    if node.attrs.get("training_mode", 0):
        raise UnsupportedGraphError(
            node.name, node.op, "it is in training mode; export the model for inference"
        )
    ndim = rank(node.inputs[0])
    values = [constant(tensor) for tensor in node.inputs[1:5]]
    if ndim is None or any(value is None for value in values):
        return
    gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
    # γ (x - mean) / sqrt(variance + ε) + β = x factor + (β - mean factor)
    factor = gamma / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    offset = beta - mean * factor
    shape = [1, -1] + [1] * (ndim - 2)
    _mul_add(editor, node, factor.reshape(shape), offset.reshape(shape))


def _constant_of_two(node: Node) -> tuple[int, Array] | None:
    """Return the index and value of the one floating-point constant among two operands, or None."""
    first, second = (constant(tensor) for tensor in node.inputs)
    if first is not None and second is not None:
        return None
    index = 0 if second is None else 1
    value = first if second is None else second
    if value is None or not np.issubdtype(value.dtype, np.floating):
        return None
    return index, value.astype(np.float64)


def _commutative(editor: Editor, node: Node) -> None:
    """c + x and c * x: the constant goes second."""
    first, second = node.inputs
    # most have it there: no look at a value
    if is_constant(first) and not is_constant(second) and _constant_of_two(node) is not None:
        node.inputs[0], node.inputs[1] = second, first


def _subtraction(editor: Editor, node: Node) -> None:
    """x - c = x + (-c), and c - x = (-1) x + c."""
    found = _constant_of_two(node)
    if found is None:
        return
    index, value = found
    if index == 1:
        _mul_add(editor, node, None, -value)
    else:
        _mul_add(editor, node, MINUS_ONE, value, x=1)


def _division(editor: Editor, node: Node) -> None:
    """x / c = x (1 / c), where no element of c is 0."""
    found = _constant_of_two(node)
    if found is None:
        return
    index, value = found
    if index == 1 and np.all(value != 0):
        _mul_add(editor, node, 1.0 / value, None)


def _gemm_and_sum(editor: Editor, node: Node) -> None:
    """α A B + β C, C not a constant: the product and the sum apart."""
    if len(node.inputs) < 3 or node.inputs[2].is_empty():
        return
    term = node.inputs[2]
    if constant(term) is not None:
        return
    out = node.outputs[0]
    # the table of linear operators wants a bias to be constant: a term that is not comes by an Add
    product = editor.variable(f"{node.name}/product", like=out)
    del node.inputs[2]
    node.outputs[0] = product
    beta = node.attrs.get("beta", 1.0)
    if beta != 1.0:
        scaled = editor.variable(f"{node.name}/beta_out", like=term)
        factor = editor.constant(f"{node.name}/beta_constant", np.asarray(beta, term.dtype))
        editor.node("Mul", f"{node.name}/beta", [term, factor], [scaled])
        term = scaled
    editor.node("Add", f"{node.name}/add", [product, term], [out])


def _negate(editor: Editor, node: Node) -> None:
    """-x = (-1) x."""
    dtype = node.inputs[0].dtype
    if dtype is not None and np.issubdtype(dtype, np.floating):
        _mul_add(editor, node, MINUS_ONE, None)


def _mul_add(
    editor: Editor,
    node: Node,
    factor: Array | np.float64 | None,
    offset: Array | None,
    x: int = 0,
) -> None:
    """Replace a node by y = input[x] * factor + offset; the last new node takes over its name.

    A factor or offset of None is left out, but not both.
    """
    name = node.name
    current = node.inputs[x]
    out = node.outputs[0]
    detach(node)
    if factor is None:
        assert offset is not None
        _by_constant(editor, "Add", name, current, offset, out)
    elif offset is None:
        _by_constant(editor, "Mul", name, current, factor, out)
    else:
        # the last node has the old one's name, by which reports and partitions find it
        label = editor.name(f"{name}/mul")
        product = editor.variable(f"{label}_out", like=current)
        _by_constant(editor, "Mul", label, current, factor, product)
        _by_constant(editor, "Add", name, product, offset, out)


def _by_constant(
    editor: Editor, op: str, name: str, x: Tensor, value: Array | np.float64, out: Tensor
) -> None:
    """Append op(x, value) under a settled name, the constant in x's type."""
    dtype = x.dtype or np.float32
    fixed = editor.constant(f"{name}_constant", np.asarray(value).astype(dtype))
    editor.append(op, name, [x, fixed], [out])


def _clip_to_relu(editor: Editor, node: Node) -> None:
    """Clip(0, infinity) = Relu."""
    low, high = clip_bounds(node)
    if low is None or high is None or low.size != 1:
        return
    if low.item() == 0 and np.all(high == np.inf):
        node.op = "Relu"
        node.inputs = [node.inputs[0]]


_RULES: dict[str, Callable[[Editor, Node], None]] = {
    "Dropout": _dropout,
    "Identity": _identity,
    "BatchNormalization": _batch_norm,
    "Add": _commutative,
    "Mul": _commutative,
    "Sub": _subtraction,
    "Div": _division,
    "Neg": _negate,
    "Gemm": _gemm_and_sum,
    "Clip": _clip_to_relu,
}
