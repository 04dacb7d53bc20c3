"""Weighted operators of a core in float16; potentials, thresholds, sums and answers in float32.

What rate-coded spikes cross, z = W s + b, is in threshold units: a spike is a small whole number,
which float16 holds exactly, and z is a few thresholds. Weights and products are rounded to 11 bits,
some 0.0005 of them, which is little beside a threshold of 1 (and a device sums products in
float32). A potential adds up currents of all steps, so it stays in float32.

Differential coding is refused. Its potentials are sums of what every spike brought, which nothing
ever forgets: Z = λ W R after any number of frames. Rounding each product lets the sums drift from
that for good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.errors import UsageError
from onnx2snn.protos.nodes import MAX_POOLS, WEIGHTED, attribute, standard
from onnx2snn.snn.neurons import neuron_nodes
from onnx2snn.snn.step_model import StepModel, read_step_model

HALF, SINGLE = int(TensorProto.FLOAT16), int(TensorProto.FLOAT)

LARGEST = float(np.finfo(np.float16).max)

CARRIERS = (
    *MAX_POOLS,
    "AveragePool",
    "Flatten",
    "GlobalAveragePool",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""Operators whose output is never higher than the spikes that they take."""

MOST_LEVELS = 64
"""Taken for the height of a spike whose neuron does not tell it, since it was inlined."""


def in_half(model: StepModel) -> StepModel:
    """Return a spiking model whose spikes cross weights in float16.

    A weighted operator that could overflow, or that takes anything but spikes, stays in float32.

    Raises:
        UsageError: The model is of differential coding.
    """
    if model.coding == "differential":
        raise UsageError(
            "float16 is not for differential coding, whose sums of all spikes would drift: leave "
            "float16 out"
        )
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    fed = _carrying(model)
    most = max(attribute(node, "levels", MOST_LEVELS) for node in neuron_nodes(model.nodes))
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    made: dict[str, TensorProto] = {}
    for node in graph.node:
        constants = [name for name in node.input[1:] if name]
        weighted = standard(node) and node.op_type in WEIGHTED and node.input[0] in fed
        if not weighted or any(name not in weights for name in constants):
            nodes.append(node)
            continue
        arrays = [np.asarray(numpy_helper.to_array(weights[name])) for name in constants]
        if most * _largest_sum(node, arrays) > LARGEST:
            nodes.append(node)
            continue
        for name, array in zip(constants, arrays, strict=True):
            half = array.astype(np.float16)
            made[name] = numpy_helper.from_array(half, _named(name))
        nodes += _in_half(node)
    graph.value_info.extend(_declared(nodes, graph))
    _replace(graph, nodes, made.values())
    return read_step_model(proto, graph.name)


def _carrying(model: StepModel) -> set[str]:
    """Return the tensors that hold spikes, or what pools and reshapes make of them."""
    found = {neuron["spikes"] for neuron in model.metadata["neurons"]}
    for node in model.nodes:
        if standard(node) and node.op_type in CARRIERS and node.input[0] in found:
            found.update(node.output)
    return found


def _largest_sum(node: NodeProto, constants: Collection[Array]) -> float:
    """Return a bound of |W s + b| for spikes of height 1: the largest sum of |w| of an output."""
    kernel, *biases = (np.abs(array.astype(np.float64)) for array in constants)
    if node.op_type == "Conv":
        sums = kernel.reshape(len(kernel), -1).sum(axis=1)
    elif node.op_type == "ConvTranspose":
        # an output takes every input channel of its group, and at most the whole kernel
        sums = kernel.sum(axis=0)
    else:
        axis = kernel.ndim - 1 if attribute(node, "transB", 0) else max(kernel.ndim - 2, 0)
        sums = kernel.sum(axis=axis) * abs(attribute(node, "alpha", 1.0))
    bound = float(sums.sum()) if node.op_type == "ConvTranspose" else float(sums.max(initial=0.0))
    for bias in biases:
        bound += float(bias.max(initial=0.0)) * abs(attribute(node, "beta", 1.0))
    return bound


def _named(name: str) -> str:
    return f"{name}/float16"


def _in_half(node: NodeProto) -> list[NodeProto]:
    """Return a node that computes in float16, between casts."""
    half = NodeProto()
    half.CopyFrom(node)
    taken, given = node.input[0], node.output[0]
    # two nodes may take the same tensor: a cast is named after its node's output
    before, after = f"{given}/taken/float16", _named(given)
    half.input[:] = [before, *(_named(name) if name else "" for name in node.input[1:])]
    half.output[:] = [after]
    return [
        helper.make_node("Cast", [taken], [before], before, to=HALF),
        half,
        helper.make_node("Cast", [after], [given], f"{given}/float32", to=SINGLE),
    ]


def _declared(nodes: Iterable[NodeProto], graph: GraphProto) -> Iterator[ValueInfoProto]:
    """Yield the declarations of tensors in float16, those of their twins in float32 but for that.

    Time is folded into the batch axis of tensors whose rank is declared.
    """
    known = {value.name: value for value in [*graph.value_info, *graph.input, *graph.output]}
    for node in nodes:
        if node.op_type != "Cast" or not node.name.endswith(("/float16", "/float32")):
            continue
        single, half = node.input[0], node.output[0]
        if node.name.endswith("/float32"):
            single, half = half, single
        if single in known:
            value = ValueInfoProto()
            value.CopyFrom(known[single])
            value.name = half
            value.type.tensor_type.elem_type = HALF
            yield value


def _replace(graph: GraphProto, nodes: Iterable[NodeProto], made: Iterable[TensorProto]) -> None:
    """Swap in nodes and further constants; constants that nobody takes any more are left out."""
    # copies: deleting the nodes empties the messages
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(made)
    used = {name for node in kept for name in node.input}
    used.update(value.name for value in graph.output)
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]
