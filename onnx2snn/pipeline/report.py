"""What a conversion has to say: as data for JSON, and as tables for a person."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from onnx2snn.calibrate.rules import Thresholds
from onnx2snn.correct.correction import Correction
from onnx2snn.pipeline.cost import Cost
from onnx2snn.pipeline.prepared import Prepared
from onnx2snn.pipeline.verify import Comparison
from onnx2snn.prepare.partition import Site
from onnx2snn.protos.large import byte_size
from onnx2snn.rewrite.fold import Folding
from onnx2snn.snn.step_model import read_step_model
from onnx2snn.version import __version__


@dataclass(frozen=True)
class Report:
    """Everything `--report` writes.

    Thresholds are in ANN units; `rate` is spikes a neuron and step; `error` is relative to the norm of the ANN's
    activation; `agreement` is a fraction; sizes are bytes, `seconds` are by stage; `cost` as in `cost.Cost`, None on
    random inputs; `unfitted`: weighted nodes that --correct weights had to leave alone, and why.
    """

    tool: str
    model: dict[str, Any]
    snn: dict[str, Any]
    settings: dict[str, Any]
    calibrated: bool
    timesteps: int
    delay: int
    delay_auto: int
    agreement: dict[str, Any]
    operators: list[dict[str, Any]]
    sites: list[dict[str, Any]]
    folded: list[str]
    kept: list[dict[str, Any]]
    unfitted: list[dict[str, str]]
    moved_pools: list[str]
    analog: list[str]
    parts: dict[str, Any]
    warnings: list[str]
    seconds: dict[str, float]
    cost: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Findings:
    """Everything the stages found that the report is made of; `settled` are the thresholds as used, per site."""

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
    sites = _site_rows(parts.sites, findings.settled, comparison)
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
        parts=metadata["parts"] | {"nodes": dict(Counter(row.role for row in parts.rows))},
        warnings=list(warnings),
        seconds=dict(ready.clock.seconds),
        cost=None if cost is None else asdict(cost),
    )


def _site_rows(
    sites: Sequence[Site], settled: Sequence[Thresholds], comparison: Comparison
) -> list[dict[str, Any]]:
    errors = {error.site: error for error in comparison.sites}
    rows = []
    for site, thresholds in zip(sites, settled, strict=True):
        values, error = thresholds.values, errors[site.name]
        row = {
            "name": site.name,
            "source": site.source,
            "channels": site.channels,
            "neurons": _neurons(site),
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


def _neurons(site: Site) -> int | None:
    """Return the neurons of a sample, or None where a size is not static."""
    sizes = [size for size in site.shape[1:] if isinstance(size, int)]
    return math.prod(sizes) if len(sizes) == len(site.shape[1:]) else None


def _operator_rows(ann: onnx.ModelProto, snn: onnx.ModelProto) -> list[dict[str, Any]]:
    """Count the nodes of each operator in both models."""
    before, after = (Counter(node.op_type for node in model.graph.node) for model in (ann, snn))
    return [{"op": op, "ann": before[op], "snn": after[op]} for op in sorted({*before, *after})]
