"""What a conversion has to say: as data for JSON, and as tables for a person."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from . import __version__
from ._arrange import Arrangement
from ._balance import Thresholds
from ._cut import step_model
from ._fold import Folding
from ._load import LoadedModel, serialise
from ._partition import Partition
from ._verify import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Report:
    """Everything `--report` writes.

    Thresholds are in ANN units; `error` is relative to the norm of the ANN's activation; `agreement` is a fraction;
    sizes are bytes, `seconds` are by stage.
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
    moved_pools: list[str]
    parts: dict[str, Any]
    warnings: list[str]
    seconds: dict[str, float]

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
    verdict: Verdict,
    scored: dict[str, bool],
    warnings: Sequence[str],
    seconds: dict[str, float],
) -> Report:
    """Gather what the stages found; `scored` says of the samples scored on whether they were held back, or random."""
    metadata = step_model(proto, source.name).metadata
    errors = {error.site: error for error in verdict.sites}
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
                "silent": list(thresholds.silent),
                "error": {"total": error.total, "own": error.own, "inherited": error.inherited},
            }
        )
    ann, snn = (Counter(node.op_type for node in model.graph.node) for model in (source.proto, proto))
    return Report(
        tool=f"onnx2snn {__version__}",
        model={"name": source.name, "sha256": source.sha256, "bytes": source.size},
        snn={"bytes": len(serialise(proto)), "neurons": sum(s["neurons"] or 0 for s in sites)},
        settings=metadata["settings"],
        calibrated=metadata["calibrated"],
        timesteps=metadata["timesteps"],
        delay=metadata["delay"],
        delay_auto=metadata["delay_auto"],
        agreement={"value": verdict.agreement, "samples": verdict.samples, **scored},
        operators=[{"op": op, "ann": ann[op], "snn": snn[op]} for op in sorted({*ann, *snn})],
        sites=sites,
        folded=list(folding.folded),
        kept=[asdict(kept) for kept in folding.kept],
        moved_pools=list(arrangement.moved_pools),
        parts=metadata["parts"] | {"nodes": dict(Counter(row.role for row in parts.rows))},
        warnings=list(warnings),
        seconds=seconds,
    )


def tables(report: Report) -> list[RenderableType]:
    """The report as rich tables, worst site first."""
    return [_operators(report), _sites(report), _facts(report)]


def _operators(report: Report) -> RenderableType:
    from rich.table import Table

    table = Table(title="nodes per operator", title_justify="left")
    table.add_column("operator")
    for name in ("ANN", "SNN"):
        table.add_column(name, justify="right")
    for row in report.operators:
        table.add_row(row["op"], str(row["ann"] or "-"), str(row["snn"] or "-"))
    return table


def _sites(report: Report) -> RenderableType:
    from rich.table import Table

    table = Table(
        title=f"neuron sites, largest rate error first (relative to the ANN at T = {report.timesteps})",
        title_justify="left",
    )
    table.add_column("site", overflow="fold", min_width=14)
    for name in ("neurons", "θ min / median / max", "silent", "error", "own", "inherited"):
        table.add_column(name, justify="right", no_wrap=True)
    for site in sorted(report.sites, key=lambda s: -s["error"]["total"]):
        theta, error = site["threshold"], site["error"]
        table.add_row(
            site["name"],
            "?" if site["neurons"] is None else f"{site['neurons']:,}",
            " / ".join(f"{theta[key]:.3g}" for key in ("min", "median", "max")),
            str(len(site["silent"]) or "-"),
            *(f"{error[key]:.1%}" for key in ("total", "own", "inherited")),
        )
    return table


def _facts(report: Report) -> RenderableType:
    from rich.table import Table

    table = Table(title="conversion", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    held = "held-back" if report.agreement["held_back"] else "fitted-on"
    kind = "random inputs" if report.agreement["random"] else f"{held} calibration samples"
    table.add_row(
        "agreement with ANN",
        f"{report.agreement['value']:.2%} at T = {report.timesteps}, delay {report.delay}, "
        f"on {report.agreement['samples']} {kind}",
    )
    table.add_row("method", ", ".join(f"{key} {value}" for key, value in sorted(report.settings.items())))
    table.add_row("thresholds folded into", f"{len(report.folded)} nodes: {', '.join(report.folded)}")
    table.add_row(
        "left as Mul",
        "\n".join(f"{k['channels']} channels before {k['before']}: {k['reason']}" for k in report.kept) or "none",
    )
    table.add_row("pools moved before neurons", ", ".join(report.moved_pools) or "none")
    table.add_row(
        "silent channels",
        "\n".join(f"{s['name']}: {len(s['silent'])} of {s['channels']}" for s in report.sites if s["silent"]) or "none",
    )
    table.add_row("encoder hands over", ", ".join(report.parts["encoder"]))
    table.add_row("readout takes", ", ".join(report.parts["readout"]))
    table.add_row("automatic delay", f"{report.delay_auto} steps")
    table.add_row("seconds", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items()))
    table.add_row("file sizes", f"ANN {report.model['bytes']:,} bytes, SNN {report.snn['bytes']:,} bytes")
    return table
