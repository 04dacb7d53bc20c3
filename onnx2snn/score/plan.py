"""Plans of evaluations: which models score which samples, in which batches, at which T."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnxruntime as ort

from onnx2snn.data.batches import Batch, Span, batches_at, spans
from onnx2snn.data.samples import Samples
from onnx2snn.protos.load import LoadedModel
from onnx2snn.protos.specs import TensorSpec
from onnx2snn.runtime.simulation import Simulation
from onnx2snn.score.metrics import Metric
from onnx2snn.score.output_axes import OutputAxes
from onnx2snn.score.question import Window

BATCH = 100
"""Samples that are simulated together, at most."""


@dataclass(frozen=True)
class Models:
    """The two models, opened: the ANN's file and session, and the SNN in time."""

    source: LoadedModel
    specs: tuple[TensorSpec, ...]
    """Of its inputs."""
    reference: ort.InferenceSession
    simulation: Simulation
    axes: OutputAxes
    """Where their outputs have their samples."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Work of an evaluation."""

    samples: Samples
    count: int
    """Samples to score."""
    size: int
    """Samples that run together."""
    fixed: int | None
    """The batch size the model insists on."""
    metric: Metric
    name: str
    """Of the metric."""
    windows: list[Window]
    asked: int
    """How many of the windows get a row; the others tell the first T that keeps a share."""

    def spans(self) -> list[Span]:
        """Return where batches start and stop."""
        return spans(self.count, self.fixed or self.size)

    def batches(self, places: Sequence[Span]) -> Iterator[Batch]:
        """Yield the batches at some places."""
        return batches_at(self.samples, places, self.fixed)

    def samples_in(self, batches: int) -> int:
        """Return the number of samples in some batches."""
        return min(batches * (self.fixed or self.size), self.count)
