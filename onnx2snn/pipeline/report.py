"""The report on a conversion, as plain data; `display.report_tables` shows it to a person."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np
import onnx

from onnx2snn.calibrate.rules import Thresholds
from onnx2snn.correct.correction import Correction
from onnx2snn.data.batches import filled
from onnx2snn.pipeline.cost import Cost
from onnx2snn.pipeline.nearer import Nearness
from onnx2snn.pipeline.prepared import Prepared
from onnx2snn.pipeline.verify import Comparison
from onnx2snn.prepare.activation_drives import drives_of
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.large import byte_size
from onnx2snn.rewrite.fold import Folding
from onnx2snn.score.results import WeightedWork
from onnx2snn.score.synapses import weighted_work
from onnx2snn.snn.format import Coding, WeightedEntry, coding_of
from onnx2snn.snn.step_model import read_step_model
from onnx2snn.version import __version__


class SourceEntry(TypedDict):
    """The ANN: its file's name, hash and size in bytes."""

    name: str
    sha256: str
    bytes: int


class SnnEntry(TypedDict):
    """The spiking model: its size in bytes, and its neurons for one sample, as far as known."""

    bytes: int
    neurons: int


class AgreementEntry(TypedDict):
    """Agreement with the ANN as a share of 1, and the samples it was scored on.

    It is of the output that agrees least; `scored` says how. `interval`: of 95 %, over samples;
    `relative_error`: ||SNN - ANN|| / ||ANN|| of that output (None: not finite).
    """

    value: float
    output: NotRequired[str]
    scored: NotRequired[str]
    relative_error: NotRequired[float | None]
    interval: NotRequired[list[float] | None]
    samples: int
    held_back: bool
    random: bool


class OperatorEntry(TypedDict):
    """Nodes of an operator in the ANN's file and in the spiking model."""

    op: str
    ann: int
    snn: int


class Range(TypedDict):
    """Thresholds of a site, in ANN units."""

    min: float
    median: float
    max: float


class ErrorEntry(TypedDict):
    """Errors of a site relative to the norm of the ANN's activation; see `verify.SiteError`."""

    total: float
    own: float
    inherited: float


class SiteEntry(TypedDict):
    """One layer of neurons; `neurons` is None where a size is not static."""

    name: str
    source: str
    channels: int | None
    neurons: int | None
    threshold: Range
    quartiles: list[float]
    rate: float
    silent: list[int]
    error: ErrorEntry


@dataclass(frozen=True)
class Report:
    """Everything `--report` writes.

    Thresholds are in ANN units; `rate` is spikes a neuron and step; sizes are bytes; `seconds` are
    by stage; `cost` is None on random inputs. `kept`: scales left as Mul; `unfitted`: weighted
    nodes that --correct weights had to leave alone; both with the reason.
    `weighted`: what feeds the weighted operators; `driven`: what drives each of
    them, and why; `nearness`: errors of the outputs at T/4 and at T (None: not measured);
    `corrected_on`: samples that corrections simulated layer by layer (None: they did not).
    """

    tool: str
    model: SourceEntry
    snn: SnnEntry
    settings: Mapping[str, Any]
    calibrated: bool
    timesteps: int
    delay: int
    delay_auto: int
    agreement: AgreementEntry
    operators: list[OperatorEntry]
    sites: list[SiteEntry]
    folded: list[str]
    kept: list[dict[str, Any]]
    unfitted: list[dict[str, str]]
    moved_pools: list[str]
    analog: list[str]
    parts: dict[str, Any]
    warnings: list[str]
    seconds: dict[str, float]
    cost: dict[str, Any] | None
    weighted: WeightedWork | None = None
    coding: Coding = "rate"
    driven: Sequence[WeightedEntry] = ()
    nearness: Nearness | None = None
    corrected_on: int | None = None

    @property
    def estimates(self) -> bool:
        """Whether neurons stand in front of weighted operators, and an answer is an estimate."""
        return self.coding == "differential" or self.settings.get("sites") == "weighted"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Findings:
    """Everything the stages found that the report is made of.

    `settled` are the thresholds as used, per site.
    """

    ready: Prepared
    proto: onnx.ModelProto
    settled: Sequence[Thresholds]
    folding: Folding
    correction: Correction
    comparison: Comparison


def build_report(findings: Findings, warnings: Sequence[str], cost: Cost | None) -> Report:
    """Gather what the stages found."""
    ready, proto, comparison = findings.ready, findings.proto, findings.comparison
    source, data, parts = ready.source, ready.job.data, ready.job.partition
    metadata = read_step_model(proto, source.name).metadata
    # a network without a batch axis has a sample's neurons along all axes
    batch_axes = 0 if source.unbatched else 1
    sites = _site_rows(parts.sites, findings.settled, comparison, batch_axes)
    return Report(
        tool=f"onnx2snn {__version__}",
        model={"name": source.name, "sha256": source.sha256, "bytes": source.size},
        snn={"bytes": byte_size(proto), "neurons": sum(site["neurons"] or 0 for site in sites)},
        settings=metadata["settings"],
        calibrated=metadata["calibrated"],
        timesteps=metadata["timesteps"],
        delay=metadata["delay"],
        delay_auto=metadata["delay_auto"],
        agreement={
            "value": comparison.agreement,
            "output": comparison.output,
            "scored": comparison.scored,
            "relative_error": comparison.relative_error,
            "interval": None if comparison.interval is None else list(comparison.interval),
            "samples": comparison.samples,
            "held_back": not data.scored_is_fitted,
            "random": data.random,
        },
        operators=_operator_rows(source.proto, proto),
        sites=sites,
        folded=list(findings.folding.folded),
        kept=[asdict(kept) for kept in findings.folding.kept],
        unfitted=[{"node": node, "reason": reason} for node, reason in findings.correction.skipped],
        moved_pools=list(ready.arrangement.moved_pools),
        analog=metadata["analog"],
        parts={**metadata["parts"], "nodes": dict(Counter(row.role for row in parts.rows))},
        warnings=list(warnings),
        seconds=dict(ready.clock.seconds),
        cost=None if cost is None else asdict(cost),
        weighted=_work(findings),
        coding=coding_of(metadata),
        driven=drives_of(ready.job.graph, parts),
        nearness=comparison.nearness,
        corrected_on=findings.correction.samples,
    )


def _work(findings: Findings) -> WeightedWork:
    """Return what feeds the weighted operators, found with one sample."""
    job = findings.ready.job
    feed = filled(job.data.held_back, [0], job.fixed_batch).feed
    step = read_step_model(findings.proto, findings.ready.source.name)
    return weighted_work(step, feed)


def _site_rows(
    sites: Sequence[Site],
    settled: Sequence[Thresholds],
    comparison: Comparison,
    batch_axes: int,
) -> list[SiteEntry]:
    """Return a row per site: its thresholds, rate and errors."""
    errors = {error.site: error for error in comparison.sites}
    rows = []
    for site, thresholds in zip(sites, settled, strict=True):
        values, error = thresholds.values, errors[site.name]
        row: SiteEntry = {
            "name": site.name,
            "source": site.source,
            "channels": site.channels,
            "neurons": _neurons(site, batch_axes),
            "threshold": {
                "min": float(values.min()),
                "median": float(np.median(values)),
                "max": float(values.max()),
            },
            "quartiles": [float(q) for q in np.percentile(values, [25, 75])],
            "rate": error.rate,
            "silent": list(thresholds.silent),
            "error": {"total": error.total, "own": error.own, "inherited": error.inherited},
        }
        rows.append(row)
    return rows


def _neurons(site: Site, batch_axes: int) -> int | None:
    """Return the neurons of a sample, or None where a size is not static.

    The first `batch_axes` axes count samples.
    """
    shape = site.shape[batch_axes:]
    sizes = [size for size in shape if isinstance(size, int)]
    return math.prod(sizes) if len(sizes) == len(shape) else None


def _operator_rows(ann: onnx.ModelProto, snn: onnx.ModelProto) -> list[OperatorEntry]:
    """Count the nodes of each operator in both models."""
    before, after = (Counter(node.op_type for node in model.graph.node) for model in (ann, snn))
    return [{"op": op, "ann": before[op], "snn": after[op]} for op in sorted({*before, *after})]
