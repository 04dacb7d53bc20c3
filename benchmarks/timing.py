"""Times of several ways to compute the same thing, measured so that none disturbs the next.

onnxruntime's worker threads go on spinning for 40 to 50 ms after a run, those of every session in
the process; on a machine with as many cores as threads that can double the time of whatever runs
meanwhile. So variants take turns in blocks: a pause in which all threads fall asleep, a warm-up,
some timed runs; then the next variant; several rounds, so that slow drifts (clock frequency, other
programs) meet all variants alike. Medians over the runs of all rounds count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PAUSE = 0.15
"""Seconds before a block."""
RUNS = 8
"""Timed runs a block has at most."""
BLOCK = 0.4
"""Seconds after which a block has no further run.

A run longer than that is warmed up in the first round only.
"""


@dataclass(frozen=True)
class Variant:
    """One way to compute: `run` does the whole of it, which counts as `units` (time-steps times
    samples).
    """

    name: str
    run: Callable[[], object]
    units: int


@dataclass(frozen=True)
class Figure:
    """Seconds a unit: median, 10th and 90th percentile over `runs` timed runs."""

    median: float
    low: float
    high: float
    runs: int


def alternate(variants: Sequence[Variant], rounds: int) -> dict[str, Figure]:
    """Measure all variants in turn, `rounds` times."""
    spent: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for number in range(rounds):
        for variant in variants:
            time.sleep(PAUSE)
            if number == 0 or min(spent[variant.name]) <= BLOCK:
                variant.run()
            spent[variant.name] += _block(variant)
    return {variant.name: _figure(spent[variant.name], variant.units) for variant in variants}


def _block(variant: Variant) -> list[float]:
    spent: list[float] = []
    while len(spent) < RUNS and sum(spent) < BLOCK:
        started = time.perf_counter()
        variant.run()
        spent.append(time.perf_counter() - started)
    return spent


def _figure(spent: Sequence[float], units: int) -> Figure:
    low, median, high = (float(v) / units for v in np.percentile(spent, [10, 50, 90]))
    return Figure(median, low, high, len(spent))


class Watch:
    """Measures what the machine did beside this process.

    Figures from a busy machine are worth little.
    """

    def __init__(self) -> None:
        """Start watching."""
        self._wall, self._others = time.perf_counter(), _others_seconds()

    def stop(self) -> float | None:
        """Processor cores that other programs have kept busy since, on average.

        None where unknown.
        """
        now = _others_seconds()
        if now is None or self._others is None:
            return None
        return round(max(0.0, (now - self._others) / (time.perf_counter() - self._wall)), 2)


def _others_seconds() -> float | None:
    """Processor seconds of all programs but this since the machine started.

    None where the system does not tell.
    """
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK") - time.process_time()
