"""One core -> a core of many time-steps, folded into the batch axis.

Each layer runs once over all of the steps.

Only what hands a state on (`runtime.recurrence`) runs step by step, in a Scan of its own: as a rule
a neuron's few operators. The modules `time_*` each know one side of it: the operators that leave
the leading axis alone (`time_axis`), the forms of a tensor (`time_forms`), the nodes of single
steps (`time_nodes`) and the Scans (`time_scans`).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from onnx2snn.protos.building import ProtoBuilder
from onnx2snn.protos.walk import graphs
from onnx2snn.runtime import cut
from onnx2snn.runtime.joined import joined_core
from onnx2snn.runtime.recurrence import Recurrence
from onnx2snn.runtime.spike_counters import SpikeCounter
from onnx2snn.runtime.time_axis import time_refusal
from onnx2snn.runtime.time_core import OWN, TimedCore, known_sizes, timed_core
from onnx2snn.runtime.time_forms import TICKS, Forms
from onnx2snn.runtime.time_nodes import emit_all_steps
from onnx2snn.runtime.time_scans import emit_recurrence
from onnx2snn.snn.step_model import StepModel

LEADING = f"{OWN}steps_and_samples"
"""Name of the leading axis of folded tensors."""


def batched_core(
    model: StepModel, count: Sequence[SpikeCounter] = (), *, joined: bool = False
) -> onnx.ModelProto | str:
    """Return a core of K time-steps: the encoder's tensors, states, `TICKS` -> the next states.

    It is `cut.core` with the same counters, K times. Where time cannot be folded into the batch
    axis, the reason is returned instead. `joined`: recurrences are as large as chains can be.
    """
    made = cut.core(model, count=count)
    core = timed_core(made, model, cut.carried_states(model, count))
    for node in core.free:
        if not any(core.facts.varies(name) for name in node.input):
            continue  # a constant
        reason = time_refusal(node, core.facts)
        if reason is not None:
            return f"node '{node.name}': {reason}"
    if joined:
        core = joined_core(core)

    build = ProtoBuilder()
    forms = Forms(core, build)
    for unit in core.in_order():
        if isinstance(unit, Recurrence):
            emit_recurrence(unit, forms)
        else:
            emit_all_steps(unit, forms)

    graph = made.graph  # changed in place: a copy would hold the weights twice
    del graph.node[:], graph.value_info[:]
    graph.node.extend(build.nodes)
    graph.value_info.extend(_folded_types(core))
    graph.input.append(helper.make_tensor_value_info(TICKS, TensorProto.FLOAT, [None]))
    graph.initializer.extend(build.constants.values())
    _drop_unused_initializers(graph)
    return made


def _folded_types(core: TimedCore) -> list[onnx.ValueInfoProto]:
    """Declare shapes of folded tensors, as far as they are known, with the same leading axis.

    Without that onnxruntime does not add a shortcut while it convolves, since shapes might differ.
    """
    types = []
    for name, dims in core.dims.items():
        sizes = known_sizes(dims)
        if sizes and core.facts.varies(name):
            shape: list[str | int | None] = [LEADING, *sizes]
            types.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return types


def _drop_unused_initializers(graph: onnx.GraphProto) -> None:
    used = {name for inner in graphs(graph) for node in inner.node for name in node.input}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]
