"""Whether an SNN comes nearer to its ANN with T, and which site is to blame where it does not.

Rounding falls as 1/T. What stays is clipping, or noise of spikes that something behind magnifies,
such as a logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx2snn.aliases import Array
from onnx2snn.errors import GateError
from onnx2snn.pipeline.site_errors import SiteError
from onnx2snn.score.closeness import deviation

LEAST_COMPARED = 8
"""Samples from which on errors say something ..."""

LEAST_TIMESTEPS = 8
"""... and time-steps."""

FALLS = 0.8
"""An error at T below this share of that at T/4 falls."""

WORTH_WARNING = 0.1
"""An error relative to the ANN's output that is worth a warning where it does not fall."""

_MEND = "leave it analog with --keep NODE, or choose --preset differential"


class OutputError:
    """Sums of the squared errors of outputs, and of the squares of the ANN's own."""

    def __init__(self, outputs: int) -> None:
        """Start with no sample; `outputs` is how many there are."""
        self.squares = np.zeros((outputs, 2))

    def add(self, found: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Add a batch: the outputs of the SNN and the ANN; those in whole numbers do not count."""
        for index, (answer, expected) in enumerate(zip(found, wanted, strict=True)):
            if expected.dtype.kind != "f":
                continue
            finite = expected[np.isfinite(expected)]
            self.squares[index, 0] += np.sum(np.square(deviation(answer, expected)))
            self.squares[index, 1] += np.sum(np.square(finite, dtype=np.float64))

    def relative(self) -> float:
        """Return the largest error of an output relative to its norm; absolute where that is 0."""
        norms = np.sqrt(self.squares)
        whole = np.where(norms[:, 1] > 0, norms[:, 1], 1.0)
        return float(np.max(norms[:, 0] / whole))


@dataclass(frozen=True)
class Nearness:
    """Relative errors of the output that is furthest off, at T/4 (`before`) and at T (`after`).

    `blamed`: words on the site to blame; empty where the error falls.
    """

    quarter: int
    timesteps: int
    before: float
    after: float
    blamed: str

    def lasts_above(self, limit: float) -> bool:
        """Return whether the error is above a limit and does not fall with T."""
        return self.after > limit and self.after > FALLS * self.before

    def sentence(self) -> str:
        """Return what is wrong, and where."""
        return (
            f"the error of the outputs does not fall with T: {self.before:.1%} at T = "
            f"{self.quarter}, {self.after:.1%} at T = {self.timesteps}; {self.blamed}"
        )

    def warnings(self) -> list[str]:
        """Return the sentence where an error lasts that is worth one."""
        return [self.sentence()] if self.lasts_above(WORTH_WARNING) else []

    def check(self, limit: float) -> None:
        """Raise GateError where the error lasts above a limit, in percent."""
        if self.lasts_above(limit / 100.0):
            raise GateError(f"{self.sentence()}; --max-lasting {limit:g} forbids it")


def nearness(
    ends: Sequence[int], off: Sequence[OutputError], by_window: Sequence[Sequence[SiteError]]
) -> Nearness | None:
    """Return the errors at T/4 and T, or None where only T was measured.

    Args:
        ends: T/4 and T.
        off: The outputs' errors at each.
        by_window: The sites' errors at each, in topological order.
    """
    if len(ends) == 1:
        return None
    quarter, timesteps = ends
    before, after = (errors.relative() for errors in off)
    words = blamed(*by_window) if after > FALLS * before else ""
    return Nearness(quarter, timesteps, before, after, words)


def blamed(before: Sequence[SiteError], after: Sequence[SiteError]) -> str:
    """Return words on the first site whose error lasts, in topological order, and on the mend.

    Where that error is inherited, spikes of the sites before are magnified on the way to it.
    """
    for index, (early, late) in enumerate(zip(before, after, strict=True)):
        if late.total <= WORTH_WARNING or late.total <= FALLS * early.total:
            continue
        if late.own >= late.inherited or index == 0:
            return (
                f"site '{late.site}' is to blame, {late.own:.1%} off by itself: give more typical "
                "calibration data, or --method max"
            )
        source = max(after[:index], key=lambda site: site.total)
        return (
            f"site '{source.site}' is to blame, whose spikes reach '{late.site}' magnified, "
            f"{late.inherited:.1%} off: {_MEND}"
        )
    if not after:
        return "no site is to blame"
    source = max(after, key=lambda site: site.total)
    return f"site '{source.site}' is to blame, whose spikes reach the outputs magnified: {_MEND}"
