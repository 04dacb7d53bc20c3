"""Loops that never end, refused before anything runs them.

A Loop whose condition is always true ends after its trips alone. A condition that is computed may
end it, which only running tells: that is left to `--time-limit` and Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from onnx2snn.errors import ModelFileError
from onnx2snn.protos.inlining import inlined
from onnx2snn.protos.nodes import standard
from onnx2snn.protos.walk import bodies, constants, nodes

MOST_TRIPS = 10**7
"""Trips that take longer than anybody waits: one of a single node takes some microseconds."""

Known = Mapping[str, TensorProto]
"""Constant tensors by name, those of the graphs around included."""


def check_loops(model: onnx.ModelProto, name: str) -> None:
    """Refuse a model with a Loop that never ends.

    Args:
        model: The model, checked.
        name: The file's, for errors.

    Raises:
        ModelFileError: With the first such node.
    """
    if not any(node.op_type == "Loop" for node in nodes(model)):
        return
    graph = inlined(model).graph
    for node in _endless(graph.node, constants(graph)):
        raise ModelFileError(
            f"node '{node.name or node.output[0]}' (Loop) of '{name}' never ends: its condition is "
            f"always true, and it has no trip count below {MOST_TRIPS:,}; give it one"
        )


def _endless(body: Iterable[NodeProto], known: Known) -> Iterator[NodeProto]:
    """Yield the endless Loops among some nodes and inside them."""
    for node in body:
        is_loop = node.op_type == "Loop" and standard(node)
        for inner in bodies(node):
            within = {**known, **constants(inner)}
            if is_loop and _never_ends(node, inner, known, within):
                yield node
            yield from _endless(inner.node, within)


def _never_ends(node: NodeProto, body: GraphProto, known: Known, within: Known) -> bool:
    """Return whether a Loop goes on for ever; `within` are the constants that its body sees."""
    trips, condition = [*node.input, "", ""][:2]
    if trips and not _exceeds(known.get(trips), MOST_TRIPS):
        return False
    if not condition:
        return True
    return _exceeds(known.get(condition), 0) and _stays_true(body, within)


def _exceeds(tensor: TensorProto | None, number: int) -> bool:
    """Return whether a constant of one element is known to be greater than a number."""
    if tensor is None:
        return False
    values = numpy_helper.to_array(tensor)
    is_whole = values.size == 1 and values.dtype.kind in "bi"
    return is_whole and int(values.item()) > number


def _stays_true(body: GraphProto, within: Known) -> bool:
    """Return whether a body hands its condition on, or makes it of a constant."""
    copies = {node.output[0]: node.input[0] for node in body.node if node.op_type == "Identity"}
    name = body.output[0].name
    # nodes are sorted, so copies of copies end
    while name in copies:
        name = copies[name]
    return name == body.input[1].name or _exceeds(within.get(name), 0)
