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
from onnx2snn.pipeline.verify import Comparison
from onnx2snn.prepare.max_pools import Arrangement
from onnx2snn.prepare.partition import Partition
from onnx2snn.protos.large import byte_size
from onnx2snn.protos.load import LoadedModel
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


def build_report(
    source: LoadedModel,
    proto: onnx.ModelProto,
    parts: Partition,
    arrangement: Arrangement,
    balanced: Sequence[Thresholds],
    folding: Folding,
    correction: Correction,
    comparison: Comparison,
    scored: dict[str, bool],
    warnings: Sequence[str],
    seconds: dict[str, float],
    cost: Cost | None,
) -> Report:
    """Gather what the stages found; `scored` says of the samples scored on whether they were held back, or random."""
    metadata = read_step_model(proto, source.name).metadata
    errors = {error.site: error for error in comparison.sites}
    sites = []
    for site, thresholds in zip(parts.sites, balanced, strict=True):
        values, error = thresholds.values, errors[site.name]
        dims = site.shape[1:]
        sites.append(
            {
                "name": site.name,
                "source": site.source,
                "channels": site.channels,
                "neurons": math.prod(d for d in dims if isinstance(d, int))
                if all(isinstance(d, int) for d in dims)
                else None,
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
        )
    ann, snn = (Counter(node.op_type for node in model.graph.node) for model in (source.proto, proto))
    return Report(
        tool=f"onnx2snn {__version__}",
        model={"name": source.name, "sha256": source.sha256, "bytes": source.size},
        snn={"bytes": byte_size(proto), "neurons": sum(s["neurons"] or 0 for s in sites)},
        settings=metadata["settings"],
        calibrated=metadata["calibrated"],
        timesteps=metadata["timesteps"],
        delay=metadata["delay"],
        delay_auto=metadata["delay_auto"],
        agreement={"value": comparison.agreement, "samples": comparison.samples, **scored},
        operators=[{"op": op, "ann": ann[op], "snn": snn[op]} for op in sorted({*ann, *snn})],
        sites=sites,
        folded=list(folding.folded),
        kept=[asdict(kept) for kept in folding.kept],
        unfitted=[{"node": node, "reason": reason} for node, reason in correction.skipped],
        moved_pools=list(arrangement.moved_pools),
        analog=metadata["analog"],
        parts=metadata["parts"] | {"nodes": dict(Counter(row.role for row in parts.rows))},
        warnings=list(warnings),
        seconds=dict(seconds),
        cost=None if cost is None else asdict(cost),
    )
