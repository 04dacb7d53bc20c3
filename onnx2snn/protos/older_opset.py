"""A model at another opset, said in its operators or refused by name.

ONNX's own converter raises a model; lowering it, it stops at operators that only took more types
since. Here a node stays where the older operator has its inputs and attributes, and is written in
its older form (`protos.older_forms`) where that says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper

from onnx2snn.errors import UnsupportedGraphError, one_line
from onnx2snn.protos import large
from onnx2snn.protos.nodes import standard, standard_opset
from onnx2snn.protos.older_forms import FORMS, Facts, UnsayableError
from onnx2snn.protos.opset import raised
from onnx2snn.protos.walk import all_graphs, constants

OLDEST = 9
"""The oldest opset that a model is written at."""


def at_opset(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Return a model without functions at an opset, and at the oldest IR that goes with it.

    Raises:
        UnsupportedGraphError: An operator cannot be said in that opset.
    """
    if version >= standard_opset(proto):
        made = onnx.ModelProto()
        made.CopyFrom(raised(proto, version))
        # ONNX's converter drops them
        del made.metadata_props[:]
        made.metadata_props.extend(proto.metadata_props)
    else:
        made = _lowered(proto, version)
    made.ir_version = helper.find_min_ir_version_for(list(made.opset_import))
    return made


def _lowered(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Return a model at an older opset."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    before = standard_opset(proto)
    facts = _facts(proto, version)
    for graph in all_graphs(made):
        nodes = [one for node in graph.node for one in _older(node, before, facts)]
        # copies: the nodes of a repeated field go with it
        kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
    for entry in made.opset_import:
        if standard(entry):
            entry.version = version
    made.graph.initializer.extend(facts.added.values())
    _check(made, version)
    return made


def _facts(proto: onnx.ModelProto, version: int) -> Facts:
    """Return what older forms ask about tensors: values of constants, and ranks."""
    values: dict[str, TensorProto] = {}
    for graph in all_graphs(proto):
        values |= constants(graph)
    graph = large.infer_model_shapes(proto).graph
    ranks = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        if value.type.tensor_type.HasField("shape"):
            ranks[value.name] = len(value.type.tensor_type.shape.dim)
    return Facts(version, values, ranks)


def _older(node: NodeProto, before: int, facts: Facts) -> list[NodeProto]:
    """Return nodes of the older opset that compute what a node computes."""
    if not standard(node):
        return [node]
    version = facts.version
    try:
        nodes = [node]
        for since, form in FORMS.get(node.op_type, ()):
            if version < since <= before:
                nodes = form(node, facts)
        for one in nodes:
            _restrict(one, before, version)
    except UnsayableError as reason:
        raise UnsupportedGraphError(
            node.op_type, node.name, f"it cannot be said in opset {version}: {reason}"
        ) from reason
    return nodes


def _restrict(node: NodeProto, before: int, version: int) -> None:
    """Leave out attributes that say what was always so; UnsayableError where the rest says more."""
    new = _schema(node.op_type, before)
    old = _schema(node.op_type, version)
    if old is None:
        raise UnsayableError("the operator came later")
    if new is None or new.since_version == old.since_version:
        return
    kept = []
    for given in node.attribute:
        if given.name in old.attributes:
            kept.append(given)
        elif not _says_nothing(given, new):
            raise UnsayableError(f"its attribute {given.name} came later")
    del node.attribute[:]
    node.attribute.extend(kept)
    for name, changed in _changed_defaults(new, old).items():
        if name not in {given.name for given in kept}:
            raise UnsayableError(f"its attribute {name} was {changed} by default")
    if not old.min_input <= len(node.input) <= old.max_input:
        raise UnsayableError("it had other inputs")


def _schema(op: str, version: int) -> Any:
    """Return an operator's definition at an opset, or None where there is none."""
    try:
        return onnx.defs.get_schema(op, version)
    except onnx.defs.SchemaError:
        return None


def _says_nothing(given: AttributeProto, schema: Any) -> bool:
    """Return whether an attribute has its default, or dilates by 1, which was always so."""
    value = helper.get_attribute_value(given)
    if given.name == "dilations":
        return all(size == 1 for size in value)
    default = schema.attributes[given.name].default_value
    return bool(default.type) and helper.get_attribute_value(default) == value


def _changed_defaults(new: Any, old: Any) -> Mapping[str, object]:
    """Return attributes that have another default since, with the old one."""
    changed = {}
    for name, described in old.attributes.items():
        before = described.default_value
        after = new.attributes[name].default_value if name in new.attributes else None
        if before.type and after is not None and after.type and before != after:
            changed[name] = helper.get_attribute_value(before)
    return changed


def _check(model: onnx.ModelProto, version: int) -> None:
    """Refuse a model that ONNX finds wrong, with types that an operator did not take yet."""
    light = large.light(model)
    try:
        onnx.checker.check_model(light)
        onnx.shape_inference.infer_shapes(light, check_type=True)
    except Exception as error:
        reason = f"the model cannot be said in opset {version} ({one_line(error)})"
        raise UnsupportedGraphError("", "", f"{reason}; take a newer one") from error
