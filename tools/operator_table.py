"""The tables of operators as text, for docs/operators.md.

`python tools/operator_table.py docs/operators.md` brings the section between the marks up to date.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from onnx2snn.graph.operators import LINEAR, REFUSED, Linear
from onnx2snn.prepare.activations import CONDITIONS
from onnx2snn.protos.nodes import MAX_POOLS, SHAPE_ONLY

BEGIN, END = (
    "<!-- operators: python tools/operator_table.py docs/operators.md -->",
    "<!-- end of operators -->",
)


def catalogue() -> str:
    """What becomes of each operator between spiking layers, as a Markdown table."""
    rows = [
        (
            "neurons",
            _listed([f"{op}{f' ({when})' if when else ''}" for op, when in CONDITIONS.items()]),
        )
    ]
    linear: dict[str, list[str]] = defaultdict(list)
    for op, row in LINEAR.items():
        linear[_operands(row)].append(op)
    rows += [(f"linear in {operands}", _listed(ops)) for operands, ops in linear.items()]
    rows.append(
        ("max-pools: moved before the neuron, or of the accumulated input", _listed(MAX_POOLS))
    )
    rows.append(("constant in time", _listed(SHAPE_ONLY)))
    rows.append(
        (
            "analog",
            "every other operator onnxruntime runs, and any of these that breaks its condition",
        )
    )
    refused: dict[str, list[str]] = defaultdict(list)
    for op, reason in REFUSED.items():
        refused[reason].append(op)
    rows += [(f"refused: {reason}", _listed(ops)) for reason, ops in refused.items()]
    lines = ["| becomes | operators between spiking layers |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {role} | {operators} |" for role, operators in rows)])


def _listed(operators: Sequence[str]) -> str:
    return ", ".join(operators)


def _operands(row: Linear) -> str:
    if row.varying is None:
        return (
            "all inputs together"
            if row.at_once is None
            else "one input, the others constant in time"
        )
    if row.at_once is not None:
        return "one of the first two inputs"
    if row.varying == (0,):
        return "the first input, the others constant in time"
    numbers = " and ".join(str(index + 1) for index in row.varying)
    return f"inputs {numbers}, the others constant in time"


def updated(text: str) -> str:
    """A text with its section between the marks replaced by the tables as they are."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{catalogue()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
