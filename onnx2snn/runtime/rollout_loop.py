"""The form of a rollout with a Loop over time-steps, for networks that do not let time be folded into the batch axis.

An optional input says how many steps there are; the delay follows from it as `snn.window.resolve_delay` says.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnx2snn.aliases import Delay
from onnx2snn.runtime.cut import carried_states, core, renamed
from onnx2snn.runtime.unrolling import OWN, Unrolling
from onnx2snn.snn.format import SNN_DOMAIN

TIMESTEPS = "timesteps"
"""Name of the optional input, int64 [1]; with the domain before it where the ANN has an input of that name."""


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
    timesteps = _optional_input(unrolling, total)
    dropped = _dropped(unrolling, timesteps, delay)

    prefix = f"{OWN}loop/"
    body = _body(unrolling, one_step, prefix, dropped)
    count = build.emit("Squeeze", [timesteps], f"{prefix}count")
    zeros = unrolling.all_zeros(unrolling.states)
    held = unrolling.loop(prefix, count, body, carried_states(unrolling.step), zeros)
    counted = build.emit("Sub", [timesteps, dropped], f"{OWN}counted")
    length = build.emit("Cast", [counted], f"{OWN}length", to=TensorProto.FLOAT)
    unrolling.means(held, length)


def _optional_input(unrolling: Unrolling, total: int) -> str:
    """Declare the number of time-steps; the constant is its default."""
    name = TIMESTEPS
    if name in unrolling.step.inputs:
        name = f"{SNN_DOMAIN}/{TIMESTEPS}"
    unrolling.build.constant(name, np.array([total], np.int64))
    info = helper.make_tensor_value_info(name, TensorProto.INT64, [1])
    unrolling.optional_inputs.append(info)
    return name


def _body(
    unrolling: Unrolling, one_step: onnx.ModelProto, prefix: str, dropped: str
) -> list[onnx.NodeProto]:
    """Return the nodes of one time-step, whose sums start afresh when the delay is over."""
    iteration, over = f"{prefix}iteration", f"{prefix}over"
    nodes = [helper.make_node("Equal", [iteration, dropped], [over], over)]
    fresh = {}
    for state in unrolling.sums:
        name = f"{OWN}fresh/{state.input}"
        fresh[state.input] = name
        choice = [over, unrolling.zeros(state), state.input]
        nodes.append(helper.make_node("Where", choice, [name], name))
    nodes += [renamed(node, fresh) for node in one_step.graph.node]
    return nodes


def _dropped(unrolling: Unrolling, timesteps: str, delay: Delay) -> str:
    """Return the steps left out of the means, int64 [1], for as many time-steps as there are."""
    build = unrolling.build
    two = build.constant(f"{OWN}two", np.array([2], np.int64))
    half = build.emit("Div", [timesteps, two], f"{OWN}delay/half")
    if delay == "half":
        return half
    if delay == "auto":
        stored = np.array([unrolling.step.metadata["delay_auto"]], np.int64)
        auto = build.constant(f"{OWN}delay/auto", stored)
        return build.emit("Min", [auto, half], f"{OWN}delay/steps")
    # a delay that would leave no step leaves out none
    number = build.constant(f"{OWN}delay/number", np.array([delay], np.int64))
    shorter = build.emit("Less", [number, timesteps], f"{OWN}delay/shorter")
    nothing = build.constant(f"{OWN}nothing", np.zeros(1, np.int64))
    return build.emit("Where", [shorter, number, nothing], f"{OWN}delay/steps")
