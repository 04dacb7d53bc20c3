"""The operator coverage matrix of docs/operators.md is that of the tables; `-s` prints it."""

from __future__ import annotations

from pathlib import Path

import pytest
from operator_table import (
    BEGIN_MATRIX,
    END_MATRIX,
    KNOWING,
    coverage,
    matrix,
    matrix_table,
    updated,
)

from onnx2snn.graph.operators import LINEAR
from onnx2snn.protos.nodes import WEIGHTED
from onnx2snn.rewrite.fold_rules.tables import BACKWARD, FORWARD

PAGE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")


def test_the_matrix_on_the_page_is_that_of_the_tables() -> None:
    """If this fails, look at the change, then: python tools/operator_table.py docs/operators.md."""
    print(f"\n{matrix_table()}")  # noqa: T201 - shown with -s
    section = PAGE[PAGE.index(BEGIN_MATRIX) + len(BEGIN_MATRIX) : PAGE.index(END_MATRIX)]
    assert section.strip().splitlines() == matrix_table().splitlines()
    assert updated(PAGE) == PAGE


def test_every_operator_of_every_table_has_one_row() -> None:
    operators = [row.operator for row in matrix()]
    assert operators == sorted(set(operators))
    for table in KNOWING:
        assert set(table) <= set(operators)
    rows = [line.split(" | ")[0].removeprefix("| ") for line in matrix_table().splitlines()[2:]]
    assert rows == operators


@pytest.mark.parametrize(
    ("op", "row"),
    [
        ("Conv", ("linear, weighted", "yes", "yes", "yes", "products", "yes")),
        ("Relu", ("neuron", "-", "-", "yes", "one", "yes")),
        ("MaxPool", ("pooled", "yes", "yes", "yes", "one", "yes")),
        ("Transpose", ("linear", "yes", "yes", "yes", "passed on", "-")),
        ("Shape", ("constant", "-", "yes", "shapes", "-", "-")),
        ("Sigmoid", ("analog", "-", "-", "yes", "one", "-")),
        ("LSTM", ("refused", "-", "-", "-", "-", "-")),
    ],
)
def test_rows_of_typical_operators(op: str, row: tuple[str, ...]) -> None:
    found = coverage(op)
    assert row == (
        found.role,
        found.folds_back,
        found.folds_forward,
        found.time_folds,
        found.sops,
        found.statistics,
    )


def test_weighted_operators_are_linear_and_take_scales_from_both_sides() -> None:
    assert set(WEIGHTED) <= set(LINEAR) & set(BACKWARD) & set(FORWARD)
    weighted = {row.operator for row in matrix() if row.role == "linear, weighted"}
    assert weighted == set(WEIGHTED)


def test_operators_with_products_are_the_weighted_ones_and_einsum() -> None:
    """Einsum crosses synapses, but its weights take no scales: it is no weighted operator."""
    counted = {row.operator for row in matrix() if row.sops == "products"}
    assert counted == {*WEIGHTED, "Einsum"}
