"""The outputs of a spiking model for all samples of a data set: `onnx2snn run`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx2snn.aliases import Array, Delay, Progress
from onnx2snn.data.batches import batches
from onnx2snn.data.samples import Samples
from onnx2snn.errors import UsageError
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
        The outputs of all samples by name, joined along axis 0.

    Raises:
        UsageError: An output has no batch axis, and there are several batches.
    """
    fixed = fixed_batch(session.inputs)
    size = fixed or affordable_batch(session, samples.batch([0]), BATCH)
    answers: list[list[Array]] = []
    for batch in batches(samples, size, fixed):
        outputs = session.run(batch.feed, timesteps, delay)
        answers.append(batch.own(outputs))
        progress("running", batch.first + batch.count, len(samples))
    joined = {}
    for index, spec in enumerate(session.outputs):
        found = [answer[index] for answer in answers]
        joined[spec.name] = _joined(spec.name, found, size)
    return joined


def _joined(name: str, found: Sequence[Array], size: int) -> Array:
    """Return one output of all samples."""
    if len(found) == 1:
        return found[0]
    try:
        return np.concatenate(found)
    except ValueError as error:
        raise UsageError(
            f"output '{name}' has no batch axis, so what {len(found)} batches gave cannot be "
            f"joined; give at most {size} samples at a time"
        ) from error
