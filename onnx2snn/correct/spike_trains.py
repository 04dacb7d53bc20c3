"""A layer of neurons over all time-steps in one model, by the neuron function of emitted models."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.snn.fast_neurons import function_for
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import Neuron, attributes

OPSET = 18

SPIKES = {
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.int32): TensorProto.INT32,
}
"""The types of spikes in use, in ONNX."""


def spike_train_model(neuron: Neuron, levels: int, v_init: Array, rank: int) -> onnx.ModelProto:
    """Return the model (currents, scale, shift, states) -> (spikes, total, states).

    A neuron gets `scale` times its current plus `shift`, in threshold units. Currents are
    [T, n, ...], spikes [T, n, ...] and their sum over time [n, ...]; the states [n, ...] are zeros
    before the first step. Spikes are whole numbers of `spike_type`, all else is float32.

    Args:
        neuron: The kind of neuron.
        levels: The most thresholds one spike is high.
        v_init: Initial potentials in threshold units; they broadcast to [n, ...].
        rank: The number of axes of [n, ...], of scale and of shift.
    """
    step = _step(neuron, levels, v_init)
    kind = SPIKES[spike_type(levels)]
    labels = [label for label, _ in neuron.states]
    first = [state_input(label) for label in labels]
    last = [f"{label}/last" for label in labels]
    # the layer at all steps, one after another: inputs -> train
    scan = helper.make_node(
        "Scan",
        [*first, "inputs"],
        [*last, "train"],
        body=_scan_body(step, labels, rank),
        num_scan_inputs=1,
    )
    graph = onnx.GraphProto(name="spike_train")
    graph.node.extend(
        [
            helper.make_node("Mul", ["currents", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], ["inputs"]),
            scan,
            helper.make_node("Cast", ["train"], ["spikes"], to=kind),
            helper.make_node("ReduceSum", ["train", "time"], ["total"], keepdims=0),
        ]
    )
    time = np.array([0], np.int64)
    graph.initializer.append(numpy_helper.from_array(time, "time"))
    graph.input.append(_typed("currents", rank + 1))
    graph.input.extend(_all_typed(["scale", "shift", *first], rank))
    graph.output.append(_typed("spikes", rank + 1, kind))
    graph.output.extend(_all_typed(["total", *last], rank))
    return _model(graph, neuron, step)


def _model(graph: onnx.GraphProto, neuron: Neuron, step: onnx.NodeProto) -> onnx.ModelProto:
    function = function_for(neuron.op, OPSET, [step], single=True)
    opsets = [
        helper.make_opsetid("", OPSET),
        helper.make_opsetid(SNN_DOMAIN, 1),
    ]
    return helper.make_model(
        graph,
        opset_imports=opsets,
        functions=[function],
        ir_version=10,
    )


def _step(neuron: Neuron, levels: int, v_init: Array) -> onnx.NodeProto:
    """Return the node of one time-step: (x, states) -> (spike, states)."""
    before = [label for label, _ in neuron.states]
    after = [_next(label) for label in before]
    return helper.make_node(
        neuron.op,
        ["x", *before],
        ["spike", *after],
        "neuron",
        domain=SNN_DOMAIN,
        **attributes(neuron, levels, v_init, 1.0),
    )


def _scan_body(step: onnx.NodeProto, labels: list[str], rank: int) -> onnx.GraphProto:
    """Return the body of the Scan over time: states go in first and come out first."""
    after = [_next(label) for label in labels]
    inputs = _all_typed([*labels, "x"], rank)
    outputs = _all_typed([*after, "spike"], rank)
    return helper.make_graph([step], "step", inputs, outputs)


def _next(label: str) -> str:
    return f"{label}/next"


def _all_typed(names: list[str], rank: int) -> list[onnx.ValueInfoProto]:
    return [_typed(name, rank) for name in names]


def _typed(name: str, rank: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    shape = [None] * rank
    return helper.make_tensor_value_info(name, kind, shape)


def state_input(label: str) -> str:
    """Return the input that takes a state of the neurons before the first step."""
    return f"{label}/first"


def spike_type(levels: int) -> np.dtype[np.signedinteger]:
    """Return the smallest type in use that holds spikes of up to `levels` thresholds."""
    if levels < 2**7:
        return np.dtype(np.int8)
    return np.dtype(np.int32)
