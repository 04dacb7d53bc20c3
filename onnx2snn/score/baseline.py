"""Baselines: the result of an earlier evaluation, which a later one is held against.

A baseline is a file that `eval --json` wrote. It comes from outside, so all that is read of it is
checked here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx2snn.errors import DataError, UsageError
from onnx2snn.protos.reading import read_whole

DROP = 0.5
"""Percentage points that a score may fall below the baseline's, unless told."""

RISE = 5.0
"""Percent that operations and energy may rise above the baseline's, unless told."""


@dataclass(frozen=True)
class Baseline:
    """Scores and costs of an earlier evaluation, by T; `path` names it in errors."""

    path: str
    metric: str
    samples: int
    rows: Mapping[int, Mapping[str, float]]
    streamed: bool
    prices: tuple[float, float] | None
    """Joules of a SOP and of a FLOP; None where no operations were counted."""

    def require_comparable(
        self,
        metric: str,
        samples: int,
        timesteps: int,
        prices: tuple[float, float] | None,
        *,
        streamed: bool,
    ) -> None:
        """Refuse an evaluation that is of something else.

        Args:
            metric: The name of its metric.
            samples: How many it scores.
            timesteps: Its largest T.
            prices: Joules of a SOP and of a FLOP, or None where it counts none.
            streamed: Whether the samples are scored as a stream, too.

        Raises:
            UsageError: The sentence names both sides of what differs.
        """
        differing = None
        if metric != self.metric:
            differing = f"scored by {self.metric}, this evaluation by {metric}"
        elif samples != self.samples:
            differing = f"of {self.samples} samples, this evaluation of {samples}"
        elif timesteps not in self.rows:
            known = ", ".join(str(t) for t in sorted(self.rows))
            differing = f"of T = {known}, this evaluation of T = {timesteps}"
        elif streamed != self.streamed:
            words = ("with a reset for each sample", "of a stream (--stream)")
            differing = f"{words[self.streamed]}, this evaluation {words[streamed]}"
        elif None not in (prices, self.prices) and prices != self.prices:
            differing = "of other prices of an operation (--sop-joules, --flop-joules)"
        if differing is not None:
            raise UsageError(
                f"'{self.path}' is {differing}: evaluate alike, or write a new baseline (--json)"
            )


def read_baseline(path: str) -> Baseline:
    """Read a file that `eval --json` wrote.

    Raises:
        DataError: It is something else; the sentence names it.
    """
    try:
        text = read_whole(Path(path))
    except (OSError, ValueError) as error:  # ValueError: NUL
        said = getattr(error, "strerror", None) or error
        raise DataError(
            f"'{path}' cannot be read ({said}): write a baseline with eval --json"
        ) from error
    try:
        return _checked(path, json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"'{path}' is no result of onnx2snn eval --json: write the baseline anew"
        ) from error


def _checked(path: str, found: Mapping[str, Any]) -> Baseline:
    """Return a baseline of parsed JSON; whatever it raises says that it is something else."""
    if found["partial"]:
        raise DataError(f"'{path}' is partial (it was interrupted): write the baseline anew")
    (metric,) = found["ann"]
    streamed = "stream" in found
    rows = {}
    for row in found["stream"] if streamed else found["snn"]:
        rows[int(row["timesteps"])] = _figures(row, metric)
    energy = found.get("energy")
    prices = None
    if energy is not None:
        prices = (float(energy["sop_joules"]), float(energy["flop_joules"]))
    return Baseline(path, metric, int(found["samples"]), rows, streamed, prices)


def _figures(row: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Return the score and the costs of a row."""
    figures = {"score": float(row[metric])}
    if "sops" in row:
        figures["SOPs"] = float(row["sops"])
        figures["energy"] = joules_of(row)
    if not all(math.isfinite(value) for value in figures.values()):
        raise ValueError("not finite")
    return figures


def joules_of(row: Mapping[str, Any]) -> float:
    """Return the energy of an answer with everything counted: SOPs and FLOPs."""
    return float(row["energy_j"]) + float(row["analog_j"])
