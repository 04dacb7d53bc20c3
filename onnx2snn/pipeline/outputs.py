"""The outputs of a spiking model for all samples of a data set: `onnx2snn run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx2snn.aliases import Array, Delay, Progress
from onnx2snn.data.batches import Batch, batches
from onnx2snn.data.samples import Samples
from onnx2snn.errors import UsageError
from onnx2snn.protos.batch_arrays import (
    OutputPlace,
    joined_samples,
    output_places,
    samples_of,
)
from onnx2snn.protos.batch_types import BatchAxis
from onnx2snn.protos.specs import fixed_batch
from onnx2snn.runtime.division import model_axes
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
    names = [spec.name for spec in session.outputs]
    ran: list[Batch] = []
    answers: list[list[Array]] = []
    for batch in batches(samples, size, fixed):
        ran.append(batch)
        answers.append(session.run(batch.feed, timesteps, delay))
        progress("running", batch.first + batch.count, len(samples))
    if len(ran) == 1 and ran[0].count == ran[0].fed:
        return dict(zip(names, answers[0], strict=True))
    places = _places(session, names, ran)
    joined = {}
    for index, (name, place) in enumerate(zip(names, places, strict=True)):
        found = [answer[index] for answer in answers]
        joined[name] = _joined(name, found, ran, place)
    return joined


def _places(session: Simulation, names: Sequence[str], ran: Sequence[Batch]) -> list[OutputPlace]:
    """Return where the outputs have their samples, as the graph or a step of a few says."""
    if session.metadata.get("unbatched"):
        # an axis of one sample was put in front of each
        return [BatchAxis(0) for _ in names]
    axes = model_axes(session.model)

    def compute(feed: Mapping[str, Array]) -> list[Array]:
        return session.run(feed, 1, 0)

    return output_places(axes, names, ran[0].feed, fixed_batch(session.inputs), compute)


def _joined(name: str, found: Sequence[Array], ran: Sequence[Batch], place: OutputPlace) -> Array:
    """Return one output of all samples, less what only filled up a batch.

    Args:
        name: Of the output.
        found: What each batch gave.
        ran: The batches.
        place: Where it has its samples, None where that is not known.
    """
    if place == "shared":
        return found[0]
    lengths = [array.shape[place.axis] if place else 0 for array in found]
    borne_out = place and lengths == [batch.fed * place.each for batch in ran]
    if place is None or not borne_out:
        raise UsageError(
            f"output '{name}' has no batch axis, so what {len(found)} batches gave cannot be "
            f"joined; give at most {ran[0].fed} samples at a time"
        )
    own = []
    for array, batch in zip(found, ran, strict=True):
        own.append(samples_of(array, place, 0, batch.count))
    return joined_samples(own, place)
