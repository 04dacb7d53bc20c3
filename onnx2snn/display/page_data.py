"""The data of a page beside the figures of an evaluation: a raster, pictures, thresholds, parts."""

from __future__ import annotations

from dataclasses import dataclass

from onnx2snn.aliases import Array
from onnx2snn.display.pictures import PictureRows


@dataclass(frozen=True)
class Raster:
    """Spikes [T, neurons] of some neurons of a site, for one sample.

    The site has `neurons` in all, of which `fired` sent any spike.
    """

    site: str
    spikes: Array
    neurons: int
    fired: int


@dataclass(frozen=True)
class PageData:
    """Everything a page shows beside the figures.

    Attributes:
        raster: The spikes of one layer.
        pictures: Pictures of some samples; None where the task or the data has none.
        thresholds: For each site minimum, quartiles and maximum, in ANN units.
        parts: The parts of the network in the order of computing, each with lines about it.
    """

    raster: Raster
    pictures: PictureRows | None
    thresholds: tuple[tuple[str, tuple[float, ...]], ...]
    parts: tuple[tuple[str, tuple[str, ...]], ...]
