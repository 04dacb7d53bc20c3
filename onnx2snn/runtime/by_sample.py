"""Spiking models as batches take them: one of a network without a batch axis takes one sample."""

from __future__ import annotations

from onnx2snn.aliases import ModelSource
from onnx2snn.protos.unbatched import with_batch
from onnx2snn.runtime.simulation import step_model_of
from onnx2snn.snn.step_model import StepModel, read_step_model


def read_by_sample(model: ModelSource) -> StepModel:
    """Return a spiking model to run on batches, of one sample where the network takes just one.

    Raises:
        ModelFileError: The file is not a spiking model.
    """
    step = step_model_of(model)
    unbatched = step.metadata.get("unbatched", [])
    if not unbatched:
        return step
    return read_step_model(with_batch(step.proto, unbatched), "model")
