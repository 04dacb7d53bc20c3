"""Chains: neighbouring elementwise operators as one operator of the package onnx2snn-kernels.

What stock onnxruntime computes in a pass over memory for each operator, `Chain` computes in one:

1. a Scan over time-steps whose body is elementwise, as a rule a layer of neurons, with its states;
2. the elementwise operators between two others, of one time-step or of many.

Left to onnxruntime is what it computes inside a convolution: the bias, a shortcut and a ReLU right
behind one. The operators are the same, so the results are, to the last bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import onnx
from onnx import NodeProto, TensorProto, helper

from onnx2snn.protos.inlining import inlined
from onnx2snn.protos.nodes import standard
from onnx2snn.protos.walk import read_by
from onnx2snn.runtime.chain_programs import (
    EACH_STEP,
    ELEMENTWISE,
    STATE,
    Program,
    chain_node,
    scalar_of,
)
from onnx2snn.runtime.constant_nodes import fold_constants
from onnx2snn.runtime.grouping import Item, grouped
from onnx2snn.runtime.time_forms import TICKS
from onnx2snn.runtime.unrolling import ZEROS

KERNELS_DOMAIN = "onnx2snn.kernels"
"""Of the operator Chain."""

KEEPS_FLOATS = frozenset(
    {
        *("AveragePool", "Concat", "Conv", "ConvTranspose", "Expand", "Flatten", "Gather", "Gemm"),
        *("GlobalAveragePool", "GlobalMaxPool", "LayerNormalization", "MatMul", "MaxPool", "Pad"),
        *("ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Resize", "Slice", "Softmax", "Split"),
        *("Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"),
    }
)
"""Operators of the same type of elements as their first input, Where as its last one."""

BESIDE_CONVOLUTIONS = frozenset({"AveragePool", "Conv", "GlobalAveragePool", "MaxPool"})
"""Operators whose outputs onnxruntime keeps in the order that its convolutions read."""


def with_chains(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a core, encoder, readout or run whose elementwise operators are chains.

    Its functions are inlined. The model given is used up.
    """
    model = inlined(proto)
    graph = model.graph
    fold_constants(model)
    _leave_out_zeros(graph)
    facts = _Facts(graph)
    nodes = [_scan_as_chain(node, facts) or node for node in graph.node]
    facts.add_floats_of(nodes)
    nodes = _grouped(nodes, facts)
    used = {name for node in nodes for name in read_by(node)} | facts.answers
    del graph.node[:]
    graph.node.extend(node for node in nodes if used & set(node.output))
    if any(node.domain == KERNELS_DOMAIN for node in graph.node):
        model.opset_import.append(helper.make_opsetid(KERNELS_DOMAIN, 1))
    return model


def has_chains(proto: onnx.ModelProto) -> bool:
    """Return whether a model's elementwise operators are chains."""
    return any(entry.domain == KERNELS_DOMAIN for entry in proto.opset_import)


def _leave_out_zeros(graph: onnx.GraphProto) -> None:
    """Leave out sums with the zeros that a run starts from: they have the rank of their states."""
    aliases: dict[str, str] = {}
    answers = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = aliases.get(name, name)
        zeros = [name for name in node.input if name.startswith(ZEROS)]
        adds = node.op_type == "Add" and len(zeros) == 1
        subtracts = node.op_type == "Sub" and node.input[1] in zeros
        if (adds or subtracts) and node.output[0] not in answers:
            (other,) = [name for name in node.input if name not in zeros] or zeros[:1]
            aliases[node.output[0]] = other
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


class _Facts:
    """What is known of a graph's tensors by their names."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.answers = {value.name for value in graph.output}
        self.inputs = {value.name for value in graph.input}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.floats = {
            value.name
            for value in graph.input
            if value.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        for name, tensor in self.constants.items():
            if tensor.data_type == TensorProto.FLOAT:
                self.floats.add(name)
        self.add_floats_of(graph.node)

    def is_constant(self, node: NodeProto) -> bool:
        """Return whether a node takes nothing but constants."""
        return all(name in self.constants for name in read_by(node))

    def add_floats_of(self, nodes: Sequence[NodeProto]) -> None:
        """Learn which outputs of sorted nodes are float32."""
        for node in nodes:
            if self._makes_floats(node):
                self.floats.update(name for name in node.output if name)

    def _makes_floats(self, node: NodeProto) -> bool:
        if node.domain == KERNELS_DOMAIN:
            return True
        if not standard(node):
            return False
        if node.op_type == "Cast":
            return bool(helper.get_node_attr_value(node, "to") == TensorProto.FLOAT)
        if node.op_type == "Constant":
            return scalar_of(node) is not None
        if node.op_type == "Scan":
            body = helper.get_node_attr_value(node, "body")
            kinds = [value.type.tensor_type.elem_type for value in body.output]
            return all(kind == TensorProto.FLOAT for kind in kinds)
        known = node.op_type in KEEPS_FLOATS or node.op_type in ELEMENTWISE
        logical = node.op_type in ELEMENTWISE and ELEMENTWISE[node.op_type].logical
        telling = node.input[-1 if node.op_type == "Where" else 0]
        return known and not logical and telling in self.floats


def _scan_as_chain(node: NodeProto, facts: _Facts) -> NodeProto | None:
    """Return a Scan over the time-steps as a chain, or None where its body is more than that."""
    if node.op_type != "Scan" or TICKS not in facts.inputs:
        return None
    body = helper.get_node_attr_value(node, "body")
    scanned = helper.get_node_attr_value(node, "num_scan_inputs")
    plain = {attribute.name for attribute in node.attribute} == {"body", "num_scan_inputs"}
    if not plain or not facts.floats.issuperset(node.input):
        return None
    carried = len(node.input) - scanned
    program = Program()
    for place, (value, source) in enumerate(zip(body.input, node.input, strict=True)):
        if place < carried:
            program.take(value.name, _unexpanded(source, facts), STATE)
        else:
            program.take(value.name, source, EACH_STEP)
    own = {name for inner in body.node for name in inner.output}
    own.update(value.name for value in body.input)
    for inner in body.node:
        outer = [name for name in inner.input if name and name not in own]
        if not facts.floats.issuperset(outer):
            return None
        if not program.add(inner, facts.constants):
            return None
    for place, (value, name) in enumerate(zip(body.output, node.output, strict=True)):
        last = place < carried
        if last and not program.hand_on(body.input[place].name, value.name):
            return None
        if name and not program.give(value.name, name, last=last):
            return None
    return _chain(program, node.name, timed=True)


def _unexpanded(name: str, facts: _Facts) -> str:
    """Return what a tensor was expanded from: a chain lets a state grow by itself."""
    maker = facts.makers.get(name)
    if maker is not None and maker.op_type == "Expand":
        return str(maker.input[0])
    return name


def _grouped(nodes: Sequence[NodeProto], facts: _Facts) -> list[NodeProto]:
    """Return the nodes, sorted, with groups of elementwise ones as chains."""
    takers = Counter(name for node in nodes for name in read_by(node))
    takers.update(facts.answers)
    kept = _inside_convolutions(nodes, facts, takers)
    items = []
    for place, node in enumerate(nodes):
        joins = place not in kept and _joins(node, facts)
        items.append(Item(list(read_by(node)), node.output, joins, not facts.is_constant(node)))
    found = []
    for places in grouped(items):
        group = [nodes[place] for place in places]
        chain = None
        if items[places[0]].joins:
            chain = _group_as_chain(group, takers, facts)
        found += [chain] if chain is not None else group
    return found


def _joins(node: NodeProto, facts: _Facts) -> bool:
    """Return whether a node is elementwise, of float32, and varies."""
    if not standard(node) or node.op_type not in ELEMENTWISE:
        return False
    if facts.is_constant(node):
        return False  # onnxruntime computes it once
    if ELEMENTWISE[node.op_type].takes_logical:
        return True
    return facts.floats.issuperset(name for name in node.input if name)


def _group_as_chain(
    nodes: Sequence[NodeProto], takers: Mapping[str, int], facts: _Facts
) -> NodeProto | None:
    """Return a group as a chain; None where it is one operation, or has truth values outside."""
    made = {name for node in nodes for name in node.output}
    outer = {name for node in nodes for name in node.input if name and name not in made}
    if not facts.floats.issuperset(outer):
        return None
    program = Program()
    if not all(program.add(node, facts.constants) for node in nodes) or program.steps < 2:
        return None
    inside = Counter(name for node in nodes for name in dict.fromkeys(node.input))
    for node in nodes:
        for name in node.output:
            if takers[name] > inside[name] and not program.give(name, name):
                return None
    return _chain(program, f"{nodes[-1].output[0]}/chain", timed=False)


def _chain(program: Program, name: str, *, timed: bool) -> NodeProto | None:
    return chain_node(program, name, KERNELS_DOMAIN, [TICKS] if timed else [])


def _inside_convolutions(
    nodes: Sequence[NodeProto], facts: _Facts, takers: Mapping[str, int]
) -> set[int]:
    """Return the places of the nodes that onnxruntime computes inside a convolution.

    Right behind one: a bias, a shortcut in the order of convolutions, a ReLU or Clip.
    """
    kept: set[int] = set()
    ordered: set[str] = set()
    """Tensors in the order that convolutions read."""
    open_ended: set[str] = set()
    """Those of convolutions that nobody else takes: more can be computed inside."""
    for place, node in enumerate(nodes):
        if not standard(node):
            continue
        output = node.output[0]
        if node.op_type in BESIDE_CONVOLUTIONS:
            ordered.add(output)
            if node.op_type == "Conv" and takers[output] == 1:
                open_ended.add(output)
            continue
        taken = [name for name in node.input if name]
        ends = [name for name in taken if name in open_ended]
        if not ends or not facts.floats.issuperset(taken):
            continue
        if node.op_type == "Add":
            others = [name for name in taken if name != ends[0]]
            fits = len(others) == 1 and _goes_inside(others[0], ordered, facts, takers)
        else:
            bounds = [name for name in taken[1:] if name not in facts.constants]
            fits = node.op_type in ("Relu", "Clip") and not bounds
        if fits:
            kept.add(place)
            ordered.add(output)
            if node.op_type == "Add" and takers[output] == 1:
                open_ended.add(output)
    return kept


def _goes_inside(
    name: str, ordered: Collection[str], facts: _Facts, takers: Mapping[str, int]
) -> bool:
    """Return whether a convolution adds a tensor: a bias, or a shortcut that it may write over."""
    return _is_bias(name, facts) or (name in ordered and takers[name] == 1)


def _is_bias(name: str, facts: _Facts) -> bool:
    """Return whether a tensor is a constant per channel of maps."""
    tensor = facts.constants.get(name)
    if tensor is None:
        return False
    sizes = list(tensor.dims)
    # [.., C, 1, 1]: at most one axis is longer, that of the channels
    axis = len(sizes) - 3
    return axis >= 0 and all(size == 1 for place, size in enumerate(sizes) if place != axis)
