"""The form of a rollout in plain operators: every time-step is written out, no Scan and no Loop.

For runtimes that have neither. The file grows with the number of time-steps, its weights do not.
"""

from __future__ import annotations

import onnx

from onnx2snn.errors import UsageError
from onnx2snn.runtime.cut import core, encoder, readout
from onnx2snn.runtime.unrolling import OWN, Unrolling, with_prefix
from onnx2snn.snn.step_model import StepModel

MOST_STEPS = 16
"""Time-steps that are written out."""


def written_out(step: StepModel, total: int, start: int) -> onnx.ModelProto:
    """Return encoder, all time-steps up to T and readout as one model; `start`: the delay."""
    unrolling = Unrolling(step)
    unrolling.part(encoder(step))
    unroll_plain(unrolling, total, start)
    unrolling.part(readout(step))
    return unrolling.model()


def unroll_plain(unrolling: Unrolling, total: int, start: int) -> None:
    """Append all time-steps, and the means over the evaluation window.

    Args:
        unrolling: The graph at work.
        total: Number of time-steps T.
        start: The delay: steps left out of the means.

    Raises:
        UsageError: T is larger than `MOST_STEPS`.
    """
    if total > MOST_STEPS:
        raise UsageError(
            f"{total} time-steps are too many to be written out one by one; "
            f"give at most {MOST_STEPS}, or leave unroll out"
        )
    one_step = core(unrolling.step)
    unrolling.add_constants(one_step)
    kept = {*unrolling.build.constants, *unrolling.step.to_core}
    held = unrolling.all_zeros(unrolling.states)
    for t in range(1, total + 1):
        if t == start + 1:
            # the sums start afresh behind the delay
            held |= unrolling.all_zeros(unrolling.sums)
        prefix = f"{OWN}{t}/"
        for node in one_step.graph.node:
            unrolling.build.append(with_prefix(node, prefix, held, kept))
        held = {state.input: f"{prefix}{state.output}" for state in unrolling.states}
    unrolling.answer(held, total - start)
