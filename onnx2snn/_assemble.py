"""From thresholds to a model file, as often as a correction needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from ._annotate import annotate
from ._correct import with_offsets
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

    `thresholds` are in ANN units, per site; `delay` and `delay_auto` in steps.
    """

    source: LoadedModel
    graph: Graph
    parts: Partition
    thresholds: tuple[Array, ...]
    found: Calibration
    settings: Settings
    delay: int
    delay_auto: int

    def corrected(self, offsets: Sequence[Array]) -> Graph:
        """The arranged ANN with the sites' input currents shifted (no offsets: as it is)."""
        return with_offsets(self.graph, self.parts.sites, offsets) if offsets else self.graph

    def spiking(self, offsets: Sequence[Array]) -> tuple[Graph, Folding]:
        """The spiking graph, thresholds folded."""
        graph = self.corrected(offsets)
        chosen = self.settings.chosen("neuron")
        spiking = rewrite(graph, self.parts, self.thresholds, self.settings.maxpool, chosen)
        return fold(spiking, self.parts.names("analog"))

    def emit(self, snn: Graph) -> onnx.ModelProto:
        """The step graph with its states and metadata; the graph given is changed."""
        return annotate(
            snn,
            self.parts,
            self.source,
            self.settings.conversion() | self.found.settings,
            timesteps=self.settings.timesteps,
            delay=self.delay,
            delay_auto=self.delay_auto,
            calibrated=self.found.calibrated,
        )

    def model(self, offsets: Sequence[Array]) -> onnx.ModelProto:
        """The spiking model with these offsets."""
        return self.emit(self.spiking(offsets)[0])
