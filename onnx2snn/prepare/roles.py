"""The role of each node of an arranged graph, and why: encoder, neuron, linear, analog, readout ...

A neuron site is a supported activation with a weighted operator on a path before it and another
that its spikes reach as spikes (`prepare.feeding`). The roles are given in three passes:

1. classify: encoder: all that is not downstream of a neuron; readout: all that is, and leads to no
   neuron; core: the rest. In the core, what is linear runs per step, and what is not is analog.
2. widen: linear operators and max-pools that lie between two analog ones without a neuron between
   are analog, too: no state is kept in between.
3. refuse: nodes at which a state is needed that cannot be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.graph.bounds import upper_bound
from onnx2snn.graph.dims import rank
from onnx2snn.graph.flow import (
    nodes_before,
    nodes_behind,
    shape_only,
    time_varying,
)
from onnx2snn.graph.operators import Role, core_refusal, nonlinearity
from onnx2snn.graph.types import Graph, Node, Tensor
from onnx2snn.prepare.feeding import feeding
from onnx2snn.protos.nodes import MAX_POOLS, standard

CORE: tuple[Role, ...] = ("neuron", "linear", "pooled", "analog")

CONSTANT = "constant in time"

STATELESS_BEHIND_ANALOG: set[Role] = {"analog", "refused"}
"""Roles that take the output of an analog operator as it is, without a state."""

STATELESS_BEHIND_OTHERS: set[Role] = {"neuron", "linear", "refused"}
"""Roles that take the output of any other operator as it is."""


@dataclass(frozen=True)
class Row:
    """What becomes of one node; `reason` says why.

    `unfed` says of an activation between weighted operators why it does not fire.
    """

    node: str
    op: str
    role: Role
    reason: str
    unfed: str = ""


Rows = dict[str, Row]
"""Rows by the name of their node, in topological order."""


@dataclass(frozen=True)
class _Places:
    """The nodes that fire, those up- and downstream of them, and the tensors that vary in time.

    `blocked` are the activations that do not fire, and what stands between each and the next
    weighted operator; `kept` are those that shall not fire.
    """

    sites: set[str]
    blocked: Mapping[str, Node | None]
    downstream: set[str]
    upstream: set[str]
    varying: set[str]
    kept: Collection[str]

    def varies(self, tensor: Tensor) -> bool:
        return tensor.name in self.varying


def roles_of(graph: Graph, kept: Collection[str] = ()) -> Rows:
    """Return the row of every node of an arranged graph, whose nodes are sorted.

    Activations whose names are among `kept` shall not fire.
    """
    nodes = list(graph.nodes)
    places = _places(nodes, kept)
    rows: Rows = {}
    for node in nodes:
        role, reason = _classify(node, places)
        unfed = ""
        if node.name in places.blocked:
            unfed = _not_fed(places.blocked[node.name])
            reason = f"{reason}; {unfed}"
        rows[node.name] = Row(node.name, node.op, role, reason, unfed)
    _widen(nodes, rows)
    _refuse_stateless(graph, rows, places)
    return rows


def _places(nodes: Sequence[Node], kept: Collection[str]) -> _Places:
    found = feeding(nodes, kept)
    sites = set()
    for node in nodes:
        if node.name in found.candidates and upper_bound(node) is not None:
            sites.add(node.name)

    def fires(node: Node) -> bool:
        return node.name in sites

    return _Places(
        sites=sites,
        blocked=found.blocked,
        downstream=nodes_behind(nodes, fires),
        upstream=nodes_before(nodes, fires),
        varying=time_varying(nodes, sites),
        kept=kept,
    )


def _classify(node: Node, places: _Places) -> tuple[Role, str]:
    """Return the role of a node by itself, and the reason."""
    if node.name in places.sites:
        return _classify_site(node)
    if node.name not in places.downstream:
        return "encoder", "constant in time: computed once per input"
    if node.name not in places.upstream:
        return "readout", "acts on the mean over the evaluation window"
    return _classify_core(node, places)


def _classify_site(node: Node) -> tuple[Role, str]:
    tensor = node.outputs[0]
    if not rank(tensor):
        return "refused", "the rank of its tensor is unknown"
    if tensor.dtype is not None and tensor.dtype != np.float32:
        computed_in = np.dtype(tensor.dtype)
        return "refused", f"it computes in {computed_in}; export the model in float32"
    return "neuron", "fires"


def _not_fed(blocker: Node | None) -> str:
    """Return why an activation does not fire; `blocker` is what stops its spikes."""
    if blocker is None:
        return "no weighted operator would be fed by its spikes"
    return (
        "no weighted operator would be fed by its spikes: they do not get through "
        f"'{blocker.name}' ({blocker.op})"
    )


def _classify_core(node: Node, places: _Places) -> tuple[Role, str]:
    """Return the role of a node that lies between neurons."""
    # computed from sizes or constants alone
    varies = [places.varies(tensor) for tensor in node.inputs]
    if not any(varies) or shape_only(node):
        return "linear", CONSTANT
    if node.name in places.kept:
        return "analog", "telescoped: left as it is, as --keep asks"
    reason = core_refusal(node, varies.__getitem__)
    if reason is not None:
        return "refused", reason
    if node.op in MAX_POOLS and standard(node):
        return _classify_pool(node, places)
    reason = nonlinearity(node, varies.__getitem__) or _not_floating(node, places)
    if reason is not None:
        return "analog", f"telescoped: {reason}"
    return "linear", "exact per time-step"


def _classify_pool(node: Node, places: _Places) -> tuple[Role, str]:
    if len(node.outputs) > 1 and node.outputs[1].outputs:
        return "analog", "telescoped: its indices are used"
    # before a neuron theorem 2 of the paper holds; elsewhere the accumulated input is pooled
    if any(taker.name in places.sites for taker in node.outputs[0].outputs):
        return "pooled", "pools the input current of its neuron"
    return "pooled", "pools its input in place"


def _not_floating(node: Node, places: _Places) -> str | None:
    """Return why a node cannot act on single steps: integers and booleans have no mean, or None."""
    for tensor in [*node.inputs, *node.outputs]:
        if places.varies(tensor) and not _is_floating(tensor):
            return f"'{tensor.name}' is {np.dtype(tensor.dtype)}"
    return None


def _is_floating(tensor: Tensor) -> bool:
    return tensor.dtype is None or np.issubdtype(tensor.dtype, np.floating)


def _widen(nodes: Sequence[Node], rows: Rows) -> None:
    """Make linear operators and max-pools analog that lie between analog ones, without a neuron."""

    def analog(node: Node) -> bool:
        return rows[node.name].role == "analog"

    # without the neurons, a path between two of these nodes has no neuron on it
    silent = []
    for node in nodes:
        row = rows[node.name]
        if row.role in ("linear", "pooled", "analog") and row.reason != CONSTANT:
            silent.append(node)
    between = nodes_behind(silent, analog) & nodes_before(silent, analog)
    for name in between:
        row = rows[name]
        if row.role != "analog":
            reason = "telescoped: lies between operators that are"
            rows[name] = Row(name, row.op, "analog", reason)


def _refuse_stateless(graph: Graph, rows: Rows, places: _Places) -> None:
    """Refuse nodes of the core behind which a state is needed that cannot be kept."""
    # an output of the graph is the mean over the window, which is a state as well
    outputs = {tensor.name for tensor in graph.outputs}
    for node in graph.nodes:
        if rows[node.name].role not in CORE:
            continue
        for tensor in node.outputs:
            if not places.varies(tensor):
                continue
            stated = tensor.name in outputs or _has_state(tensor, node, rows)
            problem = _unstateable(tensor) if stated else None
            if problem is not None:
                rows[node.name] = Row(node.name, node.op, "refused", problem)
                break


def _has_state(tensor: Tensor, node: Node, rows: Rows) -> bool:
    """Return whether a node that reads this output of `node` takes it by a state, a mean say."""
    # an analog operator makes a mean so far, any other what belongs to one step
    stateless = STATELESS_BEHIND_OTHERS
    if rows[node.name].role == "analog":
        stateless = STATELESS_BEHIND_ANALOG
    for taker in tensor.outputs:
        if not shape_only(taker) and rows[taker.name].role not in stateless:
            return True
    return False


def _unstateable(tensor: Tensor) -> str | None:
    """Return why a tensor cannot have a state, or None where it can."""
    if rank(tensor) is None:
        return f"the rank of '{tensor.name}' is unknown"
    if not _is_floating(tensor):
        kind = np.dtype(tensor.dtype)
        return f"'{tensor.name}' is {kind}, which has no mean for what comes behind"
    return None
