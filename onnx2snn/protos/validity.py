"""Validity of a model's structure, checked before any library sees it.

Libraries meet damaged models with tracebacks, hangs or crashes; behind this check they do not:

* every text is UTF-8 (protobuf hands other texts out as bytes);
* IR version and opsets are positive;
* tensors are sound (`protos.storage`), inputs and outputs have types that ONNX knows, and none has
  more axes than an array;
* functions neither call themselves nor unfold to more nodes than anybody exports, and nodes outside
  of them refer to no attributes of a call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, ValueInfoProto

from onnx2snn.errors import ModelFileError
from onnx2snn.protos import storage
from onnx2snn.protos.walk import all_graphs, graphs, subgraphs, tensors

MOST_NODES = 2_000_000
"""Nodes that a model may have once its functions are written out."""

MOST_NESTED = 64
"""Functions that may call one another in a row."""

HIGHEST_OPSET = 10**6
"""A version of operators above this is damage."""

FunctionKey = tuple[str, str, str]


def check_structure(model: onnx.ModelProto, name: str) -> None:
    """Refuse a model whose structure is damaged; `name` is the file's, for errors.

    Raises:
        ModelFileError: With the first fault found.
    """
    fault = next(_faults(model), None)
    if fault is not None:
        raise ModelFileError(f"'{name}' is not a valid ONNX model: {fault}; export it again")


def _faults(model: onnx.ModelProto) -> Iterator[str]:
    # first of all: whoever looks at a text relies on it
    yield from _faults_of_texts(model)
    if model.ir_version < 1:
        yield f"its IR version is {model.ir_version}"
    for holder in [model, *model.functions]:
        for entry in holder.opset_import:
            if not 0 < entry.version < HIGHEST_OPSET:
                yield f"it imports version {entry.version} of operators '{entry.domain}'"
    yield from _faults_of_functions(model)
    yield from _faults_of_references(model.graph)
    for tensor in tensors(model):
        wrong = storage.fault(tensor)
        if wrong is not None:
            yield f"tensor '{tensor.name}' {wrong}"
    yield from _faults_of_values(model)


def _faults_of_texts(message: Any, where: str = "model") -> Iterator[str]:
    """Yield each message with a text that is not UTF-8, at every depth."""
    if isinstance(message, TensorProto):
        # by itself: its values would be copied on the way
        if isinstance(message.name, bytes) or _any_bytes(message.external_data):
            yield f"a text of its {where} is not UTF-8"
        return
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            inner = value if hasattr(value, "add") else [value]
            for item in inner:
                yield from _faults_of_texts(item, field.name.replace("_", " "))
        elif field.type == FieldDescriptor.TYPE_STRING:
            texts = [value] if isinstance(value, str | bytes) else value
            if any(isinstance(text, bytes) for text in texts):
                yield f"a text of its {where} is not UTF-8"
        elif isinstance(message, AttributeProto) and field.name in ("s", "strings"):
            texts = [value] if isinstance(value, bytes) else value
            if not all(map(_is_utf8, texts)):
                yield f"attribute '{message.name}' is not UTF-8"


def _any_bytes(entries: Iterable[onnx.StringStringEntryProto]) -> bool:
    return any(isinstance(text, bytes) for entry in entries for text in (entry.key, entry.value))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _faults_of_values(model: onnx.ModelProto) -> Iterator[str]:
    """Yield inputs, outputs and inner tensors whose types make no sense."""
    graph = model.graph
    for part in all_graphs(model):
        at_border = part is graph
        for value in [*part.input, *part.output, *part.value_info]:
            yield from _faults_of_type(value, at_border)
    if not graph.output:
        yield "it has no outputs"


def _faults_of_type(value: ValueInfoProto, at_border: bool) -> Iterator[str]:
    """Yield what is wrong with a value's type; inner ones may leave it open."""
    kind = _element_type(value)
    if kind is None:
        return
    if kind not in storage.TYPES and (kind != 0 or at_border):
        yield f"tensor '{value.name}' has element type {kind}, which ONNX does not know"
    axes = len(value.type.tensor_type.shape.dim)
    if axes > storage.MOST_AXES:
        yield f"tensor '{value.name}' has {axes} axes, more than arrays have"


def _element_type(value: ValueInfoProto) -> int | None:
    """Return the declared element type of a tensor, or None where it is no tensor."""
    if not value.HasField("type") or value.type.WhichOneof("value") != "tensor_type":
        return None
    return int(value.type.tensor_type.elem_type)


def _faults_of_functions(model: onnx.ModelProto) -> Iterator[str]:
    """Yield functions that call themselves or unfold without measure."""
    known = {_key(function): function for function in model.functions}
    if not known:
        return
    sizes: dict[FunctionKey, int] = {}
    for function in known.values():
        try:
            _unfolded(function, known, sizes, ())
        except RecursionError:
            yield f"function '{function.name}' calls itself, or {MOST_NESTED} others in a row"
            return
    total = _calls([*model.graph.node], known, sizes, ())
    if total > MOST_NODES:
        yield f"its functions unfold to {total} nodes"


def _faults_of_references(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield attributes that refer to those of a call, where there is none."""
    for part in graphs(graph):
        for node in part.node:
            for held in node.attribute:
                if held.ref_attr_name:
                    yield f"attribute '{held.name}' of node '{node.name}' has no value of its own"


def _unfolded(
    function: FunctionProto,
    known: dict[FunctionKey, FunctionProto],
    sizes: dict[FunctionKey, int],
    around: tuple[FunctionKey, ...],
) -> int:
    """Return the nodes that a function is once those it calls are written out.

    Args:
        function: The function.
        known: All functions.
        sizes: The results so far.
        around: The functions that are being looked at, from the outermost in.

    Raises:
        RecursionError: It calls itself, or too many others in a row.
    """
    key = _key(function)
    if key not in sizes:
        if key in around or len(around) >= MOST_NESTED:
            raise RecursionError
        sizes[key] = _calls(function.node, known, sizes, (*around, key))
    return sizes[key]


def _calls(
    body: Iterable[NodeProto],
    known: dict[FunctionKey, FunctionProto],
    sizes: dict[FunctionKey, int],
    around: tuple[FunctionKey, ...],
) -> int:
    """Return the nodes that some nodes are once their functions are written out."""
    outer = list(body)
    inner = [node for graph in subgraphs(outer) for node in graph.node]
    total = 0
    for node in [*outer, *inner]:
        total += 1
        called = known.get((node.domain, node.op_type, node.overload))
        if called is not None:
            total += _unfolded(called, known, sizes, around)
    return total


def _key(function: FunctionProto) -> FunctionKey:
    return function.domain, function.name, function.overload


def name_nodes_apart(model: onnx.ModelProto) -> None:
    """Give nodes of one name in one graph names of their own, in place.

    onnxruntime refuses two of a name, and reports tell nodes by name.
    """
    for graph in all_graphs(model):
        _name_apart(graph.node)
    for function in model.functions:
        _name_apart(function.node)


def _name_apart(body: Sequence[NodeProto]) -> None:
    """Name the second of two nodes `name_2`, or `name_3` where that is taken, and so on."""
    taken = {node.name for node in body}
    seen: set[str] = set()
    numbers: Counter[str] = Counter()
    for node in body:
        base = node.name
        if base in seen and base:
            numbers[base] += 1
            while f"{base}_{numbers[base] + 1}" in taken:
                numbers[base] += 1
            node.name = f"{base}_{numbers[base] + 1}"
            taken.add(node.name)
        seen.add(base)
