"""The form of a rollout with a Loop over time-steps.

For networks that do not let time be folded into the batch axis. An optional input says how many
steps there are; the delay follows from it as `snn.window.resolve_delay` says.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnx2snn.aliases import Array, Delay
from onnx2snn.runtime.cut import carried_states, core, renamed
from onnx2snn.runtime.unrolling import OWN, Unrolling

TIMESTEPS = "timesteps"
"""Name of the optional input, int64 [1].

The domain stands before it where the ANN has an input of that name.
"""


def unroll_looped(unrolling: Unrolling, total: int, delay: Delay) -> None:
    """Append the core step by step, and the means over the evaluation window.

    Args:
        unrolling: The graph at work.
        total: Number of time-steps T, if the optional input is left out.
        delay: Steps left out of the means: a number, "half" or "auto".
    """
    build = unrolling.build
    one_step = core(unrolling.step)
    unrolling.add_constants(one_step)
    timesteps = optional_input(unrolling, total)
    dropped = _dropped(unrolling, timesteps, delay)

    prefix = f"{OWN}loop/"
    body = step_nodes(unrolling, one_step, prefix, dropped)
    count = build.emit("Squeeze", [timesteps], f"{prefix}count")
    carried = carried_states(unrolling.step)
    zeros = unrolling.all_zeros(unrolling.states)
    held = unrolling.loop(prefix, count, body, carried, zeros)
    if unrolling.step.estimates:
        unrolling.estimates(held)
        return
    # mean = sum / (T - delay)
    counted = build.emit("Sub", [timesteps, dropped], f"{OWN}counted")
    length = f"{OWN}length"
    build.emit("Cast", [counted], length, to=TensorProto.FLOAT)
    unrolling.means(held, length)


def optional_input(unrolling: Unrolling, total: int) -> str:
    """Declare the number of time-steps; the constant is its default."""
    name = unrolling.own_name(TIMESTEPS)
    unrolling.build.constant(name, int64(total))
    info = helper.make_tensor_value_info(name, TensorProto.INT64, [1])
    unrolling.optional_inputs.append(info)
    return name


def step_nodes(
    unrolling: Unrolling, one_step: onnx.ModelProto, prefix: str, dropped: str
) -> list[onnx.NodeProto]:
    """Return the nodes of one time-step, whose sums start afresh when the delay is over."""
    iteration, over = f"{prefix}iteration", f"{prefix}over"
    nodes = [helper.make_node("Equal", [iteration, dropped], [over], over)]
    fresh = {}
    for state in unrolling.sums:
        name = f"{OWN}fresh/{state.input}"
        zeros = unrolling.zeros(state)
        choice = helper.make_node("Where", [over, zeros, state.input], [name], name)
        nodes.append(choice)
        fresh[state.input] = name
    nodes += [renamed(node, fresh) for node in one_step.graph.node]
    return nodes


def _dropped(unrolling: Unrolling, timesteps: str, delay: Delay) -> str:
    """Return the steps left out of the means, int64 [1], for as many time-steps as there are."""
    build = unrolling.build
    # half = T // 2, auto = min(the model's, half)
    two = build.constant(f"{OWN}two", int64(2))
    half = build.emit("Div", [timesteps, two], f"{OWN}delay/half")
    if delay == "half":
        return half
    steps = f"{OWN}delay/steps"
    if delay == "auto":
        stored = unrolling.step.metadata["delay_auto"]
        auto = build.constant(f"{OWN}delay/auto", int64(stored))
        return build.emit("Min", [auto, half], steps)
    # a delay that would leave no step leaves out none
    assert isinstance(delay, int)
    number = build.constant(f"{OWN}delay/number", int64(delay))
    shorter = build.emit("Less", [number, timesteps], f"{OWN}delay/shorter")
    nothing = build.constant(f"{OWN}nothing", int64(0))
    return build.emit("Where", [shorter, number, nothing], steps)


def int64(*numbers: int) -> Array:
    """Return numbers as int64 [count]."""
    return np.array(numbers, np.int64)
