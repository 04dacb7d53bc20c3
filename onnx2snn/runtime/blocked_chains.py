"""Chains in the order of onnxruntime's convolutions, which keep the channels of maps in blocks.

Around whatever is no convolution or pooling, onnxruntime turns maps into the plain order and back
(ReorderOutput, ReorderInput). To a chain any order is as good, if all it takes has the same one:

    Conv, ReorderOutput, Chain, ReorderInput, Conv    becomes    Conv, BlockedChain, Conv

In a model that onnxruntime has optimised, a chain is put into blocks where fewer maps are turned
then. What varies in the plain order it turns itself, as it reads; constants are turned here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos.walk import read_by
from onnx2snn.runtime.chain_programs import EACH_STEP
from onnx2snn.runtime.time_core import OWN
from onnx2snn.runtime.time_forms import unfolded_name

DOMAIN = "com.microsoft.nchwc"
"""Of the operators that take and make blocks, in models that onnxruntime has optimised."""

REST = f"{OWN}rest"
"""The length that is left, -1."""

ONCE_A_PASS = 0.25
"""What turning maps of one time-step costs, beside those of all in a pass."""


def _name_in_blocks(name: str) -> str:
    return f"{OWN}blocks/{name}"


def turned_map(plain: Array, block: int) -> Array:
    """Return maps [.., C, H, W] whose memory has the order [.., C / block, H, W, block]."""
    *lead, channels, height, width = plain.shape
    blocks = plain.reshape(*lead, channels // block, block, height, width)
    return np.moveaxis(blocks, -3, -1).reshape(plain.shape)


def in_blocks(proto: onnx.ModelProto, block: int) -> onnx.ModelProto | None:
    """Return an optimised model with chains in blocks; None where there is none to put there."""
    graph = proto.graph
    facts = _Facts(graph, block)
    nodes = list(_rewritten(graph.node, facts))
    if all(node.op_type != "BlockedChain" for node in nodes):
        return None
    used = {value.name for value in graph.output}
    kept = []
    # from the end: what is used decides what is made
    for node in reversed(nodes):
        if used & set(node.output):
            used.update(read_by(node))
            kept.append(node)
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(reversed(kept))
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend(constants)
    made.graph.initializer.extend(facts.turned.values())
    made.graph.initializer.append(numpy_helper.from_array(np.array([-1]), REST))
    return made


@dataclass(frozen=True)
class _Blocked:
    """A tensor in blocks: its name there, and how many channels it has."""

    name: str
    channels: int


@dataclass
class _Facts:
    """What is known of an optimised graph's tensors, by their names."""

    graph: onnx.GraphProto
    block: int
    blocked: dict[str, _Blocked] = field(default_factory=dict)
    """Those in the plain order that are in blocks, too."""
    turned: dict[str, TensorProto] = field(default_factory=dict)
    """Constants in blocks."""

    def __post_init__(self) -> None:
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.answers = {value.name for value in self.graph.output}
        self.takers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.graph.node:
            for name in read_by(node):
                self.takers[name].append(node)
        small = {value.name for value in self.graph.input if _is_small(value)}
        self.small = small.union(self.constants)
        """What is made of constants, and of inputs of fewer axes than maps have."""
        for node in self.graph.node:
            if self.small.issuperset(read_by(node)):
                self.small.update(node.output)


def _is_small(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and len(tensor.shape.dim) < 3


def _rewritten(nodes: Sequence[NodeProto], facts: _Facts) -> Iterator[NodeProto]:
    """Yield sorted nodes with chains in blocks; what they replace is there as well."""
    aliases: dict[str, str] = {}
    for node in nodes:
        taken = [aliases.get(name, name) for name in node.input]
        if node.op_type == "Shape" and node.input[0] in facts.blocked:
            # lengths are told without blocks
            taken = [facts.blocked[node.input[0]].name]
        if node.op_type == "ReorderInput" and node.input[0] in facts.blocked:
            aliases[node.output[0]] = facts.blocked[node.input[0]].name
            continue
        chain = _chain_in_blocks(node, facts) if node.op_type == "Chain" else None
        if chain is not None:
            yield from chain
            continue
        if node.op_type == "ReorderOutput":
            _learn_turned(node, facts)
        elif node.op_type == "Reshape":
            reshaped = _reshape_in_blocks(node, facts)
            if reshaped:
                yield from reshaped
                continue
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = taken
        yield copy


def _learn_turned(node: NodeProto, facts: _Facts) -> None:
    """Know the maps before a ReorderOutput as those behind it in blocks, if blocks are full."""
    given = {one.name: one.i for one in node.attribute}
    channels = given.get("channels", 0)
    if given.get("channels_last", 0) or channels < facts.block or channels % facts.block:
        return
    facts.blocked[node.output[0]] = _Blocked(node.input[0], channels)


def _reshape_in_blocks(node: NodeProto, facts: _Facts) -> list[NodeProto]:
    """Return a Reshape of maps in blocks that changes the form alone; else nothing."""
    before, after = node.input[0], node.output[0]
    blocked = facts.blocked.get(before)
    if blocked is None or not (unfolded_name(after) == before or unfolded_name(before) == after):
        return []
    own = _Blocked(_name_in_blocks(after), blocked.channels)
    facts.blocked[after] = own
    reshaped = helper.make_node("Reshape", [blocked.name, node.input[1]], [own.name])
    if unfolded_name(before) == after:
        return [reshaped, node]
    return [reshaped, _turned_back(own, after)]


def _turned_back(blocked: _Blocked, name: str) -> NodeProto:
    """Return the node that makes [N, C, H, W] of it in the plain order."""
    channels = blocked.channels
    return helper.make_node(
        "ReorderOutput", [blocked.name], [name], domain=DOMAIN, channels=channels
    )


def _chain_in_blocks(node: NodeProto, facts: _Facts) -> list[NodeProto] | None:
    """Return a chain in blocks, and its outputs in the plain order; None to leave it alone."""
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    kinds = given["input_kinds"]
    sources = node.input[: len(kinds)]
    counts = {facts.blocked[name].channels for name in sources if name in facts.blocked}
    if len(counts) != 1:
        return None
    if not _saves(node, given, facts):
        return None
    channels = counts.pop()
    if not _all_are_maps(given, [name in facts.blocked for name in sources]):
        return None
    taken, turned = [], []
    for name, kind in zip(sources, kinds, strict=True):
        blocked = facts.blocked.get(name)
        constant = facts.constants.get(name)
        own: str | None = name
        if blocked is not None:
            own = blocked.name
        elif constant is not None:
            own = _constant_in_blocks(constant, channels, int(kind == EACH_STEP), facts)
        if own is None:
            return None
        taken.append(own)
        turned.append(int(blocked is None and constant is None))
    chain = NodeProto()
    chain.CopyFrom(node)
    chain.op_type = "BlockedChain"
    chain.input[:] = [*taken, *node.input[len(kinds) :]]
    chain.output[:] = map(_name_in_blocks, node.output)
    chain.attribute.append(helper.make_attribute("block", facts.block))
    chain.attribute.append(helper.make_attribute("turned", turned))
    made = [chain]
    lasts = given["results"][1::2]
    for name, own, last in zip(node.output, chain.output, lasts, strict=True):
        blocked = _Blocked(own, channels)
        facts.blocked[name] = blocked
        if given["timed"] and not last:
            made += _unfolded_turned_back(blocked, name)
        else:
            made.append(_turned_back(blocked, name))
    return made


def _unfolded_turned_back(blocked: _Blocked, name: str) -> list[NodeProto]:
    """Return the nodes that make [K, M, C, H, W] of it in the plain order."""
    own = blocked.name
    folded = _Blocked(f"{own}/folded", blocked.channels)
    return [
        helper.make_node("Shape", [own], [f"{own}/shape"]),
        helper.make_node("Shape", [own], [f"{own}/tail"], start=2),
        helper.make_node("Concat", [REST, f"{own}/tail"], [f"{own}/folded/shape"], axis=0),
        helper.make_node("Reshape", [own, f"{own}/folded/shape"], [folded.name]),
        _turned_back(folded, f"{own}/plain"),
        helper.make_node("Reshape", [f"{own}/plain", f"{own}/shape"], [name]),
    ]


def _saves(node: NodeProto, given: Mapping[str, Any], facts: _Facts) -> bool:
    """Return whether fewer maps are turned with a chain in blocks than without."""
    before, after = 0.0, 0.0
    for name, kind in dict(zip(node.input, given["input_kinds"], strict=False)).items():
        if name in facts.blocked:
            before += 1
        elif name not in facts.small:
            once = given["timed"] and kind != EACH_STEP
            after += ONCE_A_PASS if once else 1
    for name, last in zip(node.output, given["results"][1::2], strict=True):
        takers = {taker.op_type for taker in _takers_beyond(name, facts)}
        before += "ReorderInput" in takers
        if takers - {"ReorderInput", "Chain", "Shape"} or name in facts.answers:
            after += ONCE_A_PASS if last else 1
    return after < before


def _takers_beyond(name: str, facts: _Facts) -> Iterator[NodeProto]:
    """Yield the nodes that take a tensor, those behind a Reshape in its place."""
    for taker in facts.takers[name]:
        if taker.op_type == "Reshape" and taker.input[0] == name:
            yield from facts.takers[taker.output[0]]
        else:
            yield taker


def _all_are_maps(given: Mapping[str, Any], is_map: Sequence[bool]) -> bool:
    """Return whether all outputs of a chain depend on its maps, and so have their channels."""
    known = {place for place, one in enumerate(is_map) if one}
    program = np.reshape(given["program"], (-1, 5)).tolist()
    states = np.reshape(given.get("states", []), (-1, 2)).tolist()
    count = 0
    # again while a state has become one by what it is handed on
    while len(known) > count:
        count = len(known)
        for _, made, *operands in program:
            if known.intersection(operands):
                known.add(made)
        known.update(before for before, after in states if after in known)
    results = np.reshape(given["results"], (-1, 2))[:, 0].tolist()
    return known.issuperset(results)


def _constant_in_blocks(tensor: TensorProto, channels: int, lead: int, facts: _Facts) -> str | None:
    """Return the name of a constant as a chain in blocks reads it; None where it cannot.

    `lead`: how many axes lie before those of its maps that are none of them, as time.
    """
    sizes = list(tensor.dims)[lead:][-3:]
    if len(sizes) < 3 or sizes[0] == 1 or (sizes[0] == channels and sizes[1] * sizes[2] == 1):
        return str(tensor.name)
    if sizes[0] != channels:
        return None
    name = _name_in_blocks(tensor.name)
    if name not in facts.turned:
        turned = turned_map(numpy_helper.to_array(tensor), facts.block)
        facts.turned[name] = numpy_helper.from_array(turned, name)
    return name
