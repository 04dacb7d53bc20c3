"""JUnit XML: the gates of an evaluation as test cases, as pipelines show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as Xml

from onnx2snn.errors import printable
from onnx2snn.score.gates import Gate


def junit_xml(subject: str, result: Mapping[str, Any], gates: Sequence[Gate]) -> bytes:
    """Return a JUnit report: one test case for the scores, and one a gate.

    Args:
        subject: The name of the spiking model.
        result: What `evaluate` returns.
        gates: The verdicts on it.
    """
    failures = sum(not gate.passed for gate in gates)
    about = {
        "name": "onnx2snn eval",
        "tests": str(1 + len(gates)),
        "failures": str(failures),
        "errors": "0",
        "skipped": "0",
        "time": f"{result['seconds']:.3f}",
    }
    top = Xml.Element("testsuites")
    suite = Xml.SubElement(top, "testsuite", about)
    scored = _case(suite, subject, "scores", about["time"])
    Xml.SubElement(scored, "system-out").text = "\n".join(_scores(result))
    for gate in gates:
        case = _case(suite, subject, gate.name, "0")
        text = printable(gate.sentence)
        if gate.passed:
            Xml.SubElement(case, "system-out").text = text
        else:
            Xml.SubElement(case, "failure", {"type": "GateError", "message": text}).text = text
    Xml.indent(top)
    return bytes(Xml.tostring(top, "utf-8", xml_declaration=True)) + b"\n"


def _case(suite: Xml.Element, subject: str, name: str, seconds: str) -> Xml.Element:
    about = {"classname": f"onnx2snn.{printable(subject)}", "name": name, "time": seconds}
    return Xml.SubElement(suite, "testcase", about)


def _scores(result: Mapping[str, Any]) -> list[str]:
    """Return the score of the ANN, and a line for each T."""
    ((name, ann),) = result["ann"].items()
    lines = [f"{result['samples']} samples", f"ANN: {printable(name)} {ann:.6g}"]
    for row in result["snn"]:
        line = f"T = {row['timesteps']}: {printable(name)} {row[name]:.6g}"
        if "sops" in row:
            line += f", {row['sops']:.6g} SOPs"
        lines.append(line)
    return lines
