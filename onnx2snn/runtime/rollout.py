"""A spiking model unrolled over time: one model with the ANN's own inputs and outputs.

Encoder, core and readout of the step graph stand one behind the other. Where time can be folded
into the batch axis, the core is there once for each stretch of time-steps
(`runtime.rollout_folded`); elsewhere a Loop runs it step by step (`runtime.rollout_loop`), which
ends early if that is asked for (`runtime.rollout_exit`). For runtimes that have neither Scan nor
Loop each step is written out (`runtime.rollout_plain`).
"""

from __future__ import annotations

import os

import onnx
from onnx import helper

from onnx2snn.aliases import Delay, ModelSource
from onnx2snn.errors import UsageError
from onnx2snn.protos.load import load_model
from onnx2snn.runtime import cut
from onnx2snn.runtime.early_exit import check_margin
from onnx2snn.runtime.rollout_exit import unroll_exiting
from onnx2snn.runtime.rollout_folded import unroll_folded
from onnx2snn.runtime.rollout_loop import unroll_looped
from onnx2snn.runtime.rollout_plain import unroll_plain
from onnx2snn.runtime.time_batched import batched_core
from onnx2snn.runtime.unrolling import Unrolling
from onnx2snn.snn.format import METADATA_KEY, RolloutMetadata, describe_rollout
from onnx2snn.snn.step_model import read_step_model
from onnx2snn.snn.window import own_delay, window_delay


def rollout(
    model: ModelSource,
    timesteps: int | None = None,
    delay: Delay = None,
    *,
    exit_margin: float | None = None,
    unroll: bool = False,
) -> onnx.ModelProto:
    """Unroll a spiking model over time into one model in place of the ANN.

    Inputs, outputs and their meaning are the ANN's, and nothing is to be fed back. The outputs are
    the readout of the mean over steps delay + 1 to T (paper, section 5). The batch size stays as
    free as the ANN's. Stock onnxruntime runs it. Where an operator does not let time be folded into
    the batch axis, the model has one more input that may be left out, `timesteps`, int64 [1]: other
    numbers of steps than T.

    Args:
        model: A path, bytes or ModelProto as `convert` made it.
        timesteps: The number of steps T; None: the model's own.
        delay: Steps left out of the mean: a number, "half", "auto", or None for the model's own.
        exit_margin: Stop a sample when its answer is stable: its best class is that of the step
            before, and leads by this probability. The model then has one more output,
            `exit_steps`, int64 [N]: the step each sample stopped at. None: all run to T.
        unroll: Write every time-step out in plain operators, without Scan and Loop; up to 16.

    Raises:
        ModelFileError: The file is not a spiking model.
        UsageError: Steps or delay are impossible; or early exit is asked for, and the delay is no
            number, or the outputs are not those of one classification.
    """
    if exit_margin is not None:
        check_margin(exit_margin)
        if unroll:
            raise UsageError("early exit needs a Loop; leave unroll or the exit margin out")
    loaded = load_model(model)
    step = read_step_model(loaded.proto, os.fspath(loaded.name))
    metadata = step.metadata
    total = metadata["timesteps"] if timesteps is None else timesteps
    start = window_delay(metadata, delay, total)

    unrolling = Unrolling(step)
    unrolling.part(cut.encoder(step))
    asked = own_delay(metadata) if delay is None else delay
    if exit_margin is not None:
        form = "a Loop over time-steps that ends when all answers are stable"
        unroll_exiting(unrolling, total, asked, exit_margin)
    else:
        core = "" if unroll else batched_core(step)
        if unroll:
            form = "each time-step written out"
            unroll_plain(unrolling, total, start)
        elif isinstance(core, str):
            form = "a Loop over time-steps"
            unroll_looped(unrolling, total, asked)
        else:
            form = "time folded into the batch axis"
            unroll_folded(unrolling, core, total, start)
        unrolling.part(cut.readout(step))

    made = unrolling.model()
    kept = {p.key: p.value for p in step.proto.metadata_props if p.key != METADATA_KEY}
    helper.set_model_props(made, kept)
    described = RolloutMetadata(
        timesteps=total,
        delay=start,
        form=form,
        source_sha256=metadata["source_sha256"],
    )
    if exit_margin is not None:
        described["exit_margin"] = exit_margin
    describe_rollout(made, described)
    return made
