"""From thresholds to a model file, as often as a correction needs it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnx2snn.aliases import Array
from onnx2snn.calibrate.saved import Calibration
from onnx2snn.correct.correction import Correction
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.partition import Partition
from onnx2snn.protos.load import LoadedModel
from onnx2snn.rewrite.emit import annotate
from onnx2snn.rewrite.fold import Folding, fold
from onnx2snn.rewrite.spiking import rewrite
from onnx2snn.settings import Settings


@dataclass(frozen=True)
class Assembly:
    """Everything about a conversion that no longer changes once thresholds are known.

    `thresholds` are the neurons', in ANN units, per site; `delay` and `delay_auto` in steps.
    """

    source: LoadedModel
    parts: Partition
    thresholds: tuple[Array, ...]
    found: Calibration
    settings: Settings
    delay: int
    delay_auto: int

    def spiking(self, correction: Correction) -> tuple[Graph, Folding]:
        """The spiking graph, thresholds folded."""
        chosen, settings = str(self.settings.chosen("neuron")), self.settings
        thetas, potentials = self.thresholds, correction.potentials
        spiking = rewrite(correction.graph, self.parts, thetas, settings.maxpool, chosen, settings.height, potentials)
        return fold(spiking, self.parts.names("analog"))

    def emit(self, snn: Graph) -> onnx.ModelProto:
        """The step graph with its states and metadata; the graph given is changed."""
        return annotate(
            snn,
            self.parts,
            self.source,
            self.settings.conversion() | self.found.settings,
            timesteps=self.settings.steps,
            delay=self.delay,
            delay_auto=self.delay_auto,
            calibrated=self.found.calibrated,
        )

    def model(self, correction: Correction) -> onnx.ModelProto:
        """The spiking model of a correction."""
        return self.emit(self.spiking(correction)[0])
