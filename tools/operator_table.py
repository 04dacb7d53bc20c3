"""The tables of operators as text, for docs/operators.md: what becomes of each, and who knows it.

`python tools/operator_table.py docs/operators.md` brings the sections between the marks up to date.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from onnx2snn.calibrate.gaussians import GAUSSIAN_RULES
from onnx2snn.graph.operators import LINEAR, REFUSED, SHAPING, Linear
from onnx2snn.prepare.activations import CONDITIONS, RULES
from onnx2snn.protos.nodes import MAX_POOLS, SHAPE_ONLY, WEIGHTED
from onnx2snn.rewrite.fold_rules.tables import BACKWARD, FORWARD
from onnx2snn.runtime.time_axis import TIME_RULES
from onnx2snn.runtime.time_shapes import SHAPE_RULES
from onnx2snn.score.connections import CONNECTIVITY
from onnx2snn.score.products import WITH_PRODUCTS
from onnx2snn.snn.stateful import ACCUMULATED_MAX_POOL, INCREASE, MEAN_SO_FAR, RUNNING_MEAN

BEGIN, END = (
    "<!-- operators: python tools/operator_table.py docs/operators.md -->",
    "<!-- end of operators -->",
)
BEGIN_MATRIX, END_MATRIX = (
    "<!-- matrix: python tools/operator_table.py docs/operators.md -->",
    "<!-- end of matrix -->",
)

STATEFUL = (ACCUMULATED_MAX_POOL, RUNNING_MEAN, MEAN_SO_FAR, INCREASE)
KNOWING = (
    *(LINEAR, REFUSED, SHAPING, CONDITIONS, RULES, MAX_POOLS, SHAPE_ONLY, WEIGHTED),
    *(BACKWARD, FORWARD, TIME_RULES, SHAPE_RULES),
    *(CONNECTIVITY, WITH_PRODUCTS, GAUSSIAN_RULES, STATEFUL),
)
"""Every table that has a row or an entry for an operator."""

SOURCE_OF_STATISTICS = "BatchNormalization"


@dataclass(frozen=True)
class Coverage:
    """One row of the matrix: an operator, and what the package can do with it between neurons."""

    operator: str
    role: str
    folds_back: str
    folds_forward: str
    time_folds: str
    sops: str
    statistics: str


HEADINGS = (
    "operator",
    "role",
    "folds back",
    "folds forward",
    "time-folds",
    "SOPs counted",
    "statistics",
)


def matrix() -> list[Coverage]:
    """Return the coverage of every operator that any table knows, in alphabetical order."""
    operators: set[str] = set()
    for table in KNOWING:
        operators.update(table)
    return [coverage(op) for op in sorted(operators)]


def coverage(op: str) -> Coverage:
    """Return the matrix's row of one operator."""
    return Coverage(
        operator=op,
        role=_role(op),
        folds_back=_mark(op in BACKWARD),
        folds_forward=_mark(op in FORWARD),
        time_folds=_time_folds(op),
        sops=_sops(op),
        statistics="source" if op == SOURCE_OF_STATISTICS else _mark(op in GAUSSIAN_RULES),
    )


def _mark(known: bool) -> str:
    return "yes" if known else "-"


def _role(op: str) -> str:
    if op in REFUSED:
        return "refused"
    if op in CONDITIONS:
        return "neuron"
    if op in MAX_POOLS:
        return "pooled"
    if op in SHAPE_ONLY:
        return "constant"
    if op in STATEFUL:
        return "state"
    if op in WEIGHTED:
        return "linear, weighted"
    if op in LINEAR:
        return "linear"
    return "analog"


def _time_folds(op: str) -> str:
    if op in TIME_RULES:
        return "yes"
    return "shapes" if op in SHAPE_RULES else "-"


def _sops(op: str) -> str:
    if op in REFUSED or op in SHAPE_ONLY or op in STATEFUL:
        return "-"
    if op in WITH_PRODUCTS:
        return "products"
    if op in CONNECTIVITY:
        return "passed on"
    return "one"


def matrix_table() -> str:
    """Return the matrix as a Markdown table."""
    return _table(HEADINGS, [astuple(row) for row in matrix()])


def catalogue() -> str:
    """Return what becomes of each operator between spiking layers, as a Markdown table."""
    neurons = []
    for op, condition in CONDITIONS.items():
        neurons.append(f"{op} ({condition})" if condition else op)
    rows = [("neurons", _listed(neurons))]
    by_operands: dict[str, list[str]] = defaultdict(list)
    for op, row in LINEAR.items():
        by_operands[_operands(row)].append(op)
    for operands, operators in by_operands.items():
        rows.append((f"linear in {operands}", _listed(operators)))
    pooled = "max-pools: moved before the neuron, or of the accumulated input"
    rows.append((pooled, _listed(MAX_POOLS)))
    rows.append(("constant in time", _listed(SHAPE_ONLY)))
    others = "every other operator onnxruntime runs, and any of these that breaks its condition"
    rows.append(("analog", others))
    by_reason: dict[str, list[str]] = defaultdict(list)
    for op, reason in REFUSED.items():
        by_reason[reason].append(op)
    for reason, operators in by_reason.items():
        rows.append((f"refused: {reason}", _listed(operators)))
    return _table(("becomes", "operators between spiking layers"), rows)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [_line(headings), _line("---" for _ in headings)]
    lines.extend(_line(row) for row in rows)
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _listed(operators: Iterable[str]) -> str:
    return ", ".join(operators)


def _operands(row: Linear) -> str:
    if row.varying is None and row.at_once is None:
        return "all inputs together"
    if row.varying is None:
        return "one input, the others constant in time"
    if row.at_once is not None:
        return "one of the first two inputs"
    if row.varying == (0,):
        return "the first input, the others constant in time"
    numbers = " and ".join(str(index + 1) for index in row.varying)
    return f"inputs {numbers}, the others constant in time"


def updated(text: str) -> str:
    """Return a text whose sections between the marks are replaced by the tables as they are."""
    text = _replaced(text, BEGIN, END, catalogue())
    return _replaced(text, BEGIN_MATRIX, END_MATRIX, matrix_table())


def _replaced(text: str, begin: str, end: str, table: str) -> str:
    """Return a text with a table between two marks; a text without them as it is."""
    if begin not in text:
        return text
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n{end}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
