"""The positions of a large map that a histogram counts."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from onnx2snn.data.positions import spread_positions
from onnx2snn.prepare.partition import Site


@dataclass(frozen=True)
class Thinning:
    """The positions of a large map that are counted, along neighbouring axes taken as one.

    `behind` are the sizes of the axes behind those.
    """

    axes: range
    positions: tuple[int, ...]
    behind: tuple[int, ...]


def thinning_of(site: Site, least: int) -> Thinning | None:
    """Return the positions of a map that are counted, `least` of them or some more.

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
    # step^axes = positions / least, rounded down: one of step^axes positions is counted
    axes = len(before) + len(behind)
    step = int((positions / least) ** (1 / axes))
    if step == 1:
        return None
    every = step**axes
    # the larger side of the channels' axis is flattened and thinned out
    if prod(before) > prod(behind):
        side, start = before, 1
    else:
        side, start = behind, site.axis + 1
    count = max(1, prod(side) // every)
    return Thinning(
        axes=range(start, start + len(side)),
        positions=spread_positions(tuple(side), count),
        behind=tuple(shape[start + len(side) - 1 :]),
    )
