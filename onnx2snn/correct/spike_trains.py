"""A layer of neurons over all time-steps in one model, in the neuron function that models are emitted with."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx2snn.aliases import Array
from onnx2snn.snn.fast_neurons import function_for
from onnx2snn.snn.format import SNN_DOMAIN
from onnx2snn.snn.neurons import Neuron, attributes

OPSET = 18
SPIKES = {np.dtype(np.int8): TensorProto.INT8, np.dtype(np.int32): TensorProto.INT32}


def spike_train_model(neuron: Neuron, levels: int, v_init: Array, rank: int) -> onnx.ModelProto:
    """(currents [T, n, ...], scale, shift, states) -> (spikes [T, n, ...], their sum over time [n, ...], states).

    A neuron gets `scale` times its current plus `shift`, in threshold units; both broadcast to [n, ...], of `rank`
    axes, as `v_init` does, in threshold units too. Spikes are whole numbers of `spike_type`, all else is float32. The
    neuron's states [n, ...] are zeros before the first step.
    """
    single = TensorProto.FLOAT
    states = [label for label, _ in neuron.states]
    after = [f"{state}/next" for state in states]
    step = helper.make_node(
        neuron.op,
        ["x", *states],
        ["spike", *after],
        "neuron",
        domain=SNN_DOMAIN,
        **attributes(neuron, levels, v_init, 1.0),
    )

    def typed(name: str, axes: int, kind: int = single) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [None] * axes)

    body = helper.make_graph(
        [step],
        "step",
        [typed(t, rank) for t in (*states, "x")],
        [typed(t, rank) for t in (*after, "spike")],
    )
    first, last = [state_input(state) for state in states], [f"{state}/last" for state in states]
    nodes = [
        helper.make_node("Mul", ["currents", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["inputs"]),
        helper.make_node(
            "Scan", [*first, "inputs"], [*last, "train"], body=body, num_scan_inputs=1
        ),
        helper.make_node("Cast", ["train"], ["spikes"], to=SPIKES[spike_type(levels)]),
        helper.make_node("ReduceSum", ["train", "time"], ["total"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "spike_train",
        [typed("currents", rank + 1), *(typed(t, rank) for t in ("scale", "shift", *first))],
        [
            typed("spikes", rank + 1, SPIKES[spike_type(levels)]),
            *(typed(t, rank) for t in ("total", *last)),
        ],
        [numpy_helper.from_array(np.array([0], np.int64), "time")],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(SNN_DOMAIN, 1)]
    functions = [function_for(neuron.op, OPSET, [step], single=True)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def state_input(label: str) -> str:
    """The input that takes a state of the neurons before the first step."""
    return f"{label}/first"


def spike_type(levels: int) -> np.dtype[np.signedinteger]:
    """The smallest type in use that holds a spike of so many thresholds."""
    return np.dtype(np.int8 if levels < 2**7 else np.int32)
