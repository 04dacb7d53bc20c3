"""The outputs of a spiking model for all samples of a data set: `onnx2snn run`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array, Delay, Progress
from onnx2snn.data.batches import Batch, batches
from onnx2snn.data.samples import Samples
from onnx2snn.errors import UsageError
from onnx2snn.protos.batch_axis import batch_axis
from onnx2snn.protos.specs import fixed_batch
from onnx2snn.runtime.memory import affordable_batch
from onnx2snn.runtime.simulation import Simulation

BATCH = 100
"""Samples that run together, at most."""


def run_samples(
    session: Simulation,
    samples: Samples,
    timesteps: int | None,
    delay: Delay,
    progress: Progress,
) -> dict[str, Array]:
    """Run a spiking model on all samples, batch by batch.

    Args:
        session: The spiking model.
        samples: Its inputs.
        timesteps: Time-steps T, None for the model's own number.
        delay: Steps left out of the answer.
        progress: Called with ("running", samples done, samples in all).

    Returns:
        The outputs of all samples by name, joined along their batch axes.

    Raises:
        UsageError: No batch axis of an output is known, and there are several batches.
    """
    fixed = fixed_batch(session.inputs)
    size = fixed or affordable_batch(session, samples.batch([0]), BATCH)
    ran: list[Batch] = []
    answers: list[list[Array]] = []
    for batch in batches(samples, size, fixed):
        ran.append(batch)
        answers.append(session.run(batch.feed, timesteps, delay))
        progress("running", batch.first + batch.count, len(samples))
    joined = {}
    for index, spec in enumerate(session.outputs):
        found = [answer[index] for answer in answers]
        axis = batch_axis(spec.shape, session.inputs)
        joined[spec.name] = _joined(spec.name, found, ran, axis)
    return joined


def _joined(name: str, found: Sequence[Array], ran: Sequence[Batch], axis: int | None) -> Array:
    """Return one output of all samples, less what only filled up a batch.

    Args:
        name: Of the output.
        found: What each batch gave.
        ran: The batches.
        axis: The batch axis, None where it is not known.
    """
    is_whole = len(found) == 1 and ran[0].count == ran[0].fed
    if is_whole:
        return found[0]
    own = []
    for array, batch in zip(found, ran, strict=True):
        # where the axis is only likely, the sizes have to bear it out
        if axis is None or axis >= array.ndim or array.shape[axis] != batch.fed:
            raise UsageError(
                f"output '{name}' has no batch axis, so what {len(found)} batches gave cannot be "
                f"joined; give at most {ran[0].fed} samples at a time"
            )
        samples = np.arange(batch.count)
        own.append(array.take(samples, axis))
    return np.concatenate(own, axis)
