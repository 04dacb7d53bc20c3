"""A spiking model unrolled over time: one ONNX model with the ANN's own inputs and outputs, and nothing to be fed back.

Encoder, core and readout of the step graph stand one behind the other. Where time can be folded into the batch axis,
the core is there once for each stretch of time-steps: the delay, whose answer is dropped, and the evaluation window, in
a Loop where a stretch is too long for one pass. Elsewhere one Loop runs the core step by step, and an optional input
says for how many steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array, Delay, ModelSource
from onnx2snn.protos.load import load_model
from onnx2snn.protos.walk import bodies
from onnx2snn.runtime import cut
from onnx2snn.runtime.plan import NEURON_STEPS, neurons_of
from onnx2snn.runtime.time_batched import batched_core
from onnx2snn.runtime.time_forms import TICKS
from onnx2snn.snn.format import METADATA_KEY, SNN_DOMAIN, RolloutMetadata, describe_rollout
from onnx2snn.snn.step_model import State, StepModel, read_step_model
from onnx2snn.snn.window import resolve_delay

TIMESTEPS = "timesteps"
"""Name of the optional input, int64 [1]; with the domain before it where the ANN has an input of that name."""
MOST_PASSES = 32
"""Passes of one stretch written out; onnxruntime's fastest layouts do not reach into a Loop."""
_OWN = f"{SNN_DOMAIN}/rollout/"
"""Before the name of every tensor that the step graph does not have."""


def rollout(
    model: ModelSource, timesteps: int | None = None, delay: Delay = None
) -> onnx.ModelProto:
    """A spiking model over `timesteps` steps as one model in place of the ANN: same inputs, outputs and meaning.

    `model` is a path, bytes or ModelProto as `convert` made it. `timesteps` and `delay` are as in `SpikingSession.run`
    (None: the model's own); the outputs are the readout of the mean over steps delay + 1 to `timesteps` (paper,
    section 5). The batch size stays as free as the ANN's. Stock onnxruntime runs it.
    Where an operator does not let time be folded into the batch axis, the model has one more input that may be left
    out, `timesteps`, int64 [1]: other numbers of steps than the one asked for here.
    Raises ModelFileError for a file that is not a spiking model, UsageError for impossible steps or delays.
    """
    loaded = load_model(model)
    step = read_step_model(loaded.proto, os.fspath(loaded.name))
    total = int(step.metadata["timesteps"]) if timesteps is None else timesteps
    start = resolve_delay(delay, total, step.metadata["delay"], step.metadata["delay_auto"])
    write = _Writer(step)
    write.part(cut.encoder(step))
    core = batched_core(step)
    if isinstance(core, str):
        about = "a Loop over time-steps"
        write.looped(total, start, step.metadata["delay"] if delay is None else delay)
    else:
        about = "time folded into the batch axis"
        write.folded(core, total, start)
    write.part(cut.readout(step))
    made = write.model()
    kept = {p.key: p.value for p in step.proto.metadata_props if p.key != METADATA_KEY}
    helper.set_model_props(made, kept)
    described = RolloutMetadata(
        timesteps=total,
        delay=start,
        form=about,
        source_sha256=step.metadata["source_sha256"],
    )
    describe_rollout(made, described)
    return made


class _Writer:
    """The unrolled graph at work."""

    def __init__(self, step: StepModel) -> None:
        """Start with nothing but the step graph's constants to come."""
        self.step = step
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.optional: list[onnx.ValueInfoProto] = []
        self.types: list[onnx.ValueInfoProto] = []
        self.sums = [s for s in step.states if s.mean is not None]
        self.values = [*step.proto.graph.value_info, *step.proto.graph.output]

    def part(self, proto: onnx.ModelProto | None) -> None:
        """Append a part as it is."""
        if proto is not None:
            self.constants.update({t.name: t for t in proto.graph.initializer})
            self.nodes += proto.graph.node

    def model(self) -> onnx.ModelProto:
        """What has been written, as a model."""
        graph = self.step.proto.graph
        inputs = [v for v in graph.input if v.name in self.step.inputs]
        outputs = [v for v in graph.output if v.name in self.step.outputs]
        made = helper.make_graph(
            self.nodes,
            graph.name,
            [*inputs, *self.optional],
            outputs,
            list(self.constants.values()),
            value_info=self.types,
        )
        proto = helper.make_model(
            made,
            opset_imports=self.step.proto.opset_import,
            functions=self.step.proto.functions,
            producer_name=self.step.proto.producer_name,
            producer_version=self.step.proto.producer_version,
        )
        proto.ir_version = self.step.proto.ir_version
        return proto

    # Time folded into the batch axis.

    def folded(self, core: onnx.ModelProto, total: int, start: int) -> None:
        """The time-batched core over the delay, then over the evaluation window, and its means."""
        self.constants.update({t.name: t for t in core.graph.initializer})
        values = {s.input: self._zeros(s) for s in cut.core_states(self.step)}
        neurons = neurons_of(self.step)
        most = max(1, NEURON_STEPS // neurons) if neurons else total
        for name, steps in (("delay", start), ("window", total - start)):
            values |= {s.input: self._zeros(s) for s in self.sums}
            values = self._passes(core, values, f"{_OWN}{name}/", steps, most)
        window = self.constant(f"{_OWN}length", np.array([total - start], np.float32))
        for state in self.sums:
            self._mean(state, values[state.input], window)

    def _passes(
        self, core: onnx.ModelProto, values: dict[str, str], prefix: str, steps: int, most: int
    ) -> dict[str, str]:
        """A stretch of steps, in passes of at most so many: written out if they are few, for speed, else in a Loop."""
        count = -(-steps // most)
        if count > MOST_PASSES:
            each, steps = divmod(steps, count)
            values = self._repeat(core, values, f"{prefix}loop/", each, count)
            count = -(-steps // most)
        for index in range(count):
            each = steps // (count - index)
            values = self._stretch(core, values, f"{prefix}{index}/", each, self.nodes)
            self.types += _types_with_prefix(core.graph.value_info, f"{prefix}{index}/")
            steps -= each
        return values

    def _stretch(
        self,
        core: onnx.ModelProto,
        values: Mapping[str, str],
        prefix: str,
        steps: int,
        nodes: list[onnx.NodeProto],
    ) -> dict[str, str]:
        """Some steps in one pass: states by input name -> the states behind them."""
        ticks = self.constant(f"{TICKS}/{steps}", np.zeros(steps, np.float32))
        given = {TICKS: ticks, **values}
        nodes += _with_prefix(core.graph.node, prefix, given, {*self.constants, *self.step.to_core})
        return {s.input: f"{prefix}{s.output}" for s in cut.core_states(self.step)}

    def _repeat(
        self, core: onnx.ModelProto, values: dict[str, str], prefix: str, steps: int, repeats: int
    ) -> dict[str, str]:
        """The same stretch several times over."""
        states = cut.core_states(self.step)
        nodes: list[onnx.NodeProto] = []
        after = self._stretch(
            core, {s.input: f"{prefix}{s.input}" for s in states}, prefix, steps, nodes
        )
        carried = [(f"{prefix}{s.input}", after[s.input], s.rank) for s in states]
        count = self.constant(f"{_OWN}repeats/{repeats}", np.array(repeats, np.int64))
        return self._loop(prefix, count, nodes, carried, values)

    # Step by step.

    def looped(self, total: int, start: int, delay: Delay) -> None:
        """The core step by step, for as many steps as an optional input says."""
        core = cut.core(self.step)
        self.constants.update({t.name: t for t in core.graph.initializer})
        taken = self.step.inputs
        name = TIMESTEPS if TIMESTEPS not in taken else f"{SNN_DOMAIN}/{TIMESTEPS}"
        self.constant(name, np.array([total], np.int64))
        self.optional.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1]))
        dropped = self._dropped(name, delay)
        states = cut.core_states(self.step)
        # the sums start afresh when the delay is over
        fresh = {s.input: f"{_OWN}fresh/{s.input}" for s in self.sums}
        prefix = f"{_OWN}loop/"
        iteration, over = f"{prefix}iteration", f"{prefix}over"
        body = [
            helper.make_node("Equal", [iteration, dropped], [over], over),
            *(
                helper.make_node(
                    "Where", [over, self._zeros(s), s.input], [fresh[s.input]], fresh[s.input]
                )
                for s in self.sums
            ),
            *(cut.renamed(node, fresh) for node in core.graph.node),
        ]
        carried = [(s.input, s.output, s.rank) for s in states]
        count = self._emit("Squeeze", [name], f"{_OWN}loop/count")
        values = self._loop(prefix, count, body, carried, {s.input: self._zeros(s) for s in states})
        window = self._emit(
            "Cast", [self._emit("Sub", [name, dropped], f"{_OWN}counted")], f"{_OWN}length", to=1
        )
        for state in self.sums:
            self._mean(state, values[state.input], window)

    def _dropped(self, timesteps: str, delay: Delay) -> str:
        """Steps left out of the answer, int64 [1], as `resolve_delay` says for the number of steps there is."""
        half = self._emit(
            "Div",
            [timesteps, self.constant(f"{_OWN}two", np.array([2], np.int64))],
            f"{_OWN}delay/half",
        )
        if delay == "half":
            return half
        if delay == "auto":
            auto = self.constant(
                f"{_OWN}delay/auto", np.array([self.step.metadata["delay_auto"]], np.int64)
            )
            return self._emit("Min", [auto, half], f"{_OWN}delay/steps")
        number = self.constant(f"{_OWN}delay/number", np.array([delay], np.int64))
        shorter = self._emit("Less", [number, timesteps], f"{_OWN}delay/shorter")
        nothing = self.constant(f"{_OWN}nothing", np.zeros(1, np.int64))
        return self._emit("Where", [shorter, number, nothing], f"{_OWN}delay/steps")

    # Small things.

    def _loop(
        self,
        prefix: str,
        count: str,
        nodes: Sequence[onnx.NodeProto],
        carried: Sequence[tuple[str, str, int]],
        values: Mapping[str, str],
    ) -> dict[str, str]:
        """Nodes `count` times, states as (input, output, rank) handed from one to the next; returns the last ones."""
        states = [s.input for s in cut.core_states(self.step)]
        iteration, go_on = f"{prefix}iteration", f"{prefix}go_on"
        same = helper.make_node("Identity", [go_on], [f"{go_on}/same"], f"{go_on}/same")
        body = helper.make_graph(
            [same, *nodes],
            f"{prefix}body",
            [
                helper.make_tensor_value_info(iteration, TensorProto.INT64, []),
                helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
                *(
                    helper.make_tensor_value_info(before, TensorProto.FLOAT, [None] * rank)
                    for before, _, rank in carried
                ),
            ],
            [
                helper.make_tensor_value_info(f"{go_on}/same", TensorProto.BOOL, []),
                *(_state_info(after, rank) for _, after, rank in carried),
            ],
        )
        last = [f"{prefix}last/{name}" for name in states]
        always = self.constant(f"{_OWN}always", np.array(True))
        taken = [count, always, *(values[name] for name in states)]
        self.nodes.append(helper.make_node("Loop", taken, last, f"{prefix}loop", body=body))
        return dict(zip(states, last, strict=True))

    def _mean(self, state: State, total: str, window: str) -> None:
        """The mean over the evaluation window, in the type the readout takes it."""
        assert state.mean is not None
        if state.rank == 0:
            window = self._emit("Squeeze", [window], f"{_OWN}{state.mean}/steps")
        kind = next(
            (v.type.tensor_type.elem_type for v in self.values if v.name == state.mean),
            TensorProto.FLOAT,
        )
        if kind == TensorProto.FLOAT:
            self._emit("Div", [total, window], state.mean)
        else:
            self._emit(
                "Cast",
                [self._emit("Div", [total, window], f"{_OWN}{state.mean}")],
                state.mean,
                to=kind,
            )

    def _emit(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(
            helper.make_node(op, inputs, [output], f"{output}/{op.lower()}", **attributes)
        )
        return output

    def _zeros(self, state: State) -> str:
        return self.constant(f"{_OWN}zeros/{state.rank}", np.zeros([1] * state.rank, np.float32))

    def constant(self, name: str, value: Array) -> str:
        """A constant by name; the same name is the same value."""
        self.constants.setdefault(name, numpy_helper.from_array(value, name))
        return name


def _with_prefix(
    nodes: Iterable[onnx.NodeProto], prefix: str, given: Mapping[str, str], kept: set[str]
) -> list[onnx.NodeProto]:
    """Copies of nodes under other names, but for the tensors given by others and those kept."""

    def name(tensor: str) -> str:
        return tensor if not tensor or tensor in kept else given.get(tensor, f"{prefix}{tensor}")

    def renamed(node: onnx.NodeProto) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}{node.name}"
        copy.input[:] = [name(t) for t in node.input]
        copy.output[:] = [name(t) for t in node.output]
        for graph in bodies(copy):
            for value in [*graph.input, *graph.output]:
                value.name = name(value.name)
            inner = [renamed(n) for n in graph.node]
            del graph.node[:]
            graph.node.extend(inner)
        return copy

    return [renamed(node) for node in nodes]


def _types_with_prefix(
    values: Iterable[onnx.ValueInfoProto], prefix: str
) -> list[onnx.ValueInfoProto]:
    """What a core knows of its tensors, under the names of a pass."""
    copies = []
    for value in values:
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(value)
        copy.name = f"{prefix}{value.name}"
        copy.type.tensor_type.shape.dim[
            0
        ].dim_param = f"{prefix}{value.type.tensor_type.shape.dim[0].dim_param}"
        copies.append(copy)
    return copies


def _state_info(name: str, rank: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)
