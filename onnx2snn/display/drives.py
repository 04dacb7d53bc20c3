"""Lines about coding: how many weighted operators are spiking, and which ones are analog and why.

Where neurons stand in front of weighted operators, the description of a model names what drives
each of these; elsewhere the numbers are those that the flow of spikes gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx2snn.pipeline.report import Report
    from onnx2snn.score.results import WeightedWork
    from onnx2snn.snn.format import WeightedEntry


def inspection_lines(about: Mapping[str, Any]) -> list[str]:
    """Return the coding of an inspected ANN or spiking model, and what drives its operators."""
    if about["kind"] == "rollout":
        return []
    if about["kind"] == "snn":
        metadata = about["metadata"]
        coding = coding_words(metadata)
        driven = metadata.get("weighted", ())
    else:
        coding = about["coding"]
        driven = about.get("driven", ())
    return [f"coding: {coding}", *_drives(driven, about.get("weighted"))]


def report_lines(report: Report) -> list[str]:
    """Return what drives the weighted operators of a conversion."""
    return _drives(report.driven, report.weighted)


def coding_words(metadata: Mapping[str, Any]) -> str:
    """Return a spiking model's coding in words."""
    coding = metadata.get("coding", "rate")
    if coding == "rate":
        levels = metadata.get("levels")
        if levels is None:
            return "rate"
        return f"rate, in front of weighted operators, spikes of -{levels} to {levels}"
    digits = metadata["digits"]
    plural = "" if digits == 1 else "s"
    later = metadata.get("later_digits", digits)
    when = "a step" if later == digits else f"in the first step, {later} a step later"
    own = [neuron["digits"] for neuron in metadata["neurons"] if "digits" in neuron]
    at_once = f" (up to {max(own)} for what is constant in time)" if own else ""
    return (
        f"{coding}, at most {metadata['octaves']} octaves, {digits} digit{plural}{at_once} {when}"
    )


def _drives(driven: Sequence[WeightedEntry], work: WeightedWork | None) -> list[str]:
    if driven:
        counts = Counter(entry["drive"] for entry in driven)
        spiking, encoder = counts["spiking"], counts["encoder"]
        analog = [_with_reason(entry) for entry in driven if entry["drive"] == "analog"]
        total = len(driven)
    elif work is not None:
        spiking, encoder, total = work["fed"], work["encoder"], work["operators"]
        analog = [f"{name}: it takes numbers that are no spikes" for name in work["analog"]]
    else:
        return []
    first = (
        f"{spiking} of {total} weighted operators are spiking, {encoder} encoder, "
        f"{len(analog)} analog"
    )
    return [first, *(f"analog: {line}" for line in analog)]


def _with_reason(entry: WeightedEntry) -> str:
    return f"{entry['node']} ({entry['op']}): {entry['reason']}"
