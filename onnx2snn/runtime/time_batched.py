"""One core -> a core of many time-steps: time is folded into the batch axis, and each layer runs once over all of them.

Only what hands a state on (`runtime.recurrence`) runs step by step, in a Scan of its own: as a rule a neuron's few operators.
A tensor that changes in time has two forms here, each made where a node asks for it: folded [K M, ...], under its own
name, and unfolded [K, M, ...]; [M, ...] is its shape in one time-step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.protos.walk import graphs
from onnx2snn.runtime import cut
from onnx2snn.runtime.cut import Carried
from onnx2snn.runtime.recurrence import Recurrence, recurrences
from onnx2snn.runtime.spike_counters import SpikeCounter
from onnx2snn.runtime.time_axis import Constants, Setting, elementwise, refusal
from onnx2snn.runtime.time_shapes import shape_kinds
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.step_model import State, StepModel

_OWN = f"{SNN_DOMAIN}/time/"
"""Before the name of every tensor that the core does not have."""
LEADING = f"{_OWN}steps_and_samples"
STEPS = f"{_OWN}steps"
TICKS = f"{SNN_DOMAIN}/ticks"
"""Input [K] of a time-batched core: its length is the number of time-steps, its values do not matter."""


def batched_core(model: StepModel, count: Sequence[SpikeCounter] = ()) -> onnx.ModelProto | str:
    """K time-steps of `cut.core` at once: what the encoder hands over, the states and `TICKS` -> the next states.

    Where time cannot be folded into the batch axis, the reason is returned instead.
    """
    core = cut.core(model, count=count)
    build = _Build(core, model, [*cut.core_states(model), *count])
    reason = next((r for n in build.free_nodes() if (r := _refused(n, build.setting))), None)
    if reason is not None:
        return reason
    build.run()
    graph = core.graph  # changed in place: a copy would hold the weights twice
    del graph.node[:], graph.value_info[:]
    graph.node.extend(build.nodes)
    graph.value_info.extend(build.folded_types())
    graph.input.append(helper.make_tensor_value_info(TICKS, TensorProto.FLOAT, [None]))
    graph.initializer.extend(build.initializers)
    used = {t for inner in graphs(graph) for node in inner.node for t in node.input}
    for index in [i for i, t in enumerate(graph.initializer) if t.name not in used][::-1]:
        del graph.initializer[index]
    return core


def _refused(node: onnx.NodeProto, setting: Setting) -> str | None:
    reason = refusal(node, setting)
    return f"node '{node.name}': {reason}" if reason else None


@dataclass
class _Build:
    """The time-batched graph at work."""

    core: onnx.ModelProto
    model: StepModel
    states: Sequence[State | SpikeCounter]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    made: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Find out what changes in time, and which nodes hand it on."""
        # a state's value in every step is another tensor here than the one that comes in, and the one that goes out
        now = {s.output: f"{_OWN}{s.output}/now" for s in self.states}
        now |= {s.input: f"{_OWN}{s.input}/past" for s in self.states}
        self.core_nodes = [cut.renamed(n, now) for n in self.core.graph.node]
        self.recurrences = recurrences(
            self.core_nodes, [Carried(now[s.input], now[s.output], s.rank) for s in self.states]
        )
        self.first = {now[s.input]: s.input for s in self.states}
        self.final = {now[s.input]: s.output for s in self.states}
        self.carried = {id(n) for r in self.recurrences for n in r.nodes}
        moving = set(self.first)
        for node in self.core_nodes:
            if moving.intersection(node.input):
                moving.update(node.output)
        graph = self.core.graph
        types = [*graph.input, *graph.output, *graph.value_info, *self.model.proto.graph.value_info]
        ranks = {now.get(v.name, v.name): len(v.type.tensor_type.shape.dim) for v in types}
        self.types = {now.get(v.name, v.name): v.type.tensor_type.elem_type for v in types}
        constants = Constants(graph.initializer)
        shapes = shape_kinds(self.core_nodes, constants, frozenset(moving))
        self.setting = Setting(ranks, constants, frozenset(moving), shapes)
        self.dims = {n["spikes"]: n["shape"] for n in self.model.metadata["neurons"]}
        self.dims |= {
            n.input[0]: self.dims[n.output[0]] for n in self.core_nodes if n.output[0] in self.dims
        }

    def free_nodes(self) -> list[onnx.NodeProto]:
        """The nodes that know only their own time-step."""
        return [n for n in self.core_nodes if id(n) not in self.carried]

    def folded_types(self) -> list[onnx.ValueInfoProto]:
        """Shapes of folded tensors, as far as they are known: what has the same leading axis is told to have it.

        Without that onnxruntime does not add a shortcut while it convolves, since shapes might differ.
        """
        known = {
            t: dims for t, dims in self.dims.items() if self.setting.moves(t) and _numbers(dims[1:])
        }
        return [
            helper.make_tensor_value_info(t, TensorProto.FLOAT, [LEADING, *dims[1:]])
            for t, dims in known.items()
        ]

    def wanted(self, unit: Recurrence) -> set[str]:
        """The tensors that nodes outside a recurrence take."""
        others = [self._taken(r) for r in self.recurrences if r is not unit]
        return {t for taken in [*(n.input for n in self.free_nodes()), *others] for t in taken}

    def run(self) -> None:
        """Emit everything, whatever is ready first."""
        self.emit("Shape", [TICKS], STEPS)
        units: list[onnx.NodeProto | Recurrence] = [*self.free_nodes(), *self.recurrences]
        ready = set[str]()
        while units:
            able = [
                u
                for u in units
                if all(t in ready or not self.setting.moves(t) for t in self._taken(u))
            ]
            assert able, "a time-batched core has a cycle"
            for unit in able:
                if isinstance(unit, Recurrence):
                    self._recurrence(unit)
                    ready.update(s.input for s in unit.states)
                    ready.update(t for n in unit.nodes for t in n.output)
                else:
                    self._free(unit)
                    ready.update(unit.output)
            done = {id(u) for u in able}
            units = [u for u in units if id(u) not in done]

    def _taken(self, unit: onnx.NodeProto | Recurrence) -> list[str]:
        """The tensors a unit needs from others."""
        if not isinstance(unit, Recurrence):
            return [t for t in unit.input if t]
        own = {t for n in unit.nodes for t in n.output} | {s.input for s in unit.states}
        taken = [t for n in unit.nodes for t in n.input if t and t not in own]
        return taken if unit.nodes else [unit.states[0].output]

    # Nodes that know only their own time-step.

    def _free(self, node: onnx.NodeProto) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.output[0] in self.setting.shapes:
            self.nodes.append(copy)
            return
        ranks = [self.setting.ranks[t] for t in node.input if self.setting.moves(t)]
        if elementwise(node) and not self._folds(node, max(ranks)):
            # numpy's broadcasting aligns the trailing axes, so what is constant in time fits as it is
            rank = max([*ranks, *(self.setting.ranks.get(t, 0) for t in node.input)])
            copy.input[:] = [
                self._unfolded(t, rank) if self.setting.moves(t) else t for t in node.input
            ]
            copy.output[0] = f"{_OWN}{node.output[0]}/unfolded"
            self.made.add(copy.output[0])
            self.nodes.append(copy)
            self.fold(copy.output[0], node.output[0], rank)
            return
        scale = self._channel_scale(node)
        if scale is not None:
            copy = helper.make_node(
                "Conv", [node.input[0], scale], node.output, node.name, **self._depthwise(node)
            )
        if node.op_type == "Concat":
            copy.input[:] = [t if self.setting.moves(t) else self._repeated(t) for t in node.input]
        self.nodes.append(copy)

    def _channel_scale(self, node: onnx.NodeProto) -> str | None:
        """Weights [C, 1, 1, 1] in place of a factor per channel: a convolution keeps onnxruntime's blocked layout."""
        factor = self.setting.constants.get(node.input[1]) if node.op_type == "Mul" else None
        dims = self.dims.get(node.input[0])
        if (
            factor is None
            or dims is None
            or len(dims) != 4
            or not self.setting.moves(node.input[0])
        ):
            return None
        if factor.size != dims[1] or factor.shape[-3:] != (dims[1], 1, 1):
            return None
        name = f"{_OWN}{node.input[1]}/weights"
        if name not in self.made:
            self.made.add(name)
            self.initializers.append(numpy_helper.from_array(factor.reshape(-1, 1, 1, 1), name))
        return name

    def _depthwise(self, node: onnx.NodeProto) -> dict[str, Any]:
        return {"group": self.dims[node.input[0]][1], "kernel_shape": [1, 1]}

    def _folds(self, node: onnx.NodeProto, rank: int) -> bool:
        """Whether an elementwise node's inputs line up in folded form."""
        for name in node.input:
            constant = self.setting.constants.get(name)
            if self.setting.moves(name):
                fits = self.setting.ranks[name] == rank
            else:
                fits = constant is not None and (constant.ndim < rank or constant.shape[0] == 1)
            if not fits:
                return False
        return True

    def _repeated(self, name: str) -> str:
        """A tensor constant in time, once for each time-step, in folded form."""
        repeats = f"{_OWN}{name}/repeats"
        self.emit(
            "Concat", [STEPS, self._ints([1] * (self.setting.ranks[name] - 1))], repeats, axis=0
        )
        return self.emit("Tile", [name, repeats], f"{_OWN}{name}/repeated")

    # The two forms of a tensor.

    def _unfolded(self, name: str, rank: int | None = None) -> str:
        """[K M, ...] -> [K, M, ...], with axes of length 1 put behind K to make up a rank per time-step."""
        own = self.setting.ranks[name]
        more = (rank or own) - own
        output = f"{_OWN}{name}/unfolded/{more}" if more else f"{_OWN}{name}/unfolded"
        if output in self.made:
            return output
        sizes = _numbers(self.dims.get(name, [])[1:])
        if sizes and len(sizes) == own - 1:
            shape = f"{_OWN}unfolded/{more}/{sizes}"
            self.emit("Concat", [STEPS, self._ints([1] * more + [-1, *sizes])], shape, axis=0)
        else:
            tail = self.emit("Shape", [name], f"{_OWN}{name}/tail", start=1)
            shape = f"{_OWN}{name}/unfolded/{more}/shape"
            self.emit("Concat", [STEPS, self._ints([1] * more + [-1]), tail], shape, axis=0)
        return self.emit("Reshape", [name, shape], output)

    def fold(self, unfolded: str, name: str, rank: int) -> None:
        """[K, M, ...] -> [K M, ...]."""
        sizes = _numbers(self.dims.get(name, [])[1:])
        if sizes and len(sizes) == rank - 1:
            shape = self._ints([-1, *sizes])
        else:
            tail = self.emit("Shape", [unfolded], f"{_OWN}{name}/folded/tail", start=2)
            shape = self.emit(
                "Concat", [self._ints([-1]), tail], f"{_OWN}{name}/folded/shape", axis=0
            )
        self.emit("Reshape", [unfolded, shape], name)

    # What hands a state on.

    def _recurrence(self, unit: Recurrence) -> None:
        outer = [t for t in dict.fromkeys(self._taken(unit)) if t not in self.setting.constants]
        moving = [t for t in outer if self.setting.moves(t)]
        inner = [t for n in unit.nodes for t in n.output]
        wanted = self.wanted(unit)
        used = [t for t in [*inner, *(s.input for s in unit.states)] if t in wanted]
        if unit.accumulates and not used and len(moving) == 1:
            self._sum(unit.states[0], moving[0])
        else:
            self._scan(unit, outer, moving, used)

    def _sum(self, state: Carried, x: str) -> None:
        """A state that only adds up what comes."""
        summed = self.emit(
            "ReduceSum", [self._unfolded(x), self._ints([0])], f"{_OWN}{x}/summed", keepdims=0
        )
        final = self.final[state.input]
        self.nodes.append(
            helper.make_node("Add", [self.first[state.input], summed], [final], f"{final}/add")
        )

    def _scan(self, unit: Recurrence, outer: list[str], moving: list[str], used: list[str]) -> None:
        before, after = [s.input for s in unit.states], [s.output for s in unit.states]
        scanned = [(self._unfolded(t), t) for t in moving] or [(TICKS, f"{TICKS}/{before[0]}")]
        body, named = list(unit.nodes), {}
        # an output of the body is neither one of its inputs nor an output twice
        for name in dict.fromkeys([*used, *(after if not body else [])]):
            if name in before or name in after:
                named[name] = f"{_OWN}{name}/sent"
                body.append(
                    helper.make_node("Identity", [name], [named[name]], f"{name}/sent/identity")
                )
        sent = [named.get(t, t) for t in used]
        after = (
            after if unit.nodes else [named[after[0]]]
        )  # no node: the value is kept for one step
        graph = helper.make_graph(
            body,
            f"{before[0]}/step",
            [self._inner(t, t) for t in [*before, *(t for _, t in scanned)]],
            [self._inner(new, t) for new, t in zip([*after, *sent], [*before, *used], strict=True)],
        )
        self.nodes.append(
            helper.make_node(
                "Scan",
                [*(self._whole(s, outer) for s in unit.states), *(t for t, _ in scanned)],
                [*(self.final[t] for t in before), *(f"{_OWN}{t}/unfolded" for t in used)],
                f"{before[0]}/scan",
                body=graph,
                num_scan_inputs=len(scanned),
            )
        )
        for name in used:
            self.made.add(f"{_OWN}{name}/unfolded")
            self.fold(f"{_OWN}{name}/unfolded", name, self.setting.ranks[name])

    def _whole(self, state: Carried, outer: list[str]) -> str:
        """A state in its full shape, which a Scan asks for; from outside zeros of shape [1, ..., 1] will do."""
        same = [t for t in outer if self.setting.ranks.get(t) == state.rank]
        if not same or state.rank == 0:
            return self.first[state.input]
        if self.setting.moves(same[0]):
            shape = self.emit("Shape", [self._unfolded(same[0])], f"{_OWN}{same[0]}/shape", start=1)
        else:
            shape = self.emit("Shape", [same[0]], f"{_OWN}{same[0]}/shape")
        return self.emit("Expand", [self.first[state.input], shape], f"{_OWN}{state.input}/whole")

    # Small things.

    def emit(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node, unless its output is there already; returns the output."""
        if output not in self.made:
            self.made.add(output)
            self.nodes.append(
                helper.make_node(op, inputs, [output], f"{output}/{op.lower()}", **attributes)
            )
        return output

    def _ints(self, values: Sequence[int]) -> str:
        name = f"{_OWN}ints/{list(values)}"
        if name not in self.made:
            self.made.add(name)
            array: Array = np.array(values, np.int64)
            self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def _inner(self, name: str, like: str) -> onnx.ValueInfoProto:
        """An input or output of a body, in the shape of one time-step."""
        if like.startswith(TICKS):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [])
        return helper.make_tensor_value_info(
            name, self.types.get(like, TensorProto.FLOAT), [None] * self.setting.ranks[like]
        )


def _numbers(dims: Sequence[Any]) -> list[int]:
    """Sizes, where all of them are known; else none."""
    return list(dims) if all(isinstance(size, int) for size in dims) else []
