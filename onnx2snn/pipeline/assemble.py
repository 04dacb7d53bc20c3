"""The spiking model of given thresholds and a correction.

Corrections in rounds assemble it once a round.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnx2snn.aliases import Array
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.correct.correction import Correction
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.job import Job
from onnx2snn.protos.load import LoadedModel
from onnx2snn.rewrite.emit import ConversionFacts, annotate
from onnx2snn.rewrite.fold import Folding, fold
from onnx2snn.rewrite.spiking import Firing, rewrite


@dataclass(frozen=True)
class Assembly:
    """Everything about a conversion that no longer changes once thresholds are known.

    `thresholds` are the neurons', in ANN units, per site; `delay` and `delay_auto` in steps.
    """

    source: LoadedModel
    job: Job
    thresholds: tuple[Array, ...]
    found: Calibration
    delay: int
    delay_auto: int

    def fold(self, correction: Correction) -> tuple[Graph, Folding]:
        """Return the spiking graph of a correction, thresholds folded into its weights."""
        settings, parts = self.job.settings, self.job.partition
        spiking = rewrite(
            correction.graph,
            parts,
            self.thresholds,
            settings.maxpool,
            Firing(settings.neuron_kind, settings.height, correction.potentials),
        )
        return fold(spiking, parts.names("analog"))

    def emit(self, spiking: Graph) -> onnx.ModelProto:
        """Return the step graph with its states and metadata; the graph given is changed."""
        settings = self.job.settings
        about = ConversionFacts(
            settings={**settings.conversion(), **self.found.settings},
            timesteps=settings.steps,
            delay=self.delay,
            delay_auto=self.delay_auto,
            calibrated=self.found.calibrated,
        )
        return annotate(spiking, self.job.partition, self.source, about)

    def model(self, correction: Correction) -> onnx.ModelProto:
        """Return the spiking model of a correction."""
        spiking, _ = self.fold(correction)
        return self.emit(spiking)
