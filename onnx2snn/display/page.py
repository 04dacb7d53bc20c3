"""The pages of `--html`: an evaluation, or a conversion with an evaluation on held-back data.

A page is one document that needs nothing but a browser. Its templates lie in `templates/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnx2snn.display.layout import Section
from onnx2snn.display.model_sections import (
    graph_section,
    layer_section,
    picture_section,
    settings_section,
    spike_section,
)
from onnx2snn.display.numbers import samples_kind
from onnx2snn.display.page_data import PageData
from onnx2snn.display.score_sections import energy_section, score_section
from onnx2snn.version import __version__

if TYPE_CHECKING:
    from onnx2snn.pipeline.report import Report
    from onnx2snn.score.results import EvaluationResult
    from onnx2snn.snn.format import Metadata


def evaluation_page(
    result: EvaluationResult,
    shown: PageData,
    metadata: Metadata,
    name: str,
) -> str:
    """Return the page of an evaluation.

    Args:
        result: The answer of `evaluate`.
        shown: Everything beside the figures.
        metadata: The spiking model's metadata.
        name: The file of the ANN.

    Returns:
        An HTML document.
    """
    metric = next(iter(result["ann"]))
    networks = "the spiking network and the network it was made from"
    about = f"{metric} of {networks}, on {result['samples']} samples"
    if result["partial"]:
        about += "; the evaluation was interrupted"
    sections = _sections(result, shown, metadata, None)
    file = Path(name).name
    return _rendered(f"{file}: evaluation", about, sections)


def conversion_page(
    report: Report,
    result: EvaluationResult,
    shown: PageData,
    metadata: Metadata,
) -> str:
    """Return the page of a conversion.

    Args:
        report: The conversion's report.
        result: The answer of `evaluate` on the samples the conversion was scored on.
        shown: Everything beside the figures.
        metadata: The spiking model's metadata.

    Returns:
        An HTML document.
    """
    agreement = report.agreement
    kind = samples_kind(agreement)
    compared = f"compared with it on {result['samples']} {kind}"
    about = f"Converted into a spiking network and {compared}"
    sections = _sections(result, shown, metadata, report)
    file = Path(report.model["name"]).name
    return _rendered(f"{file}: conversion", about, sections)


def _sections(
    result: EvaluationResult,
    shown: PageData,
    metadata: Metadata,
    report: Report | None,
) -> list[Section]:
    """Return the sections in their order; an evaluation has no report."""
    warnings = list(result["warnings"])
    if report is not None:
        warnings = [*report.warnings, *warnings]
    sections = [score_section(result, warnings)]
    if shown.pictures is not None:
        sections.append(picture_section(shown.pictures))
    if "energy" in result:
        sections.append(energy_section(result, result["energy"]))
    coding = metadata.get("coding", "rate")
    sections.append(layer_section(result, shown.thresholds, report, coding))
    sections.append(spike_section(shown.raster, coding))
    sections.append(graph_section(shown.parts, report))
    sections.append(settings_section(metadata))
    return sections


def _rendered(title: str, about: str, sections: Sequence[Section]) -> str:
    environment = Environment(
        loader=PackageLoader("onnx2snn.display"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(
        title=title,
        about=about,
        sections=sections,
        version=__version__,
    )
