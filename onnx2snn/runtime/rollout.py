"""A spiking model unrolled over time: one model with the ANN's own inputs and outputs.

Encoder, core and readout of the step graph stand one behind the other. Where time can be folded
into the batch axis, the core is there once for each stretch of time-steps
(`runtime.rollout_folded`); elsewhere a Loop runs it step by step (`runtime.rollout_loop`).
"""

from __future__ import annotations

import os

import onnx
from onnx import helper

from onnx2snn.aliases import Delay, ModelSource
from onnx2snn.protos.load import load_model
from onnx2snn.runtime import cut
from onnx2snn.runtime.rollout_folded import unroll_folded
from onnx2snn.runtime.rollout_loop import unroll_looped
from onnx2snn.runtime.time_batched import batched_core
from onnx2snn.runtime.unrolling import Unrolling
from onnx2snn.snn.format import METADATA_KEY, RolloutMetadata, describe_rollout
from onnx2snn.snn.step_model import read_step_model
from onnx2snn.snn.window import own_delay, window_delay


def rollout(
    model: ModelSource, timesteps: int | None = None, delay: Delay = None
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

    Raises:
        ModelFileError: The file is not a spiking model.
        UsageError: Steps or delay are impossible.
    """
    loaded = load_model(model)
    step = read_step_model(loaded.proto, os.fspath(loaded.name))
    metadata = step.metadata
    total = metadata["timesteps"] if timesteps is None else timesteps
    start = window_delay(metadata, delay, total)

    unrolling = Unrolling(step)
    unrolling.part(cut.encoder(step))
    core = batched_core(step)
    if isinstance(core, str):
        form = "a Loop over time-steps"
        unroll_looped(unrolling, total, own_delay(metadata) if delay is None else delay)
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
    describe_rollout(made, described)
    return made
