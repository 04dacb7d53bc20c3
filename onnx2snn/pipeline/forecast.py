"""How long a conversion will take, told before its long part: from what its first stages took.

Two parts grow: the stages that rebuild the graph, with its nodes and sites, and the passes over the
calibration data. Mini-batches of local threshold balancing and corrections tell their own pace.
"""

from __future__ import annotations

from onnx2snn.prepare.job import Job
from onnx2snn.protos.time_left import foretell

MANY = 1000
"""Nodes from which on the stages that rebuild the graph take most of the time."""

PASSES = 4.0
"""Seconds of the other stages over the graph, for each of loading and normalising it."""

SITE = {"activations": 4.0, "weighted": 28.0}
"""Nodes that take as long in loading and normalising as a site does in all other stages."""

INSTRUMENTED = 1.5
"""Seconds of a pass that gathers statistics, for each of plain inference."""


def foretell_conversion(job: Job, seconds: float, inference: float | None) -> None:
    """Say how long a conversion will take, where that is long.

    Args:
        job: The network, taken to its partition.
        seconds: Spent on loading and normalising.
        inference: Seconds of a sample (None: there are no data).

    Raises:
        UsageError: It takes far longer than --time-limit allows.
    """
    nodes = len(job.graph.nodes)
    sites = job.settings.sites or "activations"
    if nodes >= MANY:
        rest = seconds * (PASSES + SITE[sites] * len(job.sites) / nodes)
        foretell(f"converting {nodes:,} nodes with {len(job.sites):,} sites", rest)
    samples = len(job.samples)
    passes = _passes(job)
    if inference is not None and passes:
        work = f"statistics of {samples:,} samples ({passes} passes)"
        foretell(work, INSTRUMENTED * inference * samples * passes)


def _passes(job: Job) -> int:
    """Return the passes over the calibration data that thresholds are found in."""
    settings = job.settings
    if settings.thresholds is not None or settings.threshold_method == "local":
        return 0
    return 1 if settings.threshold_method == "max" else 2
