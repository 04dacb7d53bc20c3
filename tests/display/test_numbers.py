"""Number formats: the digits, the units, and the sign of a difference."""

from __future__ import annotations

from typing import Any

import pytest

from onnx2snn.display.numbers import (
    difference_unit,
    formatted_difference,
    formatted_ratio,
    formatted_score,
    quantity,
    shortened,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "", "-"),
        (0, "J", "0 J"),
        (12_345_678, "", "12.3 M"),
        (9.43e-7, "J", "943 nJ"),
        (-1500, "", "-1.5 k"),
        (1000, "", "1 k"),
        (999, "", "999"),
        (1e-20, "J", "1e-05 fJ"),
        (2e18, "", "2e+03 P"),
    ],
)
def test_a_quantity_has_three_digits_and_a_prefix(
    value: float | None, unit: str, text: str
) -> None:
    assert quantity(value, unit) == text


def test_a_drop_is_a_negative_difference_and_a_rise_of_an_error_a_positive_one() -> None:
    row: Any = {"drop": 0.0123, "drop_95": (-0.01, 0.03)}
    assert formatted_difference("top1", row) == ("-1.23", "-3.00 to +1.00")
    assert formatted_difference("mse", row) == ("+1.23", "-1.00 to +3.00")
    row["drop_95"] = None
    assert formatted_difference("map", row) == ("-1.23", "-")
    assert (difference_unit("top1"), difference_unit("mse")) == ("points", "percent")


def test_scores_and_ratios() -> None:
    assert formatted_score("top1", 0.98765) == "98.77%"
    assert formatted_score("mse", 0.00123456) == "0.001235"
    assert formatted_ratio(None) == "-"
    assert formatted_ratio(12345.6) == "12,346"
    assert formatted_ratio(1.23456) == "1.23"


@pytest.mark.parametrize(("most", "text"), [(10, "abcdefghij"), (9, "abc…fghij"), (5, "a…hij")])
def test_a_text_loses_its_middle(most: int, text: str) -> None:
    assert shortened("abcdefghij", most) == text
    assert len(shortened("abcdefghij", most)) <= most
