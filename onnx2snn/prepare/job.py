"""The job that stages pass on: the arranged ANN, its partition, the data and the options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx2snn.aliases import Progress, silent_progress
from onnx2snn.data.samples import Samples
from onnx2snn.data.split import CalibrationData
from onnx2snn.graph.types import Graph
from onnx2snn.prepare.partition import Partition, Site
from onnx2snn.protos.specs import TensorSpec, fixed_batch
from onnx2snn.settings import Settings
from onnx2snn.spread.work import HERE, Spread


@dataclass(frozen=True)
class Job:
    """One conversion at work, from the partition on.

    `graph` is the arranged ANN, which no stage changes; `specs` are its inputs; `settings` hold the
    number of time-steps this conversion is for; `spread` is where statistics are computed.
    """

    graph: Graph
    partition: Partition
    specs: Sequence[TensorSpec]
    data: CalibrationData
    settings: Settings
    progress: Progress = silent_progress
    spread: Spread = HERE

    @property
    def sites(self) -> tuple[Site, ...]:
        """The neuron sites, in topological order."""
        return self.partition.sites

    @property
    def samples(self) -> Samples:
        """The samples to fit on."""
        return self.data.fitting

    @property
    def threads(self) -> int | None:
        """Threads onnxruntime uses (None: its own choice)."""
        return self.settings.threads

    @property
    def fixed_batch(self) -> int | None:
        """The batch size the network insists on, or None where it is free."""
        return fixed_batch(self.specs)

    def with_settings(self, settings: Settings) -> Job:
        """Return the same job with other options, another number of time-steps say."""
        return replace(self, settings=settings)
