"""A layer of rate neurons over all time-steps in one model.

What emitted models step is the same neuron with its potential reset at each spike
(`snn.neurons`). Here the potential P keeps all that came in, and what was sent is held beside it:

    P(t) = P(t-1) + x(t), s(t) = clip(max(⌊P(t)⌋, 0) - n(t-1), least, levels), n(t) = n(t-1) + s(t)

With u = P - n as the potential less what was sent, ⌊P⌋ - n = ⌊u⌋ since n is a whole number, and
max(⌊P⌋, 0) lets a spike be taken back only where one was sent. That takes half the passes over
memory. The two round differently: a spike may fall a step apart where a potential lies within a
rounding error of a whole number of thresholds.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18

SPIKES = {
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.int32): TensorProto.INT32,
}
"""The types of spikes in use, in ONNX."""


def spike_train_model(least: int, levels: int, rank: int) -> onnx.ModelProto:
    """Return the model (inputs, potential, sent) -> (spikes, potential, sent), of x, P and n.

    Inputs are [T, n, ...] in threshold units and so are spikes, whole numbers of `spike_type`; the
    states [n, ...], before and after, are float32. Before the first step they are the initial
    potential and zeros.

    Args:
        least: The least a spike is: 0, or -1 where one can be taken back.
        levels: The most thresholds one spike is high.
        rank: The number of axes of [n, ...].
    """
    kind = SPIKES[spike_type(levels)]
    # the layer at all steps, one after another
    scan = helper.make_node(
        "Scan",
        ["potential", "sent", "inputs"],
        ["potential/last", "sent/last", "train"],
        body=_scan_body(rank),
        num_scan_inputs=1,
    )
    nodes = [
        scan,
        helper.make_node("Cast", ["train"], ["spikes"], to=kind),
    ]
    inputs = [
        _typed("inputs", rank + 1),
        *_all_typed(["potential", "sent"], rank),
    ]
    outputs = [
        _typed("spikes", rank + 1, kind),
        *_all_typed(["potential/last", "sent/last"], rank),
    ]
    bounds = [
        numpy_helper.from_array(np.array(least, np.float32), "least"),
        numpy_helper.from_array(np.array(levels, np.float32), "levels"),
    ]
    graph = helper.make_graph(nodes, "spike_train", inputs, outputs, bounds)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _scan_body(rank: int) -> onnx.GraphProto:
    """Return the body of the Scan over time: states go in first and come out first."""
    nodes = [
        helper.make_node("Add", ["before", "x"], ["after"]),
        helper.make_node("Floor", ["after"], ["whole"]),
        helper.make_node("Relu", ["whole"], ["held"]),
        helper.make_node("Sub", ["held", "n"], ["unsent"]),
        helper.make_node("Clip", ["unsent", "least", "levels"], ["spike"]),
        helper.make_node("Add", ["n", "spike"], ["n_next"]),
    ]
    inputs = _all_typed(["before", "n", "x"], rank)
    outputs = _all_typed(["after", "n_next", "spike"], rank)
    return helper.make_graph(nodes, "step", inputs, outputs)


def _all_typed(names: list[str], rank: int) -> list[onnx.ValueInfoProto]:
    return [_typed(name, rank) for name in names]


def _typed(name: str, rank: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    shape = [None] * rank
    return helper.make_tensor_value_info(name, kind, shape)


def spike_type(levels: int) -> np.dtype[np.signedinteger]:
    """Return the smallest type in use that holds spikes of up to `levels` thresholds."""
    if levels < 2**7:
        return np.dtype(np.int8)
    return np.dtype(np.int32)
