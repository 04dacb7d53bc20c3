"""From thresholds to a model file, as often as a correction needs it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from ._annotate import annotate
from ._correct import Correction
from ._fold import Folding, fold
from ._graph import Array, Graph
from ._load import LoadedModel
from ._partition import Partition
from ._rewrite import rewrite
from ._settings import Settings
from ._thresholds import Calibration


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
