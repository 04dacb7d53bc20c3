"""The positions of a large map that a histogram counts."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from onnx2snn.data.positions import spread_step
from onnx2snn.prepare.partition import Site


@dataclass(frozen=True)
class Thinning:
    """Every `step`-th position of a large map is counted, along neighbouring axes taken as one.

    `behind` are the sizes of the axes behind those.
    """

    axes: range
    step: int
    behind: tuple[int, ...]


def thinning_of(site: Site, least: int) -> Thinning | None:
    """Return which positions of a map are counted, about `least` of them.

    None: all of them, in a small map and where a size is not static.
    """
    shape = []
    for size in site.shape[1:]:
        if not isinstance(size, int):
            return None
        shape.append(size)
    # without the batch: axis 0 of `shape` is axis 1 of the site
    before, behind = shape[: site.axis - 1], shape[site.axis :]
    positions = prod(before) * prod(behind)
    if positions < 2 * least:
        return None
    # the larger side of the channels' axis is flattened and thinned out
    if prod(before) > prod(behind):
        side, start = before, 1
    else:
        side, start = behind, site.axis + 1
    step = spread_step(tuple(side), max(1, least * prod(side) // positions))
    if step == 1:
        return None
    return Thinning(
        axes=range(start, start + len(side)),
        step=step,
        behind=tuple(shape[start + len(side) - 1 :]),
    )
