"""Corrections mend what thresholds alone cannot, and are fitted with the SNN's own answers.

A correction (Li et al. 2021) changes the biases of the ANN's layers, their weights, or the neurons'
initial potentials. `layerwise` finds it layer by layer, `rounds` for all layers at once; here is
how it is applied to a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.graph.editing import Editor, constant, is_output, producer, redirect, tidy
from onnx2snn.graph.operators import is_weighted
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.nodes import MAX_POOLS, standard

Skipped = tuple[str, str]
"""A node by name, and the reason why it was left alone."""

Target = tuple[str, str | None]
"""A tensor by name, and the consumer that is meant; None: all."""

BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


@dataclass(frozen=True)
class Correction:
    """The arranged ANN with corrected weights and biases, and the neurons' initial potentials.

    `potentials`: per site in threshold units, broadcastable to its tensor (None: half a threshold
    everywhere); `skipped`: the weighted nodes whose weights could not be fitted, with the reason;
    `samples`: how many were simulated layer by layer (None: it was made in another way).
    """

    graph: Graph
    potentials: tuple[Array, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    samples: int | None = None


def within_threshold(potential: Array) -> Array:
    """Return initial potentials between 0 and 1: a neuron without input never fires."""
    return np.clip(potential, 0.0, BELOW_ONE)


def with_offsets(graph: Graph, sites: Sequence[Site], offsets: Sequence[Array]) -> Graph:
    """Return a copy of the ANN in which each activation takes z + b.

    Args:
        graph: The arranged ANN.
        sites: Its neuron sites.
        offsets: b per site, in ANN units and of its channel-wise threshold shape. It goes into a
            bias before the site where one can take it.
    """
    by_name = {node.name: node for node in graph.nodes}
    shifts: dict[Target, Array] = {}
    for site, offset in zip(sites, offsets, strict=True):
        current = by_name[site.name].inputs[0]
        shifts[current.name, site.name] = offset
    return with_shifts(graph, shifts)


def with_shifts(graph: Graph, shifts: dict[Target, Array]) -> Graph:
    """Return a copy of the ANN in which tensors are shifted by a constant.

    Args:
        graph: The arranged ANN.
        shifts: Constants that broadcast to the tensor, by its name and that of the one consumer
            they are for (None: for all). A bias before the tensor takes the shift where one can,
            else an Add does.
    """
    graph = graph.copy()
    editor = Editor(graph)
    tensors = graph.tensors()
    for (name, reader), shift in shifts.items():
        tensor = tensors[name]
        if not np.any(shift):
            continue
        if not _into_bias(editor, tensor, shift):
            _insert_add(editor, tensor, reader, shift)
    return tidy(graph)


def _insert_add(editor: Editor, tensor: Tensor, reader: str | None, shift: Array) -> None:
    """Let one consumer of a tensor, or (None) all and the graph's outputs, take it shifted."""
    graph = editor.graph
    consumers: list[Node] | None = None
    if reader is not None:
        consumers = [node for node in tensor.outputs if node.name == reader]
    label = reader or tensor.name
    shifted = editor.variable(f"{label}/corrected", like=tensor)
    redirect(graph, tensor, shifted, consumers)
    if is_output(graph, shifted):
        # the output keeps its name
        name = tensor.name
        tensor.name = shifted.name
        shifted.name = name
    dtype = tensor.dtype or np.float32
    values = shift.astype(dtype)
    fixed = editor.constant(f"{label}/offset", values)
    inputs = [tensor, fixed]
    editor.node("Add", f"{label}/correct", inputs, [shifted])


def _into_bias(editor: Editor, tensor: Tensor, offset: Array) -> bool:
    """Add an offset per channel to the bias that reaches a tensor alone; return whether one did.

    - A weighted operator with a constant bias or none takes it.
    - A max-pool lets it through.
    - Of a sum one term takes it.
    - Anything else is refused, and so is a tensor that others read, too.
    """
    node = producer(tensor)
    if node is None or not standard(node):
        return False
    if _is_shared(editor.graph, tensor):
        return False
    # max(x) + b = max(x + b)
    if node.op in MAX_POOLS:
        pooled = node.inputs[0]
        return _into_bias(editor, pooled, offset)
    # (x + y) + b = (x + b) + y
    if node.op == "Add":
        return _into_term(editor, node, tensor, offset)
    if is_weighted(node):
        return _extend_bias(editor, node, offset)
    return False


def _is_shared(graph: Graph, tensor: Tensor) -> bool:
    readers = len(tensor.outputs)
    if is_output(graph, tensor):
        readers += 1
    return readers > 1


def _into_term(editor: Editor, node: Node, total: Tensor, offset: Array) -> bool:
    for term in node.inputs:
        computed = constant(term) is None
        if not computed or term.shape != total.shape:
            continue
        if _into_bias(editor, term, offset):
            return True
    return False


def _extend_bias(editor: Editor, node: Node, offset: Array) -> bool:
    """Add an offset per channel to an operator's own bias; return whether it can have one."""
    weights = constant(node.inputs[1])
    if weights is None or node.op == "MatMul":
        return False
    # Gemm scales its bias by beta
    if node.attrs.get("beta", 1.0) != 1.0:
        return False
    shape = node.outputs[0].shape
    channels = None if shape is None else shape[1]
    if not isinstance(channels, int):
        return False
    old = _bias(node)
    if old is None:
        return False
    # b + offset, a number per channel; a bias of one number serves all of them
    bias = np.asarray(old, np.float64)
    if bias.size in (1, channels):
        bias = bias.ravel()
    own = np.broadcast_to(bias, (channels,))
    new = own + offset.ravel()
    values = new.astype(weights.dtype)
    tensor = editor.constant(f"{node.name}/corrected_bias", values)
    if len(node.inputs) > 2:
        node.inputs[2] = tensor
    else:
        node.inputs.append(tensor)
    return True


def _bias(node: Node) -> Array | None:
    """Return an operator's bias, 0 where it has none, or None where it is computed."""
    if len(node.inputs) < 3:
        return np.zeros(1)
    bias = node.inputs[2]
    if bias.is_empty():
        return np.zeros(1)
    return constant(bias)


def change_weights(editor: Editor, node: Node, change: Array) -> None:
    """Add to a node's weights, in place: as a constant of its own, which no other node shares."""
    old = constant(node.inputs[1])
    assert old is not None
    # W + D, rounded once
    values = np.empty(old.shape, old.dtype)
    np.add(old, change, out=values, dtype=np.float64, casting="unsafe")
    label = f"{node.name}/corrected_weights"
    node.inputs[1] = editor.constant(label, values)
