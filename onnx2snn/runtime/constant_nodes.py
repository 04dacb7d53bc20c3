"""Nodes of constants alone, computed once, before a model is opened."""

from __future__ import annotations

import onnx
from onnx import NodeProto, helper, numpy_helper

from onnx2snn.protos.nodes import standard
from onnx2snn.protos.sessions import open_own_session
from onnx2snn.protos.walk import read_by


def fold_constants(model: onnx.ModelProto) -> None:
    """Turn the tensors that are made of constants alone into initializers, in place."""
    graph = model.graph
    fixed = {tensor.name for tensor in graph.initializer}
    nodes = []
    others = []
    for node in graph.node:
        # what a branch makes itself is never fixed: nodes with subgraphs stay
        if standard(node) and fixed.issuperset(read_by(node)):
            fixed.update(node.output)
            nodes.append(node)
        else:
            others.append(node)
    asked = {value.name for value in graph.output}
    if not nodes or asked.intersection(name for node in nodes for name in node.output):
        return
    wanted = {name for node in others for name in read_by(node)}
    made = [name for node in nodes for name in node.output if name in wanted]
    if made:
        graph.initializer.extend(_computed(model, nodes, made))
    del graph.node[:]
    graph.node.extend(others)


def _computed(
    model: onnx.ModelProto, nodes: list[NodeProto], made: list[str]
) -> list[onnx.TensorProto]:
    taken = {name for node in nodes for name in node.input}
    held = [tensor for tensor in model.graph.initializer if tensor.name in taken]
    outputs = [onnx.ValueInfoProto(name=name) for name in made]
    graph = helper.make_graph(nodes, "constants", [], outputs, held)
    small = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    values = open_own_session(small, 1, once=True).run(made, {})
    return [numpy_helper.from_array(value, name) for name, value in zip(made, values, strict=True)]
